"""Makes HTTP clients ready: of the caller, or new ones; sync or async alike."""

from typing import Any

from pairlock.client.auth import PairlockAuth
from pairlock.client.keeping import Keeper
from pairlock.client.libraries import trusting
from pairlock.errors import ConfigurationError


def made_ready(http: Any, keeper: Keeper, *, given: bool) -> Any:
    """The client, with the token of this credential on all requests to its server; relative ones go there.

    A client of the caller carries the refreshes too: it may be needed to reach the server. One of ours may be closed at
    any time, and then it would cut them short.
    """
    http.auth = PairlockAuth.of(keeper, http if given else None)
    if not str(http.base_url):
        http.base_url = keeper.credential.base_url
    return http


def keeper_of(client: Any) -> Keeper:
    """The credential that a ready client carries. Raises ConfigurationError for one that carries none."""
    if not isinstance(client.auth, PairlockAuth):
        raise ConfigurationError("give a client that pair(), redeem(), device_login() or connect() has made ready")
    return client.auth.keeper


def websocket_arguments(client: Any, path: str, token: str, *, as_subprotocol: bool) -> dict[str, Any]:
    """What `websockets.connect(**…)` takes."""
    if not path.startswith("/"):
        raise ConfigurationError(f"path: write one that starts with /, not {path!r}")  # else it could name another host
    address = client.auth.credential.address
    base = client.auth.credential.base_url.removeprefix(address.origin)
    uri = f"{'wss' if address.scheme == 'https' else 'ws'}{address.origin.removeprefix(address.scheme)}{base}{path}"
    ca = client.auth.credential.ca if address.scheme == "https" else None
    trusted = {} if ca is None else {"ssl": trusting(ca)["verify"]}
    if as_subprotocol:
        return {"uri": uri, "subprotocols": ["pairlock.bearer", token], **trusted}
    return {"uri": uri, "additional_headers": {"Authorization": f"Bearer {token}"}, **trusted}
