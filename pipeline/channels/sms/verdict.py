"""What Twilio's answers mean: one table by error code, then HTTP class.

A wrong sender (number, Messaging Service, registration) pauses the lane, as a wrong key does: no touch is burnt for it.
What the account may not do for this recipient only (a country, a trial) pauses it until others are sent.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

import httpx

from pipeline.channels.http import HttpAnswer, retry_after_s
from pipeline.channels.words import elsewhere, http_words, inner_status, says_failure
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Unknown, Verdict

SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
"""Source: Twilio's OpenAPI, `api.v2010.account.message`."""
BILLING: Final = "see the account's billing at console.twilio.com"


class TwilioMeaning(StrEnum):
    """What an error means for a message."""

    REJECT = "reject"
    """This number or text, for good."""
    REFUSE = "refuse"
    """This touch, for now."""
    PAUSE = "pause"
    """Account, sender or limit: nothing about the touch."""
    STRANGE = "strange"
    """Not documented, or about the account and this recipient only; the cause shows when other touches are sent."""
    MAYBE = "maybe"


class TwilioErrorRow(NamedTuple):
    """A row of the table; `wait_s` where a shorter one is known to be useless and Twilio did not say."""

    meaning: TwilioMeaning
    wait_s: float | None = None
    cure: str | None = None
    """What an operator must do."""


_REJECT, _REFUSE, _PAUSE, _STRANGE, _MAYBE = (TwilioErrorRow(each) for each in TwilioMeaning)
_HOUR_S: Final = 3_600.0


def _pause(cure: str, wait_s: float | None = None) -> TwilioErrorRow:
    return TwilioErrorRow(TwilioMeaning.PAUSE, wait_s, cure)


def _strange(cure: str) -> TwilioErrorRow:
    return TwilioErrorRow(TwilioMeaning.STRANGE, None, cure)


_KEYS = _pause("check account_sid and auth_token")
_SENDER = _pause("correct the sender's `from`: a number of this account that can send SMS")
_SERVICE = _pause("add numbers to the Messaging Service, or correct messaging_service_sid")
_REGISTRATION = _pause("register the sender's number: A2P 10DLC, toll-free verification")
_ACCOUNT = _pause("the account is not active: see console.twilio.com")
_TRIAL = _strange("a trial account: upgrade it, or verify the recipient's number")

CODES: dict[int, TwilioErrorRow] = {
    # account
    20001: _STRANGE,  # unknown parameters
    20002: _STRANGE,
    20003: _KEYS,
    20004: _pause("check base_url"),  # method not allowed
    20005: _ACCOUNT,
    20006: _pause("the key has no access to this account"),
    20008: _pause("these are test credentials: use the live ones"),
    20010: _ACCOUNT,  # account suspended
    20403: _pause("the key may not do this"),
    20404: _pause("check account_sid and base_url"),  # no such account
    30002: _ACCOUNT,  # account suspended
    30010: _pause("the message price is over the account's maximum"),
    30039: _STRANGE,
    21619: _REJECT,
    # limits
    20429: _PAUSE,  # too many requests at once: "not processed and safe to retry"
    14107: _REFUSE,  # loop guard: more than 15 to one number in 30 s
    21611: TwilioErrorRow(TwilioMeaning.PAUSE, 60.0),  # the number's queue holds 10 h of traffic
    30001: _REFUSE,  # queue overflow
    30017: _REFUSE,  # carrier congestion
    30022: _PAUSE,  # 10DLC rate
    30023: TwilioErrorRow(TwilioMeaning.REFUSE, _HOUR_S),  # daily cap of one carrier: others still take messages
    30027: TwilioErrorRow(TwilioMeaning.REFUSE, _HOUR_S),
    60728: TwilioErrorRow(TwilioMeaning.PAUSE, 60.0),  # hourly cap
    63017: _PAUSE,  # 2,000 messages a second, all accounts
    63038: TwilioErrorRow(TwilioMeaning.PAUSE, 60.0, "the account's daily cap is reached"),
    # the account, for this recipient only
    21219: _TRIAL,  # To unverified; verified ones pass
    21608: _TRIAL,
    21408: _strange("enable the country: Messaging, Settings, Geo permissions"),
    21612: _strange("this sender cannot reach that number: give it to a sender that can"),
    # the touch
    21211: _REJECT,  # invalid To
    21214: _REJECT,  # To cannot be reached
    21217: _REJECT,  # To does not look like a number
    21265: _REJECT,  # To is a short code
    21266: _REJECT,  # To and From are the same
    21268: _REJECT,  # premium number
    21421: _REJECT,  # To is invalid
    21602: _REJECT,  # no body
    21604: _REJECT,  # no To
    21610: _REJECT,  # the recipient said STOP
    21614: _REJECT,  # To is no mobile
    21617: _REJECT,  # over 1,600 characters
    21618: _REJECT,
    21620: _REJECT,
    30003: _REJECT,  # handset unreachable
    30004: _REJECT,  # blocked
    30005: _REJECT,  # unknown handset
    30006: _REJECT,  # landline
    30007: _REJECT,  # filtered: not to be repeated
    30008: _REJECT,
    30036: _REFUSE,  # validity period over: the next window decides
    30450: _REJECT,  # SMS pumping
    30610: TwilioErrorRow(TwilioMeaning.REFUSE, _HOUR_S),  # quiet hours of the Compliance Toolkit
    30640: _REJECT,  # known litigator
    # the sender
    21212: _SENDER,  # invalid From
    21603: _SENDER,  # no From
    21606: _SENDER,  # From is not ours
    21607: _SENDER,  # From cannot send
    21609: _pause("correct the sender's status_callback"),
    21659: _SENDER,
    21660: _SENDER,
    21661: _SENDER,
    21701: _SERVICE,  # no such Messaging Service
    21703: _SERVICE,  # without usable numbers
    21704: _SERVICE,
    21705: _SERVICE,
    30032: _REGISTRATION,  # toll-free number unverified
    30033: _pause("the campaign is suspended: see the account's A2P 10DLC registration"),
    30034: _REGISTRATION,
    30035: _REGISTRATION,
    # the server
    20500: _MAYBE,
    20503: _MAYBE,
    30410: _MAYBE,  # carrier timeout
}
"""By `code`. Source: Twilio's error dictionary."""

