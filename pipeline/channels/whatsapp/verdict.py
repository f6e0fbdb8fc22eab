"""What WAHA's answers mean. Sends: one table by HTTP status; the session's state: one rule."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, assert_never

import httpx

from pipeline.channels.http import HttpAnswer, retry_after_s
from pipeline.channels.words import elsewhere, http_words, inner_status, says_failure
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Unknown, Verdict

WORKING = "WORKING"
RESTRICTED: Final = "463"
"""WhatsApp's own code: the account may not write to new people for a while ("reachout timelock")."""
_BARE_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]*")
_HEX_ID: Final = re.compile(r"[0-9A-Fa-f]{6,64}")
"""How every engine makes ids: hexadecimal digits."""


class WahaMeaning(StrEnum):
    """What a status means for a send."""

    PAUSE = "pause"
    """About the account, not the touch: key, session, limit, address of the server."""
    MAYBE = "maybe"
    REJECT = "reject"
    REFUSE = "refuse"
    """This touch, for now: a failure inside a 2xx that says no more."""


TABLE: dict[int, WahaMeaning] = {
    400: WahaMeaning.REJECT,
    401: WahaMeaning.PAUSE,  # bad or missing X-Api-Key
    402: WahaMeaning.PAUSE,
    403: WahaMeaning.PAUSE,
    404: WahaMeaning.PAUSE,  # no such session, or no WAHA at base_url
    405: WahaMeaning.PAUSE,
    407: WahaMeaning.PAUSE,
    408: WahaMeaning.MAYBE,
    413: WahaMeaning.REJECT,
    422: WahaMeaning.REJECT,  # unless its body speaks of the session, as it does in every case known
    429: WahaMeaning.PAUSE,  # never WAHA itself: a proxy before it
    500: WahaMeaning.MAYBE,  # "anything else went wrong", after the send too
    502: WahaMeaning.MAYBE,
    503: WahaMeaning.MAYBE,
    504: WahaMeaning.MAYBE,
}
"""By HTTP status. Source: WAHA's server code and issues."""

CURES: dict[int, str] = {
    401: "check api_key",
    403: "check api_key",
    404: "check base_url, the session's name, and that it is created",
    405: "check base_url",
    407: "a proxy wants a login: check base_url",
    422: "start the session and scan its code in WAHA's dashboard",
}
"""What a human must do about what pauses the lane."""


def judge(answer: HttpAnswer, handle: str, now_ms: int) -> Verdict:
    """Return what `answer` to a send means; `handle` is the message id we supplied, or ""."""
    is_failure = says_failure(answer.json())
    if answer.is_accepted and (not is_failure or message_id(answer.json(), handle) is not None):
        return _accepted(answer, handle, is_failure=is_failure)
    return elsewhere(answer) if answer.is_ambiguous else _refusal(answer, now_ms)


def _refusal(answer: HttpAnswer, now_ms: int) -> Verdict:
    meaning = _meaning(answer)
    code, error = str(answer.status), _error(answer, meaning)
    match meaning:
        case WahaMeaning.PAUSE:
            return Paused(code, error, retry_after_s(answer.headers, now_ms))
        case WahaMeaning.MAYBE:
            return Unknown(code, error, refused=answer.is_fault)
        case WahaMeaning.REFUSE:
            return Refused(code, error, retry_after_s(answer.headers, now_ms))
        case WahaMeaning.REJECT if not answer.is_object:
            # Not WAHA's words but a proxy's: nothing about the touch, unless others are sent.
            return Paused(code, error, may_be_the_touch=True)
        case WahaMeaning.REJECT:
            return Rejected(code, error)
        case _:
            assert_never(meaning)


def judge_session(answer: HttpAnswer, now_ms: int) -> Paused | None:
    """Return why the session cannot send, or None when it is WORKING."""
    if not answer.is_accepted:
        return Paused(str(answer.status), _error(answer, WahaMeaning.PAUSE), retry_after_s(answer.headers, now_ms))
    status = answer.text("status")
    if status == WORKING:
        return None
    if not status or says_failure({**answer.members, "status": None}):
        return Paused("session", f"not WAHA's answer about the session: {_error(answer)} (check base_url)")
    return Paused("session", f"the session is {status}")


