"""What became of a touch in words that a person understands: one sentence for where it stands, one for why it waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.web.pages.explained import EXPLAINED, Explanation
from pipeline.web.pages.times import instant, seen_from

LOOKS: Final = {
    "accepted": "waiting",
    "deferred": "waiting",
    "retrying": "trying",
    "sent": "sent",
    "failed": "failed",
    "expired": "stopped",
    "cancelled": "stopped",
    "suppressed": "stopped",
    "unconfirmed": "unknown",
}
"""How a state looks: a class of the stylesheet. It never stands without its word."""
STATES: Final = tuple(LOOKS)
ENDS: Final = ("sent", "failed", "expired", "cancelled", "suppressed", "unconfirmed")
SIGNS: Final = {"waiting": "○", "trying": "◐", "sent": "●", "stopped": "■", "failed": "▲", "unknown": "?"}
"""A shape beside the word, for who does not tell the colours."""
LOOK_WORDS: Final = {
    "sent": "sent",
    "stopped": "expired, cancelled or suppressed",
    "failed": "failed",
    "unknown": "unconfirmed",
    "trying": "retrying",
    "waiting": "waiting",
}
"""The states that share a look, in a legend's words."""
ORDER_OF_LOOKS: Final = ("sent", "stopped", "failed", "unknown", "trying", "waiting")

_HEADLINES: Final[dict[tuple[str, str | None], str]] = {
    ("accepted", None): "Not sent yet",
    ("deferred", "window"): "Not sent yet: the person may not be disturbed now",
    ("deferred", "not_before"): "Not sent yet: it shall not go before its time",
    ("deferred", "paused"): "Not sent yet: somebody has paused it",
    ("retrying", "backoff"): "Not sent yet: the provider refused it for now",
    ("retrying", "outage"): "Not sent yet: the provider cannot be used",
    ("retrying", "looking_up"): "It may have been sent: the answer was lost, and the provider is being asked",
    ("sent", None): "Sent",
    ("failed", "invalid"): "Not sent: the touch breaks a rule",
    ("failed", "channel_off"): "Not sent: the channel is off",
    ("failed", "unknown_sender"): "Not sent: its sender is not configured",
    ("failed", "rejected"): "Not sent: the provider refused it for good",
    ("failed", "attempts_exhausted"): "Not sent: the provider refused it each time",
    ("expired", "expires_at"): "Not sent: its time had run out",
    ("unconfirmed", "no_answer"): "It may or may not have been sent: nobody could find out",
    ("cancelled", "touch"): "Not sent: somebody has cancelled this touch",
    ("cancelled", "lead"): "Not sent: somebody has cancelled all touches of this person",
    ("cancelled", "campaign"): "Not sent: somebody has cancelled the campaign",
    ("cancelled", "sender"): "Not sent: somebody has cancelled what this sender had",
    ("cancelled", "channel"): "Not sent: somebody has cancelled what this channel had",
    ("suppressed", "complained"): "Not sent: the recipient has complained of spam",
    ("suppressed", "opt_out"): "Not sent: the recipient has said STOP",
    ("suppressed", "unsubscribed"): "Not sent: the recipient has unsubscribed",
    ("suppressed", "bounced"): "Not sent: the mailbox does not exist",
    ("suppressed", "unreachable"): "Not sent: the number cannot receive it",
    ("suppressed", "manual"): "Not sent: somebody has entered the recipient by hand",
}
_OUTCOMES: Final = {
    "delivered": "Sent and delivered",
    "delayed": "Sent; the delivery is delayed",
    "read": "Sent and read",
    "opened": "Sent and opened",
    "clicked": "Sent; a link in it was clicked",
    "replied": "Sent; the person has replied",
    "bounced": "Sent, but it bounced",
    "complained": "Sent; the recipient has complained of spam",
    "undelivered": "Sent, but not delivered",
    "suppressed_by_provider": "Taken by the provider, which did not send it: its own list has the recipient",
}
KINDS: Final = {
    "delivered": "It was delivered.",
    "delayed": "The delivery is delayed; the provider tries again.",
    "read": "The person has read it.",
    "opened": "The e-mail was opened (or a program looked at it).",
    "clicked": "A link in it was clicked.",
    "replied": "The person has replied to it.",
    "bounced": "The recipient's mail server returned it.",
    "complained": "The recipient has marked it as spam.",
    "undelivered": "The provider could not deliver it.",
    "suppressed_by_provider": "The provider did not send it: the recipient is on its own list.",
}
"""What a delivery tells."""
BAD_KINDS: Final = frozenset({"bounced", "complained", "undelivered", "suppressed_by_provider"})
WAITS: Final = {
    "order": "It goes on by itself when the order ends.",
    "outage": "Single calls test whether it is back; nobody needs to start it again.",
    "window": "Messages to this person may go out in certain hours only.",
    "not_before": "Whoever made it has said so.",
    "backoff": "It is tried again by itself.",
    "looking_up": "It is not sent again on a guess.",
    "limit": "Its sender has made as many calls as its limit allows.",
    "daily_cap": "Its sender has sent as many as it may today.",
    "gap": "Its sender rests between two calls.",
    "turn": "Nothing holds it; others are before it.",
}
"""Why a touch has not gone yet, now."""
HELD: Final = {
    "window": "hours closed",
    "limit": "limit reached",
    "daily_cap": "daily cap reached",
    "gap": "resting between calls",
    "outage": "provider cannot be used",
    "order": "stopped by an order",
}
"""What holds a lane."""
DEAD: Final = {
    "undecodable": "The record cannot be read.",
    "invalid": "The touch breaks a rule.",
    "conflict": "An earlier touch with this id has other content, and its story goes on unchanged.",
}


