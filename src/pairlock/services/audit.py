"""What happened: paged for operators, live for the application."""

from collections.abc import AsyncIterator

from pairlock._core.records import AuditEvent
from pairlock.services.runtime import Runtime


class Audit:
    """Reads the audit events that every change leaves behind."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Events, newest first, with a `seq` below `before`."""
        store = await self._runtime.ready()
        return await store.list_events(before=before, limit=limit)

    async def live(self) -> AsyncIterator[AuditEvent]:
        """Events from now on as they are committed, in any process, in their order, until it is closed."""
        await self._runtime.ready()
        with self._runtime.listening() as events:
            while (event := await events.get()) is not None:
                yield event
