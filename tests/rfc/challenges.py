"""A strict reader of `WWW-Authenticate: Bearer`, written from the grammar alone (RFC 9110 §11.6.1, RFC 6750 §3)."""

import re

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 §5.6.2
VALUE = r"[\x20-\x21\x23-\x5b\x5d-\x7e]*"  # RFC 6750 §3: never a quote or a backslash
CHALLENGE = re.compile(rf'Bearer ({TOKEN}="{VALUE}"(?:, {TOKEN}="{VALUE}")*)')
PARAMETER = re.compile(rf'({TOKEN})="({VALUE})"')


def parse(challenge: bytes) -> dict[str, str]:
    """The parameters of a challenge. Raises ValueError for anything that the grammar does not have."""
    found = CHALLENGE.fullmatch(challenge.decode("ascii"))
    if found is None:
        raise ValueError(f"no Bearer challenge: {challenge!r}")
    pairs = PARAMETER.findall(found[1])
    parameters = dict(pairs)
    if len(parameters) != len(pairs):  # RFC 6750 §3: no attribute more than once
        raise ValueError(f"repeats itself: {challenge!r}")
    return parameters
