"""How a token travels in a request."""

import pytest

from pairlock._core.credentials import bearer_token
from pairlock.errors import InvalidRequest, MissingToken


@pytest.mark.parametrize("header", [b"Bearer abc", b"bearer abc", b"BEARER abc", b"bEaReR   abc  "])
def test_a_bearer_header_carries_a_token_whatever_the_case_of_its_scheme(header: bytes) -> None:
    assert bearer_token(header) == b"abc"


@pytest.mark.parametrize(
    "header", [b"", b"abc", b"Basic abc", b"Bearerabc", b" Bearer abc", b"Bearer\tabc", b"DPoP abc"]
)
def test_another_scheme_carries_no_token(header: bytes) -> None:
    with pytest.raises(MissingToken):
        bearer_token(header)


@pytest.mark.parametrize("header", [b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a,b", b"Bearer a, Bearer b"])
def test_a_bearer_header_without_exactly_one_token_is_malformed(header: bytes) -> None:
    with pytest.raises(InvalidRequest):
        bearer_token(header)


def test_a_header_is_no_longer_than_the_longest_token_needs() -> None:
    longest = b"Bearer " + 8192 * b"a"
    assert bearer_token(longest) == 8192 * b"a"
    for header in (longest + b"a", longest + b" ", b"Bearer " + 9000 * b" " + b"a"):
        with pytest.raises(InvalidRequest):
            bearer_token(header)