CLASSES: dict[int, TwilioErrorRow] = {
    401: _KEYS,
    402: _pause(BILLING),
    403: _pause("check the account's permissions"),
    404: _pause("check account_sid and base_url"),
    405: _pause("check base_url"),
    407: _pause("a proxy wants a login: check base_url"),
    408: _MAYBE,
    413: _REFUSE,
    429: _PAUSE,
}
"""By HTTP status, for a code that is not in `CODES`; every other 4xx is strange."""


def judge(answer: HttpAnswer, now_ms: int) -> Verdict:
    """Return what `answer` to a new message means."""
    if answer.is_accepted and not says_failure(answer.json()):
        return _accepted(answer)
    return elsewhere(answer) if answer.is_ambiguous else _refusal(answer, now_ms)


def _accepted(answer: HttpAnswer) -> Sent | Unknown:
    sid = answer.member("sid")
    if isinstance(sid, str) and SID.fullmatch(sid):
        return Sent((sid,))
    return Unknown(str(answer.status), f"not Twilio's answer: {http_words(answer)}")


def _refusal(answer: HttpAnswer, now_ms: int) -> Verdict:
    code = _code(answer)
    row = row_of(answer, code)
    said_code, error = str(code or answer.status), http_words(answer, row.cure)
    wait_s = retry_after_s(answer.headers, now_ms)
    wait_s = row.wait_s if wait_s is None else wait_s
    match row.meaning:
        case TwilioMeaning.REJECT:
            return Rejected(said_code, error)
        case TwilioMeaning.REFUSE:
            return Refused(said_code, error, wait_s)
        case TwilioMeaning.PAUSE | TwilioMeaning.STRANGE:
            return Paused(said_code, error, wait_s, may_be_the_touch=row.meaning is TwilioMeaning.STRANGE)
        case TwilioMeaning.MAYBE:
            return Unknown(said_code, error, refused=code is not None or answer.is_fault)
        case _:
            assert_never(row.meaning)


def row_of(answer: HttpAnswer, code: int | None) -> TwilioErrorRow:
    """Return what an error means. A 5xx leaves open what happened, whatever its code."""
    if answer.is_accepted:
        return _row_of_failure(answer, code)
    if answer.is_fault:
        return _MAYBE
    if answer.is_elsewhere:
        return _pause("a redirect; check base_url")
    return CODES.get(code or 0) or CLASSES.get(answer.status) or _STRANGE


def _row_of_failure(answer: HttpAnswer, code: int | None) -> TwilioErrorRow:
    """Return what a 2xx means that says failure inside it: a message that has failed, or an error with a wrong status."""
    if code in CODES:
        return CODES[code]
    if answer.member("sid") is not None:
        return _REJECT
    status = inner_status(answer.json()) or 0
    return _MAYBE if status >= httpx.codes.INTERNAL_SERVER_ERROR else CLASSES.get(status, _REFUSE)


def _code(answer: HttpAnswer) -> int | None:
    inner = answer.member("error")
    found = [answer.member("code"), answer.member("error_code"), inner.get("code") if isinstance(inner, dict) else None]
    return next((each for each in found if type(each) is int), None)
