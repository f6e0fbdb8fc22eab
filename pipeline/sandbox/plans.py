"""What the sandbox calls back about a message, and how; see `docs/sandbox.md`. As the rules of requests are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

OUTCOMES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "resend": {
        "delivered": ("email.sent", "email.delivered"),
        "opened": ("email.sent", "email.delivered", "email.opened"),
        "clicked": ("email.sent", "email.delivered", "email.opened", "email.clicked"),
        "delayed": ("email.sent", "email.delivery_delayed"),
        "bounced": ("email.sent", "email.bounced"),
        "complained": ("email.sent", "email.delivered", "email.complained"),
        "undelivered": ("email.failed",),
        "suppressed": ("email.suppressed",),
        "nothing": (),
    },
    "twilio": {
        "delivered": ("sent", "delivered"),
        "read": ("sent", "delivered", "read"),
        "undelivered": ("sent", "undelivered"),
        "nothing": (),
    },
    "waha": {
        "delivered": ("message.ack 1", "message.ack 2"),
        "read": ("message.ack 1", "message.ack 2", "message.ack 3"),
        "undelivered": ("message.ack -1",),
        "nothing": (),
    },
}
"""By provider: the events of each outcome, in the order in which they happen."""
FORGERIES: Final[dict[str, tuple[str, ...]]] = {
    "resend": ("signature", "unsigned", "altered", "stale"),
    "twilio": ("signature", "unsigned", "altered", "account"),  # it signs no time
    "waha": ("signature", "unsigned", "altered", "stale", "account"),
}
"""By provider: what may be wrong with a callback."""
LIDS: Final = ("told", "asked", "hidden")
"""Whether WAHA tells the number of someone whose address is a lid: in the event, when asked, or never."""
OPT_OUT_TYPES: Final = ("STOP", "START", "HELP")
MOST_REPEATS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPlan:
    """What is called back about a message, or about an inbound one, and how."""

    outcome: str = "delivered"
    code: str | None = None
    """Twilio's ErrorCode; Resend's type of a bounce, or the reason of `suppressed`."""
    delay_ms: int = 0
    """From the acceptance to the first callback."""
    within_ms: int | None = None
    """Each callback comes at a random moment within this time, so in any order; None: in the order of the events."""
    repeat: int = 1
    """How often each event is called back."""
    before_answer: bool = False
    """Whether the callbacks come before the answer of the send."""
    loss: float = 0.0
    """Share of the callbacks that are never made."""
    forge: str | None = None
    """What is wrong with each callback; None: nothing."""
    reply: str | None = None
    """Text that the recipient answers with, after the outcome."""
    lid: str | None = None
    """At WAHA: the answer comes from a lid; one of `LIDS`."""
    quote: bool = False
    """At WAHA: the answer quotes the message."""

    def fits(self, provider: str) -> bool:
        """Whether the provider can do this."""
        return self.outcome in OUTCOMES[provider] and (self.forge is None or self.forge in FORGERIES[provider])


def any_of(table: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that any provider knows."""
    return tuple(sorted({word for words in table.values() for word in words}))
