"""`make demo`: the house behind pairlock, with a display for PINs in this terminal."""

import os
import secrets
import socket
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from example_app.house import house
from pairlock import Pairlock, PairlockError, Prompt, operator_token

COMMANDS = """\
The house is on {base}. Ctrl-C stops it; {database} keeps who is paired.
Paste these into another terminal, one after the other.

  1. As the device: ask to pair. A PIN appears here.

base={base}
call() {{ curl -sw '\\n' -H 'Content-Type: application/json' -H "Authorization: Bearer $1" "${{@:2}}"; }}
field() {{ python3 -c "import json, sys; got = json.load(sys.stdin); print(got.get('$1', got))"; }}
asked=$(call - $base/pair/requests -d '{{"name": "My Phone"}}')
id=$(echo "$asked" | field id) secret=$(echo "$asked" | field secret)

  2. Type that PIN in.

printf 'PIN: '; read -r pin

  3. Go in. The door is refused: only the lamp was granted.

token=$(call "$secret" $base/pair/requests/$id/pin -d "{{\\"pin\\": \\"$pin\\"}}" | field access_token)
call "$token" $base/sensors/temperature
call "$token" $base/control/lamp -X PUT -d on
call "$token" $base/control/door -X PUT -d open

  4. As the operator: hand a one-time code to a second device, which redeems it.

operator={operator}
code=$(call "$operator" $base/pair/codes -d '{{"permissions": {{"read": ["/sensors/*"]}}}}' | field code)
second=$(call - $base/pair/redeem -d "{{\\"code\\": \\"$code\\", \\"name\\": \\"A script\\"}}" | field access_token)
call "$second" $base/sensors/humidity

  5. See who is paired, and shut them out. The last call is refused.

call "$operator" $base/pair/devices
call "$operator" $base/pair/devices -X DELETE
call "$token" $base/sensors/temperature
"""


async def show(prompt: Prompt) -> None:
    """The trusted display: whoever can read this terminal may read the PIN to the device's owner."""
    minutes, seconds = divmod(prompt.expires_in, 60)
    print(f'\nPairing request from "{prompt.name}"\nPIN: {prompt.pin}\nExpires in {minutes}:{seconds:02}', flush=True)


def guarded_house(operator: str, database: str) -> ASGIApp:
    """The house, and pairing below /pair."""
    pairlock = Pairlock(
        store=f"sqlite:///{database}",
        default_permissions={"read": ["/sensors/**", "/live"], "write": ["/control/lamp"]},
        operator=operator_token(operator),
        server_name="The house",
    )
    pairlock.on_request(show)
    return pairlock.protect(house, public=["/"])


def main() -> None:
    port, operator = os.environ.get("PORT", "8000"), secrets.token_urlsafe(24)
    if not port.isdigit() or not 0 < int(port) < 65536:
        sys.exit(f"PORT={port}: give a number from 1 to 65535, for example: make demo PORT=8080")
    database = os.environ.get("DATABASE", "demo.db")
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # said, so that asyncio sends answers without delay
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", int(port)))
        app = guarded_house(operator, database)
    except OSError as error:
        sys.exit(f"port {port} cannot be used ({error.strerror}); try another: make demo PORT={int(port) % 65535 + 1}")
    except PairlockError as error:
        sys.exit(str(error))
    print(COMMANDS.format(base=f"http://127.0.0.1:{port}", operator=operator, database=database), flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning", proxy_headers=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
