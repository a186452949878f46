"""Those who pair: each way there is, each step at another worker."""

import asyncio
import secrets

from tests.chaos.said import Paired, Said
from tests.chaos.service import Answer, Service

DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REDEEMERS = 4
ATTEMPTS = 5


class Pairing:
    """Devices that ask to be let in, and the operator who decides."""

    def __init__(self, service: Service, said: Said) -> None:
        self.service = service
        self.said = said

    async def by_pin(self) -> Paired | None:
        """Asked at one worker, read at another, typed at a third."""
        started = await self._started()
        if started is None:
            return None
        request_id, secret = started
        pin = await self._pin(request_id)
        if pin is None:
            return None
        answer = await self._type(request_id, secret, pin)
        return self._concluded(request_id, answer, "already_redeemed", "locked")

    async def by_hand(self) -> Paired | None:
        """The operator approves."""
        started = await self._started()
        if started is None or not await self._decided(started[0], "approve", "approved"):
            return None
        request_id, secret = started
        answer = await self.service.insist("POST", f"/pair/requests/{request_id}/token", bearer=secret)
        return self._concluded(request_id, answer, "already_redeemed")

    async def be_denied(self) -> None:
        """The operator denies."""
        started = await self._started()
        if started is not None:
            await self._decided(started[0], "deny", "denied")

    async def be_locked(self) -> None:
        """Somebody guesses."""
        started = await self._started()
        pin = started and await self._pin(started[0])
        if started is not None and pin is not None and await self._guessed(*started, pin):
            self.said.decided["locked"].add(started[0])

    async def by_device_code(self) -> Paired | None:
        """As RFC 8628 has it; approved before the device asks for the first time."""
        asked = await self.service.ask(
            self.service.any(), "POST", "/pair/device_authorization", form={"client_id": "tv"}
        )
        if asked.status != 200:
            return None
        found = await self.service.operate("POST", "/pair/requests/lookup", json={"user_code": asked.body["user_code"]})
        if found.status != 200:
            self.said.refused("an acknowledged user code", found)
            return None
        request_id = found.body["id"]
        self.said.requested.add(request_id)
        if not await self._decided(request_id, "approve", "approved"):
            return None
        form = {"grant_type": DEVICE_CODE_GRANT, "device_code": asked.body["device_code"], "client_id": "tv"}
        answer = await self.service.insist("POST", "/pair/token", form=form)
        return self._concluded(request_id, answer, "invalid_grant", client_id="tv")

    async def at_once(self) -> None:
        """One code, many redeemers at different workers: one of them has it."""
        minted = await self.service.operate("POST", "/pair/codes", json={})
        if minted.status != 201:
            self.said.refused("minting a code", minted)
            return
        request_id = minted.body["id"]
        self.said.requested.add(request_id)
        answers = await asyncio.gather(*(self._redeem(minted.body["code"]) for _ in range(REDEEMERS)))
        winners = [answer for answer in answers if answer.status == 200]
        for answer in winners:
            self.said.paired(request_id, answer)
        if len(winners) > 1 or (not winners and all(answer.is_final for answer in answers)):
            self.said.flaws.append(f"code {request_id} was redeemed by {len(winners)} of {REDEEMERS}: {answers}")

    async def _redeem(self, code: str) -> Answer:
        """Whoever lost the answer asks again with the secret it made."""
        body = {"code": code, "name": "CLI", "secret": secrets.token_urlsafe(16)}
        return await self.service.insist("POST", "/pair/redeem", json=body)

    # Steps

    async def _started(self) -> tuple[str, str] | None:
        answer = await self.service.ask(self.service.any(), "POST", "/pair/requests", json={"name": "Phone"})
        if answer.status != 201:
            return None
        self.said.requested.add(answer.body["id"])
        return answer.body["id"], answer.body["secret"]

    async def _type(self, request_id: str, secret: str, pin: str) -> Answer:
        return await self.service.insist("POST", f"/pair/requests/{request_id}/pin", json={"pin": pin}, bearer=secret)

    async def _guessed(self, request_id: str, secret: str, pin: str) -> bool:
        """Whether all attempts were used up; there is one less each time."""
        wrong, left = "000000" if pin != "000000" else "111111", ATTEMPTS
        while left:
            guess = await self._type(request_id, secret, wrong)
            if guess.error != "invalid_pin" or guess.body["attempts_left"] >= left:
                self.said.refused(f"a wrong PIN with {left} attempts left", guess, "locked")
                return False
            left = guess.body["attempts_left"]
        return True

    async def _pin(self, request_id: str) -> str | None:
        """As the operator reads it."""
        listed = await self.service.operate("GET", "/pair/requests")
        pins = [each["pin"] for each in listed.body.get("requests", ()) if each["id"] == request_id]
        if listed.status == 200 and not pins:
            self.said.flaws.append(f"request {request_id} was acknowledged and is not listed")
        return pins[0] if pins else None

    async def _decided(self, request_id: str, decision: str, state: str) -> bool:
        answer = await self.service.operate("POST", f"/pair/requests/{request_id}/{decision}", json={})
        if answer.status == 200 or (answer.lost and answer.body.get("state") == state):
            self.said.decided[state].add(request_id)
            return True
        self.said.refused(f"{decision} {request_id}", answer)
        return False

    def _concluded(self, request_id: str, answer: Answer, *explained: str, client_id: str = "") -> Paired | None:
        if answer.status == 200:
            return self.said.paired(request_id, answer, client_id)
        self.said.refused(f"redeeming {request_id}", answer, *explained)
        return None
