"""Keeps one credential fresh, together with every other task, thread and process that uses it.

A refresh token counts once. So whoever would refresh takes the lock of the credentials, reads them again, and finds
that another has done it, or does it himself.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from msgspec.structs import replace

from pairlock._core.oauth import REFRESH_GRANT
from pairlock.client import answers
from pairlock.client.answers import AWAY, TokenAnswer
from pairlock.client.credentials import Credential
from pairlock.client.discovery import check_identity
from pairlock.client.exchange import Answer, Call, Do, Exchange, T, Unbroken, Wait
from pairlock.client.storage import Credentials, Draft
from pairlock.errors import (
    CredentialsError,
    InvalidGrant,
    NotPaired,
    PairAgain,
)

STAYS = 60.0  # seconds of silence in which an address does not come to belong to another machine
LOOK_AGAIN = 0.05  # seconds between looks at what another does
ATTEMPTS = 3  # the answer to a refresh may have been lost; the same token counts for ten seconds more
REFRESH_TIMEOUT = 3.0  # seconds; so that all attempts are made within those ten


def in_turn(credentials: Credentials, work: Callable[[], T]) -> Exchange[T]:
    """Wait for the lock, do this with it held, and release it: in one go, which nobody can cut short."""
    while (done := (yield Do(partial(_if_free, credentials, work)))) is None:
        yield Wait(LOOK_AGAIN)
    return done[0]  # type: ignore[no-any-return]


class Keeper:
    """One credential, by its key: what it is now, as far as is known here."""

    def __init__(
        self, credentials: Credentials, key: str, credential: Credential, clock: Callable[[], float] = time.time
    ) -> None:
        self.credential = credential
        self._changes = 0  # of it, so that nobody puts an older one back
        self.key = key
        self.credentials = credentials
        self._identified_at: float | None = None  # or heard of since; None: nobody knows who is at its address now
        self._clock = clock

    def known(self) -> Credential | None:
        """The credential if it can be used as it is; None when `current` has to be asked."""
        return self.credential if self._is_identified() and not self.credential.is_due(self._clock()) else None

    def current(self) -> Exchange[Credential]:
        """The credential with a token that counts, refreshed if it is due.

        Raises AnotherServer, PairAgain, NotPaired, CredentialsError, Unreachable.
        """
        credential = self.credential
        if not self._is_identified():
            yield from self._identify(credential)
        if credential.is_due(self._clock()):
            try:
                return (yield from self._fresh(None))
            except (*AWAY, CredentialsError):
                if credential.expires_at <= self._clock():
                    raise  # otherwise it still counts for a moment
        return credential

    def after_refusal(self, refused: str) -> Exchange[Credential]:
        """The credential after a server has refused this token of it: another has a newer one, or it is refreshed."""
        credential = self.credential
        if credential.token == refused or credential.is_due(self._clock()):
            return (yield from self._fresh(refused))
        return credential

    def learn(self, name: str, permissions: dict[str, list[str]]) -> Exchange[None]:
        """What the server calls this device today, and what it lets it do: both may be changed there at any time."""
        if (name, permissions) == (self.credential.name, self.credential.permissions):
            return
        self._change(replace(self.credential, name=name, permissions=permissions))
        with suppress(CredentialsError):  # what is written down is only for being listed
            yield from in_turn(self.credentials, partial(self._note, name, permissions))

    def heard(self) -> None:
        """The server has just answered."""
        self._identified_at = self._clock()

    def lost(self) -> None:
        """A call has failed: who knows who is at that address once somebody is there again."""
        self._identified_at = None

    def _is_identified(self) -> bool:
        if self._identified_at is None:
            return False
        proved = self.credential.url.startswith("https:")  # at every connection
        return proved or 0 <= self._clock() - self._identified_at < STAYS

    def forget(self) -> Exchange[None]:
        """Drop the credential where it is kept."""
        yield from in_turn(self.credentials, self._remove)

    def _identify(self, kept: Credential) -> Exchange[None]:
        self.lost()  # as long as it has not said so
        yield from check_identity(kept.url, kept.server.id, device_id=kept.device_id, refresh_token=kept.refresh_token)
        self.heard()

    def _fresh(self, refused: str | None) -> Exchange[Credential]:
        """What is kept, once it has another token than the one that was refused, and one that is not due."""
        while not self._counts((kept := (yield from self._look())), refused):
            if kept.refresh_token is None:
                yield from self._identify(kept)
                raise self.pair_again()
            refreshed: Credential | None = yield Unbroken(self._refreshed_in_turn(refused))
            if refreshed is not None:
                return refreshed
            yield Wait(LOOK_AGAIN)
        return kept

    def _refreshed_in_turn(self, refused: str | None) -> Exchange[Credential | None]:
        """The same if it is our turn, else None. Cut short, this could lose the token that counts."""
        release: Callable[[], None] | None = yield Do(self.credentials.try_lock)
        if release is None:
            return None
        try:
            if not self._counts((kept := (yield from self._look())), refused):
                yield from self._identify(kept)  # a refusal says nothing of who refused
                kept = yield from self._refresh(kept)
        finally:
            release()
        return kept

    def _look(self) -> Exchange[Credential]:
        """What is kept now."""
        changes = self._changes
        kept: Credential | None = yield Do(partial(self.credentials.load, self.key))
        if kept is None:
            raise NotPaired(f"the credential for {self.credential.url} is no longer kept: this device was logged out")
        if self._changes == changes:
            self._change(kept)
        return kept

    def _change(self, credential: Credential) -> None:
        self.credential = credential
        self._changes += 1

    def _counts(self, kept: Credential, refused: str | None) -> bool:
        """Whether it has a token that counts, as far as can be seen."""
        return kept.token != refused and not kept.is_due(self._clock())

    def _refresh(self, kept: Credential) -> Exchange[Credential]:
        with ExitStack() as opened:
            draft: Draft = yield Do(lambda: opened.enter_context(self.credentials.drafting()))
            refreshed = kept.refreshed((yield from self._ask(kept)), self._clock())
            try:
                yield Do(partial(draft.put, self.key, refreshed))
            finally:
                self._change(refreshed)
        return refreshed

    def _ask(self, kept: Credential) -> Exchange[TokenAnswer]:
        url = f"{kept.url}/token"
        form = {"grant_type": REFRESH_GRANT, "refresh_token": kept.refresh_token or ""}
        if kept.client_id:
            form["client_id"] = kept.client_id
        call = Call(method="POST", url=url, form=form, timeout=REFRESH_TIMEOUT, again=True)
        for attempt in range(1, ATTEMPTS):
            try:
                return self._read((yield call))
            except AWAY:
                yield Wait(attempt)
        return self._read((yield call))

    def _read(self, answer: Answer) -> TokenAnswer:
        try:
            return answers.read(answer, TokenAnswer, self.credential.url)
        except InvalidGrant as error:
            raise self.pair_again() from error

    def _note(self, name: str, permissions: dict[str, list[str]]) -> None:
        kept = self.credentials.load(self.key)
        if kept is not None:
            with self.credentials.drafting() as draft:
                draft.put(self.key, replace(kept, name=name, permissions=permissions))

    def _remove(self) -> None:
        with self.credentials.drafting() as draft:
            draft.remove(self.key)

    def pair_again(self) -> PairAgain:
        """The error that says so."""
        kept = self.credential
        return PairAgain(
            f'{kept.server.name} at {kept.url} does not let "{kept.name}" in any more:'
            " it was revoked, or lay unused too long. Pair again."
        )


def _if_free(credentials: Credentials, work: Callable[[], T]) -> tuple[T] | None:
    release = credentials.try_lock()
    if release is None:
        return None
    try:
        return (work(),)
    finally:
        release()
