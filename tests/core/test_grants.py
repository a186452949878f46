"""What a verified token allows, and how that ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.grants import MAX_DECISIONS, Grant
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.standings import Standing
from pairlock._core.tokens import Claims


def a_grant(standing: Standing | None = None, epoch: int = 0) -> Grant:
    claims = Claims("1", "Phone", epoch, ("/a/**", "/b"), ("/a/x",), 1000, 4600)
    return Grant(claims, standing or Standing())


def test_a_grant_says_who_the_device_is() -> None:
    grant = a_grant(epoch=2)
    assert (grant.device_id, grant.device_name, grant.epoch, grant.expires_at) == ("1", "Phone", 2, 4600)
    assert grant.permissions == Permissions(read=("/a/**", "/b"), write=("/a/x",))
    assert repr(grant) == "<Grant 1 'Phone'>"


def test_a_grant_answers_to_what_starlette_asks_of_a_user() -> None:
    grant = a_grant()
    assert grant.is_authenticated
    assert (grant.display_name, grant.identity) == ("Phone", "1")
    assert grant.scopes == ["paired", "read:/a/**", "read:/b", "write:/a/x"]


def test_a_grant_allows_what_the_token_says_however_often_it_is_asked() -> None:
    grant = a_grant()
    for _ in range(3):
        assert grant.allows("read", "/a/x/y")
        assert grant.allows("write", "/a/x")
        assert not grant.allows("write", "/a/y")
        assert not grant.allows("read", "/c")


def test_read_and_write_of_one_address_are_remembered_apart() -> None:
    grant = a_grant()
    assert grant.allows("read", "/b")
    assert not grant.allows("write", "/b")
    assert grant.allows("read", "/b")


def test_a_trailing_slash_makes_no_difference() -> None:
    assert a_grant().allows("read", "/b/")


@pytest.mark.parametrize(
    "address", ["", "a", "/a/../c", "/a//x", "/a/%2e%2e/c", "/a/..;/c", "/a\\x", "/a/" + 3000 * "x"]
)
def test_an_address_that_is_not_canonical_is_never_allowed(address: str) -> None:
    grant = a_grant()
    assert not grant.allows("read", address)
    assert not grant.allows("read", address)


def test_a_revoked_device_may_nothing_at_once_and_for_good() -> None:
    standing = Standing()
    grant = a_grant(standing)
    assert grant.allows("read", "/b")
    standing.revoke()
    assert grant.revoked
    assert not grant.allows("read", "/b")
    assert not grant.allows("write", "/a/x")
    standing.narrow(9, Permissions(read=("/**",)))
    assert not grant.allows("read", "/b")


def test_every_grant_of_a_revoked_device_ends() -> None:
    standing = Standing()
    grants = [a_grant(standing), a_grant(standing, epoch=5)]
    standing.revoke()
    assert [grant.allows("read", "/b") for grant in grants] == [False, False]


def test_a_grant_is_narrowed_at_once_with_its_device() -> None:
    standing = Standing()
    grant = a_grant(standing)
    assert grant.allows("read", "/b")
    standing.narrow(1, Permissions(read=("/a/**",)))
    assert not grant.allows("read", "/b")
    assert grant.allows("read", "/a/x")
    assert not grant.allows("write", "/a/x")
    assert grant.scopes == ["paired", "read:/a/**"]


def test_a_token_issued_after_the_narrowing_says_itself_what_it_allows() -> None:
    standing = Standing()
    standing.narrow(1, NOTHING)
    assert not a_grant(standing, epoch=0).allows("read", "/b")
    assert a_grant(standing, epoch=1).allows("read", "/b")
    assert a_grant(standing, epoch=2).allows("read", "/b")


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_narrowing_heard_late_does_not_undo_a_later_one(epoch: int) -> None:
    standing = Standing()
    standing.narrow(2, NOTHING)
    standing.narrow(epoch, Permissions(read=("/b",)))
    assert not a_grant(standing).allows("read", "/b")


def carrying(standing: Standing, read: tuple[str, ...], write: tuple[str, ...] = ()) -> Grant:
    """The grant of a token of epoch 0 that carries this."""
    return Grant(Claims("1", "Phone", 0, read, write, 1000, 4600), standing)


@pytest.mark.parametrize(
    ("carried", "narrowed", "left"),
    [
        (("/a/x",), ("/a/**",), ("/a/x",)),
        (("/a/**",), ("/a/x",), ("/a/x",)),
        (("/a/x", "/b"), ("/a/**",), ("/a/x",)),
        (("/b",), ("/a/**",), ()),
        ((), ("/**",), ()),
        (("/**",), (), ()),
        (("/a/**", "/b"), ("/a/**", "/c"), ("/a/**",)),
    ],
)
def test_a_token_that_carries_less_than_its_device_gains_nothing_when_the_device_is_narrowed(
    carried: tuple[str, ...], narrowed: tuple[str, ...], left: tuple[str, ...]
) -> None:
    standing = Standing()
    grant = carrying(standing, carried)
    standing.narrow(1, Permissions(read=narrowed, write=("/a/**",)))
    assert grant.permissions == Permissions(read=left)
    assert not grant.allows("write", "/a/x")


ADDRESSES = ["/", "/a", "/a/x", "/a/x/y", "/b", "/b/x", "/c"]
READ = st.lists(
    st.sampled_from(["/", "/a", "/a/*", "/a/**", "/*", "/*/x", "/**", "/**/x", "/b"]), max_size=3, unique=True
)


@given(carried=READ, narrowings=st.lists(st.tuples(st.integers(0, 4), READ), max_size=4))
def test_no_narrowing_ever_widens_a_token(carried: list[str], narrowings: list[tuple[int, list[str]]]) -> None:
    standing = Standing()
    grant = carrying(standing, tuple(carried), tuple(carried))
    token = Permissions(tuple(carried), tuple(carried))
    for epoch, narrowed in narrowings:
        before = standing.least_epoch
        standing.narrow(epoch, Permissions(read=tuple(narrowed)))
        for address in ADDRESSES:
            assert token.allows("read", address) or not grant.allows("read", address)
            if epoch > before:
                now = Permissions(read=tuple(narrowed))
                assert now.allows("read", address) or not grant.allows("read", address)
                assert not grant.allows("write", address)


def test_a_narrowed_device_keeps_of_its_token_what_it_still_has() -> None:
    standing = Standing()
    grant = a_grant(standing)
    standing.narrow(1, Permissions(read=("/a/**",), write=("/a/x",)))
    assert grant.allows("read", "/a/x/y")
    assert grant.allows("write", "/a/x")
    assert grant.scopes == ["paired", "read:/a/**", "write:/a/x"]


def test_decisions_are_bounded_and_the_oldest_leaves_first() -> None:
    grant = a_grant()
    for number in range(MAX_DECISIONS + 10):
        assert grant.allows("read", f"/a/{number}")
    remembered = grant.decisions["read"]
    assert len(remembered) == MAX_DECISIONS
    assert next(iter(remembered)) == "/a/10"
    assert grant.allows("read", "/a/0")


def test_what_is_not_canonical_takes_no_memory() -> None:
    grant = a_grant()
    for number in range(10):
        assert not grant.allows("read", "/a/" + (3000 + number) * "x")
    assert grant.decisions == {"read": {}, "write": {}}
