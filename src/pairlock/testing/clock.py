"""A clock that moves only when a test says so."""


class FakeClock:
    """Stands wherever a service takes a clock: called, it says the time in seconds since the epoch."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return f"FakeClock({self.now!r})"

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self.now += seconds

    def set(self, now: float) -> None:
        """Stand at this time, back in time too."""
        self.now = now
