"""Looks up a send whose answer was lost: Twilio has no idempotency key, so the messages to that number are compared by text and time."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

from pipeline.channels.sms.verdict import CODES, SID, TwilioMeaning
from pipeline.channels.words import says_failure
from pipeline.domain.verdict import Absent, Rejected, Sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.channels.http import HttpAnswer
    from pipeline.domain.work import Claim

SINCE_SLACK_MS = 2_000
"""Allowance for the difference between Twilio's clock and this one, beside its rounding down to seconds."""
TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""Prefix that Twilio puts before the text of a trial account's messages."""
PAGE = 500
NEVER_LEFT = ("failed", "canceled")
"""States of a message that Twilio has never given to a carrier."""

Message = dict[str, Any]
"""A message of Twilio's list."""


@dataclass(frozen=True, slots=True)
class TwilioLookup:
    """What the claim's request contains; the configuration may have changed since."""

    account_sid: str
    to: str
    body: str
    from_: str | None
    messaging_service_sid: str | None
    since_ms: int
    """Earliest creation time of this claim's message, epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of Twilio's list; `next_url` is where the next one is, "" after the last."""

    messages: list[Message]
    next_url: str


def question(claim: Claim) -> TwilioLookup:
    """Return what to look up for `claim`."""
    said = {name: values[0] for name, values in parse_qs(claim.request.body.decode("ascii")).items()}
    since_ms = claim.claimed_ms // 1000 * 1000 - SINCE_SLACK_MS
    account_sid = claim.request.path.split("/")[3]
    return TwilioLookup(
        account_sid, said["To"], said.get("Body", ""), said.get("From"), said.get("MessagingServiceSid"), since_ms
    )


def list_path(asked: TwilioLookup) -> str:
    """Return where the messages to that number are listed."""
    # No DateSent filter: a message that is still queued has none.
    query = urlencode({"To": asked.to, "PageSize": PAGE})
    return f"/2010-04-01/Accounts/{quote(asked.account_sid, safe='')}/Messages.json?{query}"


def page_of(answer: HttpAnswer) -> Page | None:
    """Return the page; None if the answer is not Twilio's list, which then proves nothing."""
    found = answer.json()
    if not answer.is_accepted or not isinstance(found, dict) or says_failure(found):
        return None
    messages, more = found.get("messages"), found.get("next_page_uri") or found.get("next_page_url")
    if (
        not isinstance(messages, list)
        or not all(map(_is_message, messages))
        or not (more is None or isinstance(more, str))
    ):
        return None
    return Page(messages, more or "")


def first_match(
    messages: Sequence[Message], asked: TwilioLookup, known_ids: frozenset[str]
) -> Sent | Absent | Rejected:
    """Return the oldest message that can only be this claim's, or Absent; one that Twilio itself gave up was not sent."""
    matches = sorted(
        (each for each in messages if _is_ours(each, asked) and each["sid"] not in known_ids), key=_created_ms
    )
    if (found := next((each for each in matches if each.get("status") not in NEVER_LEFT), None)) is not None:
        return Sent((found["sid"],))
    return next((verdict for each in matches if (verdict := _rejected(each)) is not None), Absent())


def _rejected(message: Message) -> Rejected | None:
    """Return why it has failed for good; None where another attempt may do."""
    code = message.get("error_code")
    row = CODES.get(code) if isinstance(code, int) else None
    if row is None or row.meaning is not TwilioMeaning.REJECT:
        return None
    return Rejected(str(code), f"{message.get('status')}: {message.get('error_message') or 'no reason'}")


def _is_message(found: object) -> bool:
    """Whether it has what a message is known by; a list of anything else is not Twilio's."""
    if not isinstance(found, dict) or not isinstance(found.get("sid"), str) or SID.fullmatch(found["sid"]) is None:
        return False
    return all(isinstance(found.get(name), str) for name in ("to", "direction")) and isinstance(
        found.get("body"), str | None
    )


def _is_ours(message: Message, asked: TwilioLookup) -> bool:
    if (message["to"], message["direction"]) != (asked.to, "outbound-api") or _created_ms(message) < asked.since_ms:
        return False
    return message.get("body") in (asked.body, TRIAL_PREFIX + asked.body) and _has_sender(message, asked)


def _has_sender(message: Message, asked: TwilioLookup) -> bool:
    if asked.messaging_service_sid is not None:
        return bool(message.get("messaging_service_sid") == asked.messaging_service_sid)
    return bool(message.get("from") == asked.from_)


def _created_ms(message: Message) -> float:
    """Return the creation time; infinity if it cannot be read, so that the message never counts as too old."""
    try:
        return parsedate_to_datetime(message["date_created"]).timestamp() * 1000
    except (KeyError, TypeError, ValueError, OverflowError):
        return float("inf")