def message_id(found: object, handle: str = "") -> str | None:
    """Return the bare message id out of what any engine answers, or None where there is none of an engine's form.

    GOWS: `id` is `true_<chat>_<ID>`; NOWEB: `key.id`; WEBJS: `id._serialized` (or `id.id`). A bare `id` is `handle`,
    or hexadecimal. One that says that it is not ours (`false_…`, `fromMe`) is none.
    """
    if not isinstance(found, dict):
        return None
    said, key = found.get("id"), found.get("key")
    if isinstance(said, dict):
        key, said = said, said.get("_serialized")
    if isinstance(said, str) and said:
        return _bare(said, handle)
    if not isinstance(key, dict) or key.get("fromMe") is False:
        return None
    said = key.get("id")
    return said if isinstance(said, str) and _BARE_ID.fullmatch(said) else None


def has_failed(found: object) -> bool:
    """Whether a message says that WhatsApp did not take it (ack ERROR)."""
    if not isinstance(found, dict):
        return False
    return found.get("ack") == -1 or "ERROR" in (found.get("ackName"), found.get("status"))


def _accepted(answer: HttpAnswer, handle: str, *, is_failure: bool) -> Sent | Unknown:
    found = message_id(answer.json(), handle)
    if found is None:
        return Unknown(str(answer.status), f"not WAHA's answer: {_error(answer)}")
    if is_failure:  # a message, and an error: it must be asked which counts
        return Unknown(str(answer.status), f"a message that says failure: {_error(answer)}", refused=True)
    return Sent((found,))


def _bare(said: str, handle: str) -> str | None:
    """Return `<ID>` of `true_<chat>_<ID>[_<participant>]`, or a bare id."""
    if "_" not in said:
        return said if said == handle or _HEX_ID.fullmatch(said) else None
    mine, _, rest = said.partition("_")
    chat, _, tail = rest.partition("_")
    number = tail.partition("_")[0]
    return number if mine == "true" and "@" in chat and _BARE_ID.fullmatch(number) else None


def _meaning(answer: HttpAnswer) -> WahaMeaning:
    """Return what a failure means: by what it says about session and account, then by its status, or that inside a 2xx."""
    if not answer.is_fault and (_is_about_the_session(answer) or _is_restricted(answer)):
        return WahaMeaning.PAUSE
    status = inner_status(answer.json()) or 0 if answer.is_accepted else answer.status
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return WahaMeaning.MAYBE
    if answer.is_elsewhere:
        return WahaMeaning.PAUSE
    return TABLE.get(status, WahaMeaning.REJECT) if status else WahaMeaning.REFUSE


def _is_about_the_session(answer: HttpAnswer) -> bool:
    """Whether a 422, or a failure inside a 2xx, says that the session is not WORKING, or that there is none."""
    if answer.status != httpx.codes.UNPROCESSABLE_ENTITY and not answer.is_accepted:
        return False
    said = f"{answer.text('error')} {answer.text('message')}".lower()
    return answer.member("expected") is not None or "session" in said or "does not exist" in said


def _is_restricted(answer: HttpAnswer) -> bool:
    found = answer.members
    return str(found.get("code")) == RESTRICTED or found.get("reason") == "account_restricted"


def _error(answer: HttpAnswer, meaning: WahaMeaning | None = None) -> str:
    """Return what WAHA said. Never the body: a 500 repeats the request, address and text included."""
    if _is_restricted(answer):
        return http_words(answer, "WhatsApp restricts this account: write to nobody new until it says so")
    state = answer.text("status")
    cure = CURES.get(answer.status) if meaning is WahaMeaning.PAUSE else None
    if answer.is_elsewhere:
        cure = "a redirect; check base_url"
    return http_words(answer, "; ".join(each for each in (state, cure) if each) or None)
