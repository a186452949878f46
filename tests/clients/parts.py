"""The service that the clients of others meet, and what its operator does there."""

from typing import Any, NamedTuple

import httpx

from pairlock.testing import FakeClock

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
SENSORS = {"read": ["/sensors/**"], "write": ["/sensors/**"]}
SCOPE = "read:/sensors/**"
SECRET = "the-secret/of+these&tests=%"
TV, BOX, CAMERA = "tv", "box", "camera"


class Service(NamedTuple):
    """Where it is, its clock, and its operator's connection to it."""

    url: str
    clock: FakeClock
    operator: httpx.Client

    @property
    def sensor(self) -> str:
        """What devices are let in for."""
        return f"{self.url}/sensors/kitchen"

    @property
    def ask(self) -> str:
        return f"{self.url}/pair/device_authorization"

    @property
    def token(self) -> str:
        return f"{self.url}/pair/token"

    @property
    def revocation(self) -> str:
        return f"{self.url}/pair/revoke"

    @property
    def introspection(self) -> str:
        return f"{self.url}/pair/introspect"

    @property
    def metadata(self) -> str:
        return f"{self.url}/.well-known/oauth-authorization-server/pair"

    def decide(self, user_code: str, decision: str) -> None:
        """The operator types the user code that the device shows, and says what shall be."""
        found = self._call("POST", "/requests/lookup", {"user_code": user_code})
        self._call("POST", f"/requests/{found['id']}/{decision}", {})

    def devices(self) -> list[dict[str, Any]]:
        """Who has paired."""
        return list(self._call("GET", "/devices")["devices"])

    def revoke_all(self) -> None:
        """Shut everybody out."""
        self._call("DELETE", "/devices")

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.operator.request(method, f"{self.url}/pair{path}", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())
