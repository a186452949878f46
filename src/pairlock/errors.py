"""Every error of pairlock, with what the wire says of it: code, status, description.

A description is fixed text that says what to do; it never repeats input. What varies travels
in the documented extras of the class. The client raises the same classes from the same answers.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class PairlockError(Exception):
    """Anything pairlock raises on purpose."""


class ConfigurationError(PairlockError):
    """The settings cannot work; the message says which one and what to write instead."""


class StoreError(PairlockError):
    """The store cannot be opened; the message says why and what to do."""


class ClientError(PairlockError):
    """What only the device's side can know; the message is one line and says what to do."""


class Unreachable(ClientError):
    """Nobody answers at this address, or its certificate is not to be trusted."""


class NotPairlock(ClientError):
    """Somebody answers at this address, but no pairing service."""


class Unencrypted(ClientError):
    """The address is plain HTTP to another machine, and the caller has not said that this may be."""


class AnotherServer(ClientError):
    """The address belongs to another server than the one that the credential is for; nothing was sent to it."""


class NotPaired(ClientError):
    """No credential is kept for this address."""


class PairAgain(ClientError):
    """The credential that is kept counts no more: it was revoked, or lay unused too long."""


class AlreadyPaired(ClientError):
    """A credential is kept already for this server at this address, and nobody said to replace it."""


class CredentialsError(ClientError):
    """Credentials cannot be read or kept: the file is damaged, read-only, or the disk is full. Nothing was lost."""


class WireError(PairlockError):
    """An error with a place on the wire.

    Keyword arguments are the documented extras of the class; each is an attribute too.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    description: ClassVar[str]
    extras: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **extras: Any) -> None:
        super().__init__(self.description)
        self.details = self._told(extras) if extras else {}  # most errors say nothing of their own

    def _told(self, extras: dict[str, Any]) -> dict[str, Any]:
        if unknown := extras.keys() - set(self.extras):
            raise TypeError(f"{type(self).__name__} has no extra {sorted(unknown)}")
        return {name: extras[name] for name in self.extras if extras.get(name) is not None}

    def __getattr__(self, name: str) -> Any:
        if name in type(self).extras:
            return self.details.get(name)
        raise AttributeError(name)

    def __str__(self) -> str:
        said = "".join(f" ({name}: {value})" for name, value in self.details.items())
        return f"{self.code}: {self.description}{said}"

    def body(self) -> dict[str, Any]:
        """The JSON object that goes on the wire."""
        return {"error": self.code, "error_description": self.description, **self.details}


class InvalidRequest(WireError):
    """The body, a parameter or a header is malformed; `detail` says which and how."""

    code = "invalid_request"
    status = 400
    description = "The request is malformed. Mend what the detail names and send it again."
    extras = ("detail",)


class InvalidPermissions(WireError):
    """A permission pattern is malformed, or more is asked for than may be granted."""

    code = "invalid_scope"  # RFC 6749 §5.2
    status = 400
    description = "These permissions are malformed, or wider than what may be granted here. Ask for less."
    extras = ("detail",)


class AmbiguousPath(WireError):
    """The address can be read in more than one way (dot segments, `//`, `%2F`, ...)."""

    code = "ambiguous_path"
    status = 400
    description = "The path can be read in more than one way. Send it without dot, empty or encoded segments."


class BodyTooLarge(WireError):
    code = "body_too_large"
    status = 413
    description = "The body is larger than this endpoint accepts."


class UnsupportedMediaType(WireError):
    code = "unsupported_media_type"
    status = 415
    description = "Send the body as Content-Type: application/json."


class NotFound(WireError):
    code = "not_found"
    status = 404
    description = "There is nothing with this address or id."


class MethodNotAllowed(WireError):
    code = "method_not_allowed"
    status = 405
    description = "This address does not take that method; the Allow header lists those it takes."


class MissingToken(WireError):
    """No credentials at all: the challenge carries no error code (RFC 6750 §3.1)."""

    code = "missing_token"
    status = 401
    description = "Send a Bearer token: that of a paired device, or the secret of the pairing request this is about."


class InvalidToken(WireError):
    """Unknown, expired, revoked or forged: strangers are not told which (RFC 6750 §3.1)."""

    code = "invalid_token"
    status = 401
    description = (
        "This token or secret does not count here: it is unknown, expired or revoked. Refresh it, or pair again."
    )


class NotPermitted(WireError):
    """The device is paired, but its permissions do not cover this."""

    code = "insufficient_scope"  # RFC 6750 §3.1
    status = 403
    description = "The permissions of this device do not cover this address."
    extras = ("scope",)


class OperatorRequired(WireError):
    code = "operator_required"
    status = 403
    description = "Only an operator may do this; a device's token is never enough."


class CrossSite(WireError):
    code = "cross_site"
    status = 403
    description = "Calls from pages of another site are refused."


class PairingDisabled(WireError):
    code = "pairing_disabled"
    status = 403
    description = "Pairing is switched off on this service. Ask its operator to enable it."


class AuthorizationPending(WireError):
    code = "authorization_pending"  # RFC 8628 §3.5
    status = 400
    description = "Nobody has decided yet. Ask again after the interval."


class AccessDenied(WireError):
    code = "access_denied"  # RFC 8628 §3.5
    status = 400
    description = "The operator denied this pairing request."
    extras = ("reason",)


class ExpiredToken(WireError):
    code = "expired_token"  # RFC 8628 §3.5
    status = 400
    description = "This pairing request has expired. Start a new one."


class InvalidPin(WireError):
    code = "invalid_pin"
    status = 400
    description = "That is not the PIN. It stays the same: while attempts are left, read it again and retry."
    extras = ("attempts_left",)


class Locked(WireError):
    code = "locked"
    status = 400
    description = "Too many wrong PINs: this pairing request is locked for good. Start a new one."


class Cancelled(WireError):
    code = "cancelled"
    status = 400
    description = "This pairing request was cancelled. Start a new one."


class AlreadyRedeemed(WireError):
    code = "already_redeemed"
    status = 409
    description = "This pairing request has been redeemed already; a token is given out once. Start a new one."


class AlreadyDecided(WireError):
    """Somebody else decided first, or the request ended; `state` says how."""

    code = "already_decided"
    status = 409
    description = "This pairing request is no longer pending."
    extras = ("state",)


class InvalidCode(WireError):
    """A one-time code, QR secret or user code that does not count; strangers are not told why."""

    code = "invalid_code"
    status = 400
    description = "This code does not count here: it is unknown, used or expired. Read it again, or ask for a new one."


class ConfirmationRequired(WireError):
    """Approved; but the PIN that the operator sees now has to be typed on the device."""

    code = "confirmation_required"
    status = 400
    description = "The operator has approved and sees a PIN now. Send it as confirmation_pin."
    extras = ("attempts_left",)


class SlowDown(WireError):
    code = "slow_down"  # RFC 8628 §3.5
    status = 400
    description = "Asked too soon. Wait for the interval from now on."
    extras = ("interval",)


class InvalidGrant(WireError):
    """A device code or refresh token that is unknown, used, or somebody else's."""

    code = "invalid_grant"  # RFC 6749 §5.2
    status = 400
    description = "This device code or refresh token is unknown, used, revoked or another client's. Pair again."


