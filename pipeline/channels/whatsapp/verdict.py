"""What WAHA's answers mean. Sends: one table by HTTP status; the session's state: one rule."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import httpx

from pipeline.channels.http import ERROR_CHARS, Answer, retry_after_s
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Unknown, Verdict

WORKING = "WORKING"


class Meaning(StrEnum):
    """What a status says about a send."""

    ACCEPTED = "accepted"
    PAUSE = "pause"
    """About the account, not the touch: key, session, limit, address of the server."""
    MAYBE = "maybe"
    REJECT = "reject"


TABLE: dict[int, Meaning] = {
    200: Meaning.ACCEPTED,
    201: Meaning.ACCEPTED,
    400: Meaning.REJECT,
    401: Meaning.PAUSE,  # bad or missing X-Api-Key
    403: Meaning.PAUSE,
    404: Meaning.PAUSE,  # no such session, or no WAHA at base_url
    405: Meaning.PAUSE,
    408: Meaning.MAYBE,
    413: Meaning.REJECT,
    422: Meaning.REJECT,  # unless its body speaks of the session, as it does in every case known
    429: Meaning.PAUSE,  # never WAHA itself: a proxy before it
    500: Meaning.MAYBE,  # "anything else went wrong", after the send too
    502: Meaning.MAYBE,
    503: Meaning.MAYBE,
    504: Meaning.MAYBE,
}
"""By HTTP status. Source: WAHA's server code and issues."""


def judge(answer: Answer, handle: str, now_ms: int) -> Verdict:
    """Return what `answer` to a send means; `handle` is the message id we supplied, or ""."""
    meaning = TABLE.get(answer.status) or _by_class(answer)
    code, error = str(answer.status), _error(answer)
    if answer.status == httpx.codes.UNPROCESSABLE_ENTITY and _is_about_the_session(answer):
        meaning = Meaning.PAUSE
    match meaning:
        case Meaning.ACCEPTED:
            return Sent((message_id(answer.json()) or handle or None,))
        case Meaning.PAUSE:
            return Paused(code, error, retry_after_s(answer.headers, now_ms))
        case Meaning.MAYBE:
            return Unknown(code, error, refused=answer.is_fault)
        case Meaning.REJECT if not answer.is_object:
            # Not WAHA's words but a proxy's: say nothing final about the touch.
            return Refused(code, error)
        case Meaning.REJECT:
            return Rejected(code, error)
        case _:
            assert_never(meaning)


def judge_session(answer: Answer, now_ms: int) -> Paused | None:
    """Return why the session cannot send, or None when it is WORKING."""
    if answer.is_accepted:
        status = answer.text("status")
        return None if status == WORKING else Paused("session", f"the session is {status or 'in an unknown state'}")
    return Paused(str(answer.status), _error(answer), retry_after_s(answer.headers, now_ms))


def message_id(found: object) -> str | None:
    """Return the bare message id out of what any engine answers, or None.

    GOWS: `id` is `true_<chat>_<ID>`; NOWEB: `key.id`; WEBJS: `id._serialized` (or `id.id`), or an empty body.
    """
    if not isinstance(found, dict):
        return None
    said = found.get("id")
    if isinstance(said, dict):
        said = said.get("_serialized") or said.get("id")
    if not isinstance(said, str) or not said:
        key = found.get("key")
        said = key.get("id") if isinstance(key, dict) else None
    return _bare(said) if isinstance(said, str) and said else None


def _bare(said: str) -> str:
    """Return `<ID>` of `true_<chat>_<ID>[_<participant>]`, or what is there."""
    mine, _, rest = said.partition("_")
    if mine not in ("true", "false"):
        return said.rpartition("_")[2]
    return rest.partition("_")[2].partition("_")[0] or rest


def _is_about_the_session(answer: Answer) -> bool:
    """Whether a 422 says that the session is not WORKING, or that there is none."""
    said = f"{answer.text('error')} {answer.text('message')}".lower()
    return answer.member("expected") is not None or "session" in said or "does not exist" in said


def _by_class(answer: Answer) -> Meaning:
    if answer.is_accepted:
        return Meaning.ACCEPTED
    if answer.is_fault:
        return Meaning.MAYBE
    return Meaning.PAUSE if answer.is_elsewhere else Meaning.REJECT


def _error(answer: Answer) -> str:
    """Return what WAHA said. Never the body: a 500 repeats the request, address and text included."""
    said = answer.text("message") or answer.text("error")
    state = answer.text("status")
    return f"HTTP {answer.status}{': ' + said if said else ''}{' (' + state + ')' if state else ''}"[:ERROR_CHARS]