class Story(NamedTuple):
    """Where a touch stands."""

    headline: str
    look: str
    meaning: Explanation
    waits: str
    """Why it has not gone yet, now; "" if it has ended or nothing is known."""
    until_ms: int | None
    orders: list[str]
    """The keys of the orders that hold it."""


def held_words(held: Iterable[str], *, is_open: bool | None) -> str:
    """Return what holds a lane, in words. In hours that are open (`is_open`) a window holds those whose own clock says otherwise."""
    said = {**HELD, "window": "some people's hours closed"} if is_open else HELD
    return ", ".join(said.get(each, each) for each in held)


def look_of(state: str) -> str:
    """Return how a state looks; what is unknown here looks unknown."""
    return LOOKS.get(state, "unknown")


def explained(state: str, reason: str | None) -> Explanation:
    """Return what docs/reasons.md says of the state and reason; of a newer version's words nothing is known."""
    return EXPLAINED.get((state, reason), Explanation(""))


def short_reason(state: str, reason: str | None) -> str:
    """Return the state and its reason as a list has room for them, without what the reader knows."""
    return state if reason is None else f"{state}: {reason.replace('_', ' ')}"


def story_of(touch: Mapping[str, Any]) -> Story:
    """Return where the touch of `GET touches/<id>` stands."""
    # A touch of which only deliveries are left was sent: its statuses are older than what is kept.
    state, reason, outcome = str(touch["state"] or "sent"), touch.get("reason"), touch.get("outcome")
    headline = _HEADLINES.get((state, reason)) or short_reason(state, reason).capitalize()
    look = look_of(state)
    if state == "sent" and outcome is not None:
        headline = _OUTCOMES.get(outcome, f"Sent; {outcome}")
        look = "failed" if outcome in BAD_KINDS else look
    waits = touch.get("waits") or {}
    why = waits.get("why")
    if why is not None:  # the present says more than the last record
        headline = _NOW.get(why, f"Not sent yet: {why}")
    return Story(
        headline=headline,
        look=look,
        meaning=explained(state, reason),
        waits="" if why is None else WAITS.get(why, str(why)),
        until_ms=waits.get("until"),
        orders=list(waits.get("orders") or []),
    )


_NOW: Final = {
    "order": "Not sent yet: an order holds it",
    "outage": "Not sent yet: the provider cannot be used",
    "window": "Not sent yet: the person's hours are closed",
    "not_before": "Not sent yet: it shall not go before its time",
    "backoff": "Not sent yet: the provider refused it for now",
    "looking_up": "It may have been sent: the answer was lost, and the provider is being asked",
    "limit": "Not sent yet: its sender's limit is reached",
    "daily_cap": "Not sent yet: its sender may send no more today",
    "gap": "Not sent yet: its sender rests between two calls",
    "turn": "Not sent yet: it is in line",
}
"""The headline of a touch that has not ended, by what it waits for now."""


def until(at_ms: int | None, now_ms: int) -> str:
    """Return an instant to come with how far it is; "" for none."""
    return "" if at_ms is None else f"{instant(at_ms, now_ms)} ({seen_from(at_ms, now_ms)})"


def target_words(target: object) -> str:
    """Return an order's target in words, from its JSON: `campaign spring, channel sms`, or `everything`."""
    if not isinstance(target, Mapping):
        return "everything"
    return ", ".join(f"{name} {value}" for name, value in target.items())
