"""What Resend's answers mean: one table by error name, then HTTP class.

The team's faults (key, domain, sender's address, quota) pause the lane: no e-mail is burnt for them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import httpx

from pipeline.channels.http import HttpAnswer, retry_after_s
from pipeline.channels.words import elsewhere, http_words, inner_status, says_failure
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Split, Unknown, Verdict


class ResendMeaning(StrEnum):
    """What an error means for a request."""

    PAYLOAD = "payload"
    """One of its e-mails is wrong; strict batches are all or nothing."""
    ACCOUNT = "account"
    """Key, team or address of the API: nothing about the e-mails."""
    SENDER = "sender"
    """The domain or the address they come from: the team's, but other senders of a mixed batch may pass."""
    LIMIT = "limit"
    QUOTA = "quota"
    ACCEPTED = "accepted"
    """The key was used with other bytes: the earlier request was accepted."""
    RUNNING = "running"
    """The first request with this key has no answer yet."""
    BUSY = "busy"
    MAYBE = "maybe"
    STRANGE = "strange"
    """Not documented, or not from Resend; the cause shows when other touches are sent."""


NAMES: dict[str, ResendMeaning] = {
    "validation_error": ResendMeaning.PAYLOAD,  # 400, 422; at 403 the domain, see meaning_of
    "invalid_idempotency_key": ResendMeaning.PAYLOAD,  # a halved batch has a new one
    "missing_required_field": ResendMeaning.PAYLOAD,
    "missing_required_fields": ResendMeaning.PAYLOAD,
    "missing_required_parameter": ResendMeaning.PAYLOAD,
    "invalid_attachment": ResendMeaning.PAYLOAD,
    "invalid_parameter": ResendMeaning.PAYLOAD,
    "invalid_access": ResendMeaning.STRANGE,  # about making API keys
    "invalid_region": ResendMeaning.STRANGE,  # about making domains
    "security_error": ResendMeaning.STRANGE,  # "we may have found a security issue with the request"
    "invalid_from_address": ResendMeaning.SENDER,
    "missing_api_key": ResendMeaning.ACCOUNT,
    "restricted_api_key": ResendMeaning.ACCOUNT,
    "invalid_api_key": ResendMeaning.ACCOUNT,
    "suspended_api_key": ResendMeaning.ACCOUNT,
    "invalid_permission": ResendMeaning.ACCOUNT,
    "not_found": ResendMeaning.ACCOUNT,  # base_url is wrong
    "method_not_allowed": ResendMeaning.ACCOUNT,
    "email_above_quota": ResendMeaning.QUOTA,
    "daily_quota_exceeded": ResendMeaning.QUOTA,
    "monthly_quota_exceeded": ResendMeaning.QUOTA,
    "rate_limit_exceeded": ResendMeaning.LIMIT,
    "invalid_idempotent_request": ResendMeaning.ACCEPTED,
    "concurrent_idempotent_requests": ResendMeaning.RUNNING,
    "resource_locked": ResendMeaning.BUSY,
    "application_error": ResendMeaning.MAYBE,
    "internal_server_error": ResendMeaning.MAYBE,
    "service_unavailable": ResendMeaning.MAYBE,
}
"""By `name`. Source: Resend's error reference, its idempotency page, and the SDK."""

CLASSES: dict[int, ResendMeaning] = {
    401: ResendMeaning.ACCOUNT,
    402: ResendMeaning.ACCOUNT,
    403: ResendMeaning.ACCOUNT,
    404: ResendMeaning.ACCOUNT,
    405: ResendMeaning.ACCOUNT,
    407: ResendMeaning.ACCOUNT,
    408: ResendMeaning.MAYBE,
    409: ResendMeaning.MAYBE,
    413: ResendMeaning.PAYLOAD,  # a smaller batch may do
    429: ResendMeaning.LIMIT,
}
"""By HTTP status, for a name that is not in `NAMES`; every other 4xx is strange."""

CURES: dict[str, str] = {
    "missing_api_key": "set api_key",
    "invalid_api_key": "check api_key",
    "restricted_api_key": "the key needs the permission to send from this domain",
    "suspended_api_key": "make a new key, and ask Resend why",
    "invalid_permission": "the key needs the permission to send",
    "validation_error": "verify the domain of `from` at resend.com/domains",
    "invalid_from_address": "correct the sender's `from`",
    "not_found": "check base_url",
    "method_not_allowed": "check base_url",
    "email_above_quota": "the plan's quota is used up",
    "daily_quota_exceeded": "the plan's quota is used up until tomorrow",
    "monthly_quota_exceeded": "the plan's quota is used up until next month",
}
CURES_BY_STATUS: dict[int, str] = {
    401: "check api_key",
    402: "settle the bill",
    403: "check api_key and the domain",
    404: "check base_url",
    405: "check base_url",
    407: "a proxy wants a login: check base_url",
}
"""What an operator must do about an error that opens the lane's breaker."""


