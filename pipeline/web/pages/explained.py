"""What each state and reason means and what to do about it: the sentences of docs/reasons.md (a test compares them)."""

from __future__ import annotations

from typing import Final, NamedTuple


class Explanation(NamedTuple):
    """A state's and reason's row of docs/reasons.md, without its marks."""

    happened: str
    to_do: str = ""


EXPLAINED: Final[dict[tuple[str, str | None], Explanation]] = {
    ("accepted", None): Explanation("Valid, composed, on its way to a sender's lane."),
    ("deferred", "window"): Explanation(
        "The person may not be disturbed now: the window, or the legal calendar of the person's place, is closed. next_attempt_at is the next opening."
    ),
    ("deferred", "not_before"): Explanation("Its not_before is in the future. It counts no attempt."),
    ("retrying", "backoff"): Explanation("The provider refused this touch for now. This counts against attempts."),
    ("retrying", "outage"): Explanation(
        "The provider cannot be used (429, quota, session, connection, credentials, domain, billing, 5xx), or refused this touch while no other was sent. The lane's breaker opens, and single calls test whether the provider is back; no attempt is counted. The status is written once per outage, and only for touches whose call was refused. A touch that is refused in this way while others are sent gets a status each time, and is deferred for longer each time, at most for retry.most.",
        "Read error: the provider's own words and, in brackets, what to do. The log has the same line, and another when the breaker closes.",
    ),
    ("retrying", "looking_up"): Explanation(
        "The answer to its call is unknown (crash, lost answer, 5xx). The pipeline looks it up at the provider."
    ),
    ("sent", None): Explanation(
        "The provider accepted it. provider_message_id is WAHA's bare id, Resend's e-mail id, Twilio's SID; it is absent if Resend says only that it had the request before.",
        "What became of it afterwards stands in touches.deliveries.",
    ),
    ("failed", "invalid"): Explanation(
        "The touch breaks a rule; error names the field. The raw record is in touches.dead-letters, except if the fault showed only in the lane: a window and a legal calendar that are never open together for this person, or a from that no sender has any more. An error that begins with internal error is a bug: quarantined records.",
        "Correct the producer, or the window.",
    ),
    ("failed", "channel_off"): Explanation(
        "The channel has no sender, or all its senders are disabled.", "Configure or enable one."
    ),
    ("failed", "unknown_sender"): Explanation(
        "The touch names a sender that is not configured or is disabled; see error.",
        "Configure or enable the sender, or correct the producer.",
    ),
    ("failed", "rejected"): Explanation(
        "The provider refused it for good; see error_code. If a cancel or a suppression concerned it by then, it ends cancelled or suppressed instead.",
        "After Twilio's 21610, 21211 and 21614 the recipient is suppressed by itself; after another refusal for good, stop writing to that person.",
    ),
    ("failed", "attempts_exhausted"): Explanation(
        "The provider refused it attempts times, or retry_for is over. A touch that the account may not send, while others are sent, ends in the same way: Twilio's 21408 (country not enabled), 21608 (trial), 21612.",
        "Look at error.",
    ),
    ("expired", "expires_at"): Explanation("It could not be sent before expires_at."),
    ("unconfirmed", "no_answer"): Explanation(
        "It may or may not have been sent. Look-ups found no answer within resolve_for. A claim that raised an error in the lane ends so, too.",
        "faust -A pipeline unconfirmed resolve --ask-provider TOUCH_ID looks it up again; --not-sent sends it as another touch.",
    ),
    ("deferred", "paused"): Explanation(
        "An operator's order on its campaign, lead or touch holds it; order names it. Written once per stay. next_attempt_at is the end of the pause, if each order that holds the touch has one.",
        "orders shows who and why; resume ends it.",
    ),
    ("cancelled", "touch"): Explanation(
        "An operator has cancelled this touch; error is the operator's note, order the order's key."
    ),
    ("cancelled", "lead"): Explanation("The same, for all touches of this person."),
    ("cancelled", "campaign"): Explanation("The same, for the campaign."),
    ("cancelled", "sender"): Explanation("The same, for the sender."),
    ("cancelled", "channel"): Explanation("The same, for the channel."),
    ("suppressed", "complained"): Explanation("The recipient has complained of spam.", "Do not write to this person."),
    ("suppressed", "opt_out"): Explanation("The recipient has said STOP.", "Do not write to this person until START."),
    ("suppressed", "unsubscribed"): Explanation("The recipient has unsubscribed; concerns purpose marketing only."),
    ("suppressed", "bounced"): Explanation("The mailbox does not exist.", "Correct the address."),
    ("suppressed", "unreachable"): Explanation("The number cannot receive it.", "Correct the number."),
    ("suppressed", "manual"): Explanation("Somebody has entered the recipient by hand."),
}
