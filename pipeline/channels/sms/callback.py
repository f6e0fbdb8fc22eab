"""Twilio's callbacks: signatures, what a message's status says, and what people write back.

Source: Twilio, "Webhooks security", "Track outbound message status", "Messaging webhooks", "Advanced Opt-Out".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from twilio.request_validator import RequestValidator

from pipeline.channels.callback_body import LONGEST_ID, json_object, told_error
from pipeline.domain.account import TwilioAccount
from pipeline.domain.address_hash import address_hash
from pipeline.domain.callback import CallbackPath, CallbackRules, NotAuthentic, NotReadable, ReceivedCallback
from pipeline.domain.fact import BY_PROVIDER, BY_RECIPIENT, Callback, Entry, FactKind
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.work import Channel

KINDS: Final = {
    "delivered": FactKind.DELIVERED,
    "read": FactKind.READ,
    "undelivered": FactKind.UNDELIVERED,
    "failed": FactKind.UNDELIVERED,
    "canceled": FactKind.UNDELIVERED,
}
OPTED_OUT: Final = "21610"
UNREACHABLE: Final = frozenset({"21211", "21614", "30005", "30006"})
"""No number, no mobile number, unknown, a landline. 30003 (switched off), 30007 (filtered), 30008 are not final."""
MOST_FIELDS: Final = 500
EMPTY_ANSWER: Final = b"<Response/>"
"""TwiML that answers an inbound message with nothing."""
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{4,14}")
_CODE: Final = re.compile(r"[0-9]{1,9}")

Form = Mapping[str, str]


def read_status(
    received: ReceivedCallback, sender: str, account: TwilioAccount, rules: CallbackRules, now_ms: int
) -> list[Callback]:
    """Return what the status of a message says. Raises NotAuthentic, NotReadable."""
    form = _verified(received, account, rules)
    said = form.get("ErrorCode", "")
    code = said if _CODE.fullmatch(said) else None
    kind, message_id = KINDS.get(form.get("MessageStatus", "").lower()), form.get("MessageSid", "")[:LONGEST_ID]
    entry = None if code is None else _entry(code, form, rules)
    if not message_id or (kind is None and entry is None):
        return []
    return [
        Callback(
            channel=Channel.SMS,
            sender=sender,
            message_id=message_id,
            received_at_ms=now_ms,
            kind=kind,
            error_code=code,
            error=told_error(form.get("ErrorMessage", "")),
            entries=() if entry is None else (entry,),
            acts_as=message_id,
        )
    ]


def read_inbound(
    received: ReceivedCallback, sender: str, account: TwilioAccount, rules: CallbackRules, now_ms: int
) -> list[Callback]:
    """Return what somebody's message asks for. Raises NotAuthentic, NotReadable."""
    form = _verified(received, account, rules)
    person, text = _person(form.get("From", ""), rules), form.get("Body", "")
    message_id, said = form.get("MessageSid", "")[:LONGEST_ID], form.get("OptOutType", "").upper()
    if person is None or not message_id:
        return []
    word = rules.words.stopping(text) or ("STOP" if said == "STOP" else None)
    is_back = said == "START" or (word is None and rules.words.is_back(text))
    if word is None and not is_back:
        return []
    stop = Entry(rules.covers.scope(Channel.SMS), SuppressionReason.OPT_OUT, BY_RECIPIENT, word, person)
    return [
        Callback(
            channel=Channel.SMS,
            sender=sender,
            message_id="",
            received_at_ms=now_ms,
            entries=() if is_back else (stop,),
            lifts=(person,) if is_back else (),
            acts_as=message_id,
        )
    ]


def _entry(code: str, form: Form, rules: CallbackRules) -> Entry | None:
    recipient = _person(form.get("To", ""), rules)
    if code == OPTED_OUT:
        return Entry(rules.covers.scope(Channel.SMS), SuppressionReason.OPT_OUT, BY_PROVIDER, code, recipient)
    if code in UNREACHABLE:
        return Entry(Scope.SMS, SuppressionReason.UNREACHABLE, BY_PROVIDER, code, recipient)
    return None


def _person(number: str, rules: CallbackRules) -> str | None:
    """Return the hash of a number in E.164, or None for what is none (a short code, another channel's address)."""
    return address_hash(Channel.SMS, number, rules.privacy_key) if _NUMBER.fullmatch(number) else None


def _verified(received: ReceivedCallback, account: TwilioAccount, rules: CallbackRules) -> Form:
    """Return the form. Raises NotAuthentic, NotReadable."""
    is_json = received.header("content-type").partition(";")[0].strip().lower() == "application/json"
    form = [] if is_json else _form(received.body)
    signed: Any = _text(received.body) if is_json else _Fields(form)
    uri, signature = rules.public_url + received.target, received.header("x-twilio-signature")
    if not signature or not any(_is_signed(each.reveal(), uri, signed, signature) for each in account.webhook_secrets):
        raise NotAuthentic
    found = json_object(received.body) if is_json else dict(form)
    if not found:
        raise NotReadable("nothing in it")
    if found.get("AccountSid") != account.account_sid:
        raise NotAuthentic
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _is_signed(token: str, uri: str, signed: Any, signature: str) -> bool:
    try:
        return bool(RequestValidator(token).validate(uri, signed, signature))
    except (TypeError, ValueError):  # JSON without bodySHA256; a URL that is none
        return False


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise NotAuthentic from None  # Twilio signs text


def _form(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form in UTF-8. Raises NotAuthentic: what is none cannot have been signed."""
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise NotAuthentic from None


class _Fields(dict[str, list[str]]):
    """A form as the validator reads it: every value of a repeated name."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        for name, value in fields:
            self.setdefault(name, []).append(value)

    def getall(self, name: str) -> list[str]:
        """Return the values of `name`."""
        return self[name]


PATHS: Final = (
    CallbackPath("/status", read_status, status=204),
    CallbackPath("/inbound", read_inbound, content_type="text/xml", body=EMPTY_ANSWER),
)