class InvalidClient(WireError):
    code = "invalid_client"  # RFC 6749 §5.2
    status = 401
    description = "This client is not known here, or did not prove to be it. Check client_id and client secret."


class UnsupportedGrantType(WireError):
    code = "unsupported_grant_type"  # RFC 6749 §5.2
    status = 400
    description = "The grant types are urn:ietf:params:oauth:grant-type:device_code and refresh_token."


class WindowClosed(WireError):
    code = "window_closed"
    status = 403
    description = "The pairing window is closed. Ask the operator to open it, then start again."


class PinHeld(WireError):
    """Too many wrong PINs in all; other methods go on."""

    code = "pin_held"
    status = 403
    description = "Pairing by PIN is held after too many wrong PINs. Ask the operator to reopen it, or for a code."
    extras = ("retry_after",)


class DifferentNetwork(WireError):
    code = "different_network"
    status = 403
    description = "This service pairs only devices that are in the operator's own network."


class TooManyRequests(WireError):
    code = "too_many_requests"
    status = 429
    description = "That was too often. Wait, then try again."
    extras = ("retry_after",)


class Busy(WireError):
    """As many wait for a decision as may; from this source, or in all."""

    code = "busy"
    status = 429
    description = "Other pairing requests wait for a decision. Try again once they are done."
    extras = ("retry_after",)


class TemporarilyUnavailable(WireError):
    """The store cannot answer just now, or revocations may be missing: fail closed."""

    code = "temporarily_unavailable"
    status = 503
    description = "The service cannot answer safely just now. Retry shortly."
    extras = ("retry_after",)


class ServerError(WireError):
    code = "server_error"
    status = 500
    description = "The service failed while answering. Its log says why."


def wire_errors() -> dict[str, type[WireError]]:
    """Every error class that can arrive in an answer, by its wire code."""
    return {error.code: error for error in WireError.__subclasses__()}


def error_from(body: Mapping[str, Any]) -> WireError:
    """The error that an answer's JSON object speaks of; unknown codes become ServerError."""
    code = body.get("error")
    error = wire_errors().get(code, ServerError) if isinstance(code, str) else ServerError
    return error(**{name: body[name] for name in error.extras if name in body})
