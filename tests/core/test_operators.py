"""Operators: a kind of principal of their own."""

from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import EVERYTHING, Permissions


def test_an_operator_is_named_so_that_no_device_is_mistaken_for_one() -> None:
    assert Operator("ada").actor == "operator:ada"
    assert APP.actor == "app"


def test_an_operator_may_grant_everything_unless_bounded() -> None:
    assert Operator("ada").permissions == EVERYTHING
    bounded = Operator("ada", Permissions(read=("/a",)))
    assert not bounded.permissions.include(EVERYTHING)
