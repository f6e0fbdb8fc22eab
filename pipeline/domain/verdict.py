"""What a provider's answer means, as closed sets: the verdict on a call, the resolution of a look-up or replay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted; one id per touch in the claim's order (None: accepted, id unknown)."""

    message_ids: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider refused for good and accepted nothing. Every touch of the call is `failed`/`rejected`."""

    code: str
    error: str


@dataclass(frozen=True, slots=True)
class Split:
    """The provider refused a batch because of one of its touches and accepted nothing. Halve it: a new key is safe."""

    code: str
    error: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider refused this touch for now and accepted nothing. It counts against `attempts`; back off."""

    code: str
    error: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """The sender cannot send now (connection, 429, quota, session, credentials, domain, billing); nothing was accepted.

    It opens the lane's breaker and counts against no touch.
    """

    code: str
    error: str
    retry_after_s: float | None = None
    """The provider's Retry-After; None: the breaker probes."""
    may_be_the_touch: bool = False
    """The cause is unclear: the account, or this touch (an undocumented error, a country or a recipient that the account may
    not write to). Once other touches of the same sender are sent, it is a refusal of this touch, which counts."""


@dataclass(frozen=True, slots=True)
class Unbegun:
    """The lease was over before the request's body was written. The provider got nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider may have accepted (lost answer, reset, timeout, 5xx): look it up."""

    code: str
    error: str
    refused: bool = False
    """The provider answered 5xx: it counts as a refusal if nothing was accepted."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Looked up: the provider does not have the message. Another call is safe."""


@dataclass(frozen=True, slots=True)
class AskLater:
    """Looked up: no answer now (still running, provider down). Look it up again with back-off."""

    error: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Looked up: the outcome cannot be found out (the idempotency key has expired)."""

    error: str


Verdict = Sent | Rejected | Split | Refused | Paused | Unbegun | Unknown
Resolution = Sent | Rejected | Split | Refused | Paused | Unbegun | Unknown | Absent | AskLater | Unanswerable
"""A replay (Resend) answers with a verdict, a look-up (Twilio, WAHA) with Sent, Absent or AskLater."""
