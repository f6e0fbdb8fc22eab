"""What Resend's answers mean: one table by error name, then HTTP class."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from pipeline.channels.http import Answer, retry_after_s
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Split, Unknown, Verdict


class Meaning(StrEnum):
    """What an error says about a request."""

    PAYLOAD = "payload"
    """One of its e-mails is wrong; strict batches are all or nothing."""
    ACCOUNT = "account"
    """Key, team or address of the API: nothing about the e-mails."""
    LIMIT = "limit"
    QUOTA = "quota"
    ACCEPTED = "accepted"
    """The key was used with other bytes: the earlier request was accepted."""
    RUNNING = "running"
    """The first request with this key has no answer yet."""
    BUSY = "busy"
    MAYBE = "maybe"


NAMES: dict[str, Meaning] = {
    "validation_error": Meaning.PAYLOAD,  # 400, 422; 403: unverified domain, testing address
    "invalid_idempotency_key": Meaning.PAYLOAD,  # a halved batch has a new one
    "missing_required_field": Meaning.PAYLOAD,
    "missing_required_fields": Meaning.PAYLOAD,
    "missing_required_parameter": Meaning.PAYLOAD,
    "invalid_attachment": Meaning.PAYLOAD,
    "invalid_parameter": Meaning.PAYLOAD,
    "invalid_from_address": Meaning.PAYLOAD,
    "invalid_access": Meaning.PAYLOAD,
    "invalid_region": Meaning.PAYLOAD,
    "security_error": Meaning.PAYLOAD,
    "missing_api_key": Meaning.ACCOUNT,
    "restricted_api_key": Meaning.ACCOUNT,
    "invalid_api_key": Meaning.ACCOUNT,
    "suspended_api_key": Meaning.ACCOUNT,
    "invalid_permission": Meaning.ACCOUNT,
    "not_found": Meaning.ACCOUNT,  # base_url is wrong
    "method_not_allowed": Meaning.ACCOUNT,
    "email_above_quota": Meaning.QUOTA,
    "daily_quota_exceeded": Meaning.QUOTA,
    "monthly_quota_exceeded": Meaning.QUOTA,
    "rate_limit_exceeded": Meaning.LIMIT,
    "invalid_idempotent_request": Meaning.ACCEPTED,
    "concurrent_idempotent_requests": Meaning.RUNNING,
    "resource_locked": Meaning.BUSY,
    "application_error": Meaning.MAYBE,
    "internal_server_error": Meaning.MAYBE,
    "service_unavailable": Meaning.MAYBE,
}
"""By `name`. Source: Resend's error reference, its idempotency page, and the SDK."""

CLASSES: dict[int, Meaning] = {
    400: Meaning.PAYLOAD,
    401: Meaning.ACCOUNT,
    403: Meaning.ACCOUNT,
    404: Meaning.ACCOUNT,
    405: Meaning.ACCOUNT,
    408: Meaning.MAYBE,
    409: Meaning.MAYBE,
    413: Meaning.PAYLOAD,  # a smaller batch may do
    422: Meaning.PAYLOAD,
    429: Meaning.LIMIT,
    451: Meaning.PAYLOAD,
}
"""By HTTP status, for a name that is not in `NAMES`."""


def judge(answer: Answer, count: int, now_ms: int) -> Verdict:
    """Return what `answer` to a request with `count` e-mails means."""
    if answer.is_accepted:
        return _accepted(answer, count)
    name = answer.text("name")
    code, error = name or str(answer.status), f"HTTP {answer.status}: {answer.text('message') or name or 'no reason'}"
    meaning = meaning_of(answer, name)
    match meaning:
        case Meaning.PAYLOAD:
            return _wrong(answer, count, code, error)
        case Meaning.ACCOUNT | Meaning.LIMIT | Meaning.QUOTA:
            # `ratelimit-reset` is about the second: it says nothing of a quota's day.
            more = ("ratelimit-reset",) if meaning is Meaning.LIMIT else ()
            return Paused(code, error, retry_after_s(answer.headers, now_ms, *more))
        case Meaning.ACCEPTED:
            return Sent((None,) * count)
        case Meaning.RUNNING | Meaning.MAYBE:
            return Unknown(code, error, refused=answer.is_fault)
        case Meaning.BUSY:
            return Refused(code, error, retry_after_s(answer.headers, now_ms))
        case _:
            assert_never(meaning)


def meaning_of(answer: Answer, name: str) -> Meaning:
    """Return what an error means. A 5xx is never an answer about the request, whatever its name."""
    if answer.is_fault:
        return Meaning.MAYBE
    if answer.is_elsewhere:
        return Meaning.ACCOUNT
    return NAMES.get(name) or CLASSES.get(answer.status) or Meaning.PAYLOAD


def _accepted(answer: Answer, count: int) -> Sent | Unknown:
    """One id per e-mail, in the order of the request; anything else leaves open who is whose."""
    found = answer.member("data")
    rows = found if isinstance(found, list) else [answer.json()]
    ids = tuple(row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str))
    if len(ids) != count or len(rows) != count:
        return Unknown(str(answer.status), f"{count} e-mails, {len(ids)} ids in the answer")
    return Sent(ids)


def _wrong(answer: Answer, count: int, code: str, error: str) -> Rejected | Split | Refused:
    if count > 1:
        return Split(code, error)
    # Not Resend's words but a proxy's say nothing final about an e-mail.
    return Rejected(code, error) if answer.is_object else Refused(code, error)
