"""Resend's webhooks: Svix signatures, and what each event says. Source: Resend's OpenAPI; docs.svix.com, "Verifying payloads manually"."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Iterator
from email.utils import getaddresses
from typing import Any, Final

from pipeline.channels.callback_body import id_at, json_object, member, provider_ms, text_at, told_error
from pipeline.domain.account import ResendAccount
from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import address_hash
from pipeline.domain.callback import CallbackPath, CallbackRules, NotAuthentic, ReceivedCallback
from pipeline.domain.fact import BY_PROVIDER, Callback, Entry, FactKind
from pipeline.domain.mailbox import LONGEST_MAILBOX, MOST_COMMENTS, normal_email
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.secret import Secret

TOLERANCE_MS: Final = 300_000
"""Age of a signature, and how far it may be ahead (Svix)."""
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
MOST_RECIPIENTS: Final = 50
"""Resend's most recipients of an e-mail; ours have one."""
KINDS: Final = {
    "email.delivered": FactKind.DELIVERED,
    "email.delivery_delayed": FactKind.DELAYED,
    "email.opened": FactKind.OPENED,
    "email.clicked": FactKind.CLICKED,
    "email.bounced": FactKind.BOUNCED,
    "email.complained": FactKind.COMPLAINED,
    "email.failed": FactKind.UNDELIVERED,
    "email.suppressed": FactKind.SUPPRESSED_BY_PROVIDER,
}


def read(
    received: ReceivedCallback, sender: str, account: ResendAccount, rules: CallbackRules, now_ms: int
) -> list[Callback]:
    """Return what an event says. Raises NotAuthentic, NotReadable."""
    _verify(received, account.webhook_secrets, now_ms)
    event = json_object(received.body)
    kind, data = KINDS.get(text_at(event, "type")), event.get("data")
    message_id = id_at(data, "email_id")
    if kind is None or not message_id:
        return []
    reason = _reason(kind, data)
    entries = () if reason is None else tuple(_entries(data, reason, _detail(kind, data), rules.privacy_key))
    return [
        Callback(
            channel=Channel.EMAIL,
            sender=sender,
            message_id=message_id,
            received_at_ms=now_ms,
            kind=kind,
            occurred_at_ms=provider_ms(event.get("created_at")),
            detail=_detail(kind, data),
            error=told_error(_said(kind, data)),
            entries=entries,
            acts_as=message_id,
        )
    ]


def _verify(received: ReceivedCallback, secrets: Iterable[Secret], now_ms: int) -> None:
    """Check the signature. Raises NotAuthentic.

    `resend.Webhooks.verify` does the same by a clock of its own, for text only, and cannot tell a wrong signature from
    a body that is no JSON (a test compares the two).
    """
    name, at, said = (received.header(f"svix-{each}") for each in ("id", "timestamp", "signature"))
    if not name or _SECONDS.fullmatch(at) is None or abs(now_ms - int(at) * 1000) > TOLERANCE_MS:
        raise NotAuthentic
    signed = f"{name}.{at}.".encode(errors="replace") + received.body
    offered = [each.partition(",")[2].encode(errors="replace") for each in said.split(" ") if each.startswith("v1,")]
    for secret in secrets:
        expected = base64.b64encode(hmac.digest(_key(secret), signed, "sha256"))
        if any(hmac.compare_digest(expected, each) for each in offered):
            return
    raise NotAuthentic


def _key(secret: Secret) -> bytes:
    return base64.b64decode(secret.reveal().removeprefix("whsec_"))


def is_secret(text: str) -> bool:
    """Return whether `text` is a signing secret: `whsec_` and base64."""
    try:
        return text.startswith("whsec_") and bool(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        return False


def _detail(kind: FactKind, data: Any) -> str | None:
    if kind is FactKind.BOUNCED:
        parts = [text_at(data, "bounce", "type"), text_at(data, "bounce", "subType")]
        return told_error("/".join(each for each in parts if each))
    if kind is FactKind.SUPPRESSED_BY_PROVIDER:
        return told_error(text_at(data, "suppressed", "reason") or text_at(data, "suppressed", "type"))
    return None


def _said(kind: FactKind, data: Any) -> str:
    match kind:
        case FactKind.BOUNCED:
            return text_at(data, "bounce", "message")
        case FactKind.UNDELIVERED:
            return text_at(data, "failed", "reason")
        case FactKind.SUPPRESSED_BY_PROVIDER:
            return text_at(data, "suppressed", "message")
        case _:
            return ""


def _reason(kind: FactKind, data: Any) -> SuppressionReason | None:
    """Return why nobody is to write there any more, or None. Only the literal `Permanent` is final."""
    if kind is FactKind.BOUNCED:
        return SuppressionReason.BOUNCED if text_at(data, "bounce", "type") == "Permanent" else None
    if kind is FactKind.COMPLAINED:
        return SuppressionReason.COMPLAINED
    if kind is FactKind.SUPPRESSED_BY_PROVIDER:
        is_complaint = text_at(data, "suppressed", "reason") == "previous_complaint"
        return SuppressionReason.COMPLAINED if is_complaint else SuppressionReason.BOUNCED
    return None


def _entries(data: Any, reason: SuppressionReason, note: str | None, privacy_key: bytes) -> Iterator[Entry]:
    """Yield an entry for each address the e-mail went to; one without an address that can be read is left to the touch."""
    found: list[str | None] = [*_addresses(member(data, "to"))] or [None]
    for address in found:
        recipient = None if address is None else address_hash(Channel.EMAIL, address, privacy_key)
        yield Entry(Scope.EMAIL, reason, BY_PROVIDER, note, recipient)


def _addresses(said: object) -> Iterator[str]:
    listed = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    texts = [each for each in listed[:MOST_RECIPIENTS] if isinstance(each, str) and _is_bounded(each)]
    for _, address in getaddresses(texts):
        try:
            yield normal_email(address)
        except BadAddress:
            continue


def _is_bounded(said: str) -> bool:
    """Whether it can be read: the library goes into nested comments as deep as they go."""
    return len(said) <= LONGEST_MAILBOX and said.count("(") <= MOST_COMMENTS


PATHS: Final = (CallbackPath("", read),)
