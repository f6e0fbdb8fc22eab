"""Touches as a request to Resend: a batch, or a message with attachments alone. Pure: the same bytes always."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING

import orjson

from pipeline.domain.address import BadAddress
from pipeline.domain.mailbox import normal_mailbox
from pipeline.domain.work import Attachment, Request, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 100
"""E-mails per batch. Source: Resend, "Send Batch Emails"."""
TAG_CHARS = 256
BATCH_PATH = "/emails/batch"
SINGLE_PATH = "/emails"

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]")


def build(works: Sequence[Work], claim_id: str, default_from: str) -> Request:
    """Return the request that sends `works`, with `claim_id` as its Idempotency-Key.

    Raises ValueError for none, for more than `MOST`, and for attachments in company: a batch drops them silently.
    Source: Resend's OpenAPI 1.5.0, `SendEmailRequest`.
    """
    if not 1 <= len(works) <= MOST:
        raise ValueError(f"1 to {MOST} e-mails in a request, not {len(works)}")
    emails = [_email(work, default_from) for work in works]
    if not any(work.content.attachments for work in works):
        return Request(BATCH_PATH, orjson.dumps(emails), "application/json", claim_id)
    if len(works) > 1:
        raise ValueError("an e-mail with attachments goes alone")
    return Request(SINGLE_PATH, orjson.dumps(emails[0]), "application/json", claim_id)


def tag(value: str) -> str:
    """Return `value` as the value of a tag: other characters than `A-Za-z0-9_-` are `_`, cut at 256."""
    return _NOT_IN_TAGS.sub("_", value)[:TAG_CHARS]


def _email(work: Work, default_from: str) -> dict[str, object]:
    content = work.content
    tags = [{"name": "campaign", "value": tag(work.campaign_id)}, {"name": "lead", "value": tag(work.lead_id)}]
    email: dict[str, object] = {
        "from": _outgoing(content.from_ or default_from),
        "to": [work.to],
        "subject": content.subject or "",
        "html": content.body,
        "text": content.text,
        "reply_to": content.reply_to,
        "headers": content.headers or None,
        "tags": tags,
        "attachments": [_attachment(each) for each in content.attachments] or None,
    }
    return {name: value for name, value in email.items() if value is not None}


def _outgoing(address: str) -> str:
    """Return a configured sender's address as it goes out: its domain in punycode, its name quoted where it must be."""
    try:
        return normal_mailbox(address)
    except BadAddress:
        return address  # a name that only the provider knows, such as one of its own test domains


def _attachment(attachment: Attachment) -> dict[str, str]:
    said = {"filename": attachment.filename}
    if attachment.content_type is not None:
        said["content_type"] = attachment.content_type
    if attachment.url is not None:
        said["path"] = attachment.url
    else:
        said["content"] = b64encode(attachment.content or b"").decode("ascii")
    return said