def judge(answer: HttpAnswer, count: int, now_ms: int, *, is_mixed: bool = False) -> Verdict:
    """Return what `answer` to a request with `count` e-mails means; `is_mixed`: they come from several addresses."""
    if answer.is_accepted and not says_failure(answer.json()):
        return _accepted(answer, count)
    return elsewhere(answer) if answer.is_ambiguous else _refusal(answer, count, now_ms, is_mixed=is_mixed)


def _refusal(answer: HttpAnswer, count: int, now_ms: int, *, is_mixed: bool) -> Verdict:
    name = _name(answer)
    meaning = meaning_of(answer, name)
    code, error = name or str(answer.status), http_words(answer, _cure(answer, name, meaning))
    match meaning:
        case ResendMeaning.PAYLOAD:
            return _wrong(answer, count, code, error)
        case ResendMeaning.SENDER if is_mixed:
            return Split(code, error)
        case (
            ResendMeaning.ACCOUNT
            | ResendMeaning.SENDER
            | ResendMeaning.LIMIT
            | ResendMeaning.QUOTA
            | ResendMeaning.STRANGE
        ):
            # `ratelimit-reset` is about the second: it says nothing of a quota's day.
            more = ("ratelimit-reset",) if meaning is ResendMeaning.LIMIT else ()
            wait_s = retry_after_s(answer.headers, now_ms, *more)
            return Paused(code, error, wait_s, may_be_the_touch=meaning is ResendMeaning.STRANGE)
        case ResendMeaning.ACCEPTED:
            return Sent((None,) * count)
        case ResendMeaning.RUNNING | ResendMeaning.MAYBE:
            return Unknown(code, error, refused=answer.is_fault)
        case ResendMeaning.BUSY:
            return Refused(code, error, retry_after_s(answer.headers, now_ms))
        case _:
            assert_never(meaning)


def meaning_of(answer: HttpAnswer, name: str) -> ResendMeaning:
    """Return what an error means. A 5xx is never an answer about the request, whatever its name."""
    status = inner_status(answer.json()) or 0 if answer.is_accepted else answer.status
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ResendMeaning.MAYBE
    if answer.is_elsewhere:
        return ResendMeaning.ACCOUNT
    found = NAMES.get(name)
    if found is ResendMeaning.PAYLOAD and (status == httpx.codes.FORBIDDEN or "`from`" in answer.text("message")):
        return ResendMeaning.SENDER
    if found is not None:
        return found
    # Without a status of its own, a failure inside a 2xx is a refusal for now.
    return CLASSES.get(status, ResendMeaning.STRANGE) if status else ResendMeaning.BUSY


def _name(answer: HttpAnswer) -> str:
    """Return the error's name; the SDKs' form has it one level deeper."""
    inner = answer.member("error")
    found = answer.text("name") or (inner.get("name") if isinstance(inner, dict) else "")
    return found if isinstance(found, str) else ""


def _cure(answer: HttpAnswer, name: str, meaning: ResendMeaning) -> str | None:
    if answer.is_elsewhere:
        return "a redirect; check base_url"
    if meaning not in (ResendMeaning.ACCOUNT, ResendMeaning.SENDER, ResendMeaning.QUOTA):
        return None
    return CURES.get(name) or CURES_BY_STATUS.get(answer.status)


def _accepted(answer: HttpAnswer, count: int) -> Sent | Unknown:
    """One id per e-mail, in the order of the request; anything else leaves open who is whose."""
    found = answer.member("data")
    rows = found if isinstance(found, list) else [answer.json()]
    ids = tuple(row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"])
    if len(set(ids)) != count or len(rows) != count:
        return Unknown(
            str(answer.status), f"not Resend's answer: {count} e-mails, {len(ids)} ids in it; {http_words(answer)}"
        )
    return Sent(ids)


def _wrong(answer: HttpAnswer, count: int, code: str, error: str) -> Rejected | Split | Refused:
    if count > 1:
        return Split(code, error)
    # Not Resend's words but a proxy's say nothing final about an e-mail.
    return Rejected(code, error) if answer.is_object else Refused(code, error)
