"""Device pairing and capability tokens for any ASGI service.

A device pairs once and gets a capability token; the guard checks it on every request.
"""

from pairlock._core.clients import Client
from pairlock._core.grants import Grant
from pairlock._core.operators import Operator
from pairlock._core.permissions import Permissions
from pairlock.asgi.calls import operator_token
from pairlock.errors import ConfigurationError, PairlockError, StoreError, WireError
from pairlock.facade import Pairlock, Prompt
from pairlock.services.deciding import Approve, Asked, Deny
from pairlock.services.health import Health
from pairlock.settings import Limits
from pairlock.stores import open_store

__all__ = [
    "Approve",
    "Asked",
    "Client",
    "ConfigurationError",
    "Deny",
    "Grant",
    "Health",
    "Limits",
    "Operator",
    "Pairlock",
    "PairlockError",
    "Permissions",
    "Prompt",
    "StoreError",
    "WireError",
    "open_store",
    "operator_token",
]
