"""What Twilio's answers mean: one table by error code, then HTTP class.

A wrong sender (number, Messaging Service, registration) pauses the lane, as a wrong key does: no touch is burnt for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, assert_never

from pipeline.channels.http import Answer, retry_after_s
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Unknown, Verdict


class Meaning(StrEnum):
    """What an error says."""

    REJECT = "reject"
    """This number or text, for good."""
    REFUSE = "refuse"
    """This touch, for now."""
    PAUSE = "pause"
    """Account, sender or limit: nothing about the touch."""
    MAYBE = "maybe"


class Row(NamedTuple):
    """A row of the table; `wait_s` where a shorter one is known to be useless and Twilio did not say."""

    meaning: Meaning
    wait_s: float | None = None


_REJECT, _REFUSE, _PAUSE, _MAYBE = (Row(each) for each in Meaning)

CODES: dict[int, Row] = {
    # account
    20003: _PAUSE,  # wrong credentials
    20005: _PAUSE,  # account not active
    20006: _PAUSE,  # access denied
    20008: _PAUSE,  # test credentials
    20404: _PAUSE,  # no such account
    30002: _PAUSE,  # account suspended
    # limits
    20429: _PAUSE,  # too many requests at once: "not processed and safe to retry"
    14107: _REFUSE,  # loop guard: more than 15 to one number in 30 s
    21611: Row(Meaning.PAUSE, 60.0),  # the number's queue holds 10 h of traffic
    30001: _REFUSE,  # queue overflow
    30017: _REFUSE,  # carrier congestion
    30022: _PAUSE,  # 10DLC rate
    30023: Row(Meaning.REFUSE, 3_600.0),  # daily cap of one carrier: others still take messages
    30027: Row(Meaning.REFUSE, 3_600.0),
    60728: Row(Meaning.PAUSE, 60.0),  # hourly cap
    63017: _PAUSE,  # 2,000 messages a second, all accounts
    63038: Row(Meaning.PAUSE, 60.0),  # daily cap
    # the touch
    21211: _REJECT,  # invalid To
    21214: _REJECT,  # To cannot be reached
    21219: _REJECT,  # trial: To unverified; verified ones pass
    21408: _REJECT,  # country not enabled
    21602: _REJECT,  # no body
    21604: _REJECT,  # no To
    21608: _REJECT,  # trial: To unverified
    21610: _REJECT,  # the recipient said STOP
    21612: _REJECT,  # no route from From to To
    21614: _REJECT,  # To is no mobile
    21617: _REJECT,  # over 1,600 characters
    21618: _REJECT,
    21619: _REJECT,
    21620: _REJECT,
    30003: _REJECT,  # handset unreachable
    30004: _REJECT,  # blocked
    30005: _REJECT,  # unknown handset
    30006: _REJECT,  # landline
    30007: _REJECT,  # filtered: not to be repeated
    30008: _REJECT,
    30036: _REFUSE,  # validity period over: the next window decides
    30450: _REJECT,  # SMS pumping
    30610: Row(Meaning.REFUSE, 3_600.0),  # quiet hours of the Compliance Toolkit
    30640: _REJECT,  # known litigator
    # the sender
    21212: _PAUSE,  # invalid From
    21603: _PAUSE,  # no From
    21606: _PAUSE,  # From is not ours
    21659: _PAUSE,
    21660: _PAUSE,
    21661: _PAUSE,
    21703: _PAUSE,  # Messaging Service without usable numbers
    21704: _PAUSE,
    21705: _PAUSE,
    30032: _PAUSE,  # toll-free number unverified
    30033: _PAUSE,  # campaign suspended
    30034: _PAUSE,  # number unregistered
    30035: _PAUSE,
    # the server
    20500: _MAYBE,
    20503: _MAYBE,
    30410: _MAYBE,  # carrier timeout
}
"""By `code`. Source: Twilio's error dictionary."""

CLASSES: dict[int, Row] = {401: _PAUSE, 403: _PAUSE, 404: _PAUSE, 405: _PAUSE, 408: _MAYBE, 429: _PAUSE}
"""By HTTP status, for a code that is not in `CODES`; every other 4xx is a rejection."""


def judge(answer: Answer, now_ms: int) -> Verdict:
    """Return what `answer` to a new message means."""
    if answer.is_accepted:
        sid = answer.member("sid")
        return Sent((sid if isinstance(sid, str) and sid else None,))
    code = _code(answer)
    row = row_of(answer, code)
    said_code, error = str(code or answer.status), f"HTTP {answer.status}: {answer.text('message') or 'no reason'}"
    wait_s = retry_after_s(answer.headers, now_ms)
    wait_s = row.wait_s if wait_s is None else wait_s
    match row.meaning:
        case Meaning.REJECT if not answer.is_object:
            # Not Twilio's words but a proxy's: say nothing final about the touch.
            return Refused(said_code, error)
        case Meaning.REJECT:
            return Rejected(said_code, error)
        case Meaning.REFUSE:
            return Refused(said_code, error, wait_s)
        case Meaning.PAUSE:
            return Paused(said_code, error, wait_s)
        case Meaning.MAYBE:
            return Unknown(said_code, error, refused=code is not None or answer.is_fault)
        case _:
            assert_never(row.meaning)


def row_of(answer: Answer, code: int | None) -> Row:
    """Return what an error means. A 5xx leaves open what happened, whatever its code."""
    if answer.is_fault:
        return _MAYBE
    if answer.is_elsewhere:
        return _PAUSE
    return CODES.get(code or 0) or CLASSES.get(answer.status) or _REJECT


def _code(answer: Answer) -> int | None:
    code = answer.member("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None
