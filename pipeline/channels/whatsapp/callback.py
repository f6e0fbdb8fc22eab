"""WAHA's webhooks: HMAC, acknowledgements of our messages, and what people write back. Source: WAHA's documentation, "Webhooks"."""

from __future__ import annotations

import hmac
import re
from typing import Any, Final

from pipeline.channels.callback_body import id_at, json_object, member, provider_ms, text_at
from pipeline.channels.whatsapp.verdict import message_id as own_id
from pipeline.domain.account import WahaAccount
from pipeline.domain.address_hash import address_hash
from pipeline.domain.callback import CallbackPath, CallbackRules, NotAuthentic, ReceivedCallback
from pipeline.domain.fact import BY_RECIPIENT, Callback, Entry, FactKind
from pipeline.domain.suppression import SuppressionReason
from pipeline.domain.value import replace
from pipeline.domain.work import Channel

ACKS: Final = {-1: FactKind.UNDELIVERED, 2: FactKind.DELIVERED, 3: FactKind.READ, 4: FactKind.READ}
"""ERROR, DEVICE, READ, PLAYED; PENDING and SERVER say nothing new."""
MESSAGES: Final = ("message", "message.any")
_NUMBER: Final = re.compile(r"([0-9]{5,15})(?::[0-9]+)?@(?:c\.us|s\.whatsapp\.net)")
"""A chat id with a number, perhaps with a device."""
_PERSON: Final = re.compile(r"[0-9]+(?::[0-9]+)?@(?:c\.us|s\.whatsapp\.net|lid)")
"""Not a group, a channel or a broadcast."""
_HIDDEN: Final = re.compile(r"(\d{1,32})(?::\d+)?@lid")
_RENUMBERED: Final = (
    (re.compile(r"55(\d\d)([6-9]\d{7})"), r"55\g<1>9\2"),
    (re.compile(r"55(\d\d)9([6-9]\d{7})"), r"55\1\2"),
    (re.compile(r"521(\d{10})"), r"52\1"),
)
_OTHERS_ID: Final = re.compile(r"false_[^_]+@[^_]+_([0-9A-Za-z.-]+)(?:_.*)?")


def read(
    received: ReceivedCallback, sender: str, account: WahaAccount, rules: CallbackRules, now_ms: int
) -> list[Callback]:
    """Return what an event says. Raises NotAuthentic, NotReadable."""
    event = _verified(received, account, rules, now_ms)
    said, name = event.get("payload"), text_at(event, "event")
    at_ms = provider_ms(event.get("timestamp"))
    if name == "message.ack":
        return _ack(said, sender, now_ms, at_ms)
    return _message(said, sender, rules, now_ms, at_ms) if name in MESSAGES else []


def _ack(said: Any, sender: str, now_ms: int, at_ms: int | None) -> list[Callback]:
    ack, message_id = member(said, "ack"), own_id(said)
    kind = ACKS.get(ack) if isinstance(ack, int) else None
    if kind is None or message_id is None or member(said, "fromMe") is False:
        return []
    return [_callback(sender, now_ms, at_ms, message_id=message_id, kind=kind)]


def _message(said: Any, sender: str, rules: CallbackRules, now_ms: int, at_ms: int | None) -> list[Callback]:
    if member(said, "fromMe") is not False or _PERSON.fullmatch(text_at(said, "from")) is None:
        return []
    quoted, people = _quoted(said), _people(said, rules.privacy_key)
    entries, lifts = _asked(text_at(said, "body"), people or (None,), rules)
    acts_as, lid = _others_id(id_at(said, "id")), _lid(text_at(said, "from"))
    found = [] if quoted is None else [_callback(sender, now_ms, at_ms, message_id=quoted, kind=FactKind.REPLIED)]
    if lid and people:
        found.append(_callback(sender, now_ms, at_ms, lid=lid, people=people))
    if not acts_as or not (entries or lifts):
        return found
    if people:
        return [*found, _callback(sender, now_ms, at_ms, entries=entries, lifts=lifts, acts_as=acts_as)]
    # Whoever wrote will be known by the message that is quoted, by asking WAHA, or by an operator.
    wish = _callback(sender, now_ms, at_ms, entries=entries, lifts=lifts, acts_as=acts_as, lid=lid)
    return [*(replace(each, lid=lid) for each in found), wish] if lid else found


def _asked(
    text: str, people: tuple[str | None, ...], rules: CallbackRules
) -> tuple[tuple[Entry, ...], tuple[str | None, ...]]:
    """Return the suppressions that a message asks for, and whose opt-outs it lifts."""
    word = rules.words.stopping(text)
    if word is None:
        return (), people if rules.words.is_back(text) else ()
    scope = rules.covers.scope(Channel.WHATSAPP)
    return tuple(Entry(scope, SuppressionReason.OPT_OUT, BY_RECIPIENT, word, each) for each in people), ()


def _callback(sender: str, now_ms: int, at_ms: int | None, **said: Any) -> Callback:
    return Callback(
        **{"message_id": "", **said},
        channel=Channel.WHATSAPP,
        sender=sender,
        received_at_ms=now_ms,
        occurred_at_ms=at_ms,
    )


def _verified(received: ReceivedCallback, account: WahaAccount, rules: CallbackRules, now_ms: int) -> dict[str, Any]:
    said = received.header("x-webhook-hmac").strip().lower().encode(errors="replace")
    if not any(hmac.compare_digest(_hmac(each.reveal(), received.body), said) for each in account.webhook_secrets):
        raise NotAuthentic
    event = json_object(received.body)
    at_ms = event.get("timestamp")
    is_stale = isinstance(at_ms, int | float) and at_ms < now_ms - rules.remember_for_ms
    if text_at(event, "session") != account.session or is_stale:
        raise NotAuthentic
    return event


def _hmac(key: str, body: bytes) -> bytes:
    return hmac.digest(key.encode(), body, "sha512").hex().encode()


def _people(said: Any, privacy_key: bytes) -> tuple[str, ...]:
    """Return the hashes of the number that wrote, in each way it may be written; () where WAHA tells none."""
    for address in (text_at(said, "from"), text_at(said, "_data", "key", "remoteJidAlt")):
        if people := people_of(address, privacy_key):
            return people
    return ()


def people_of(address: str, privacy_key: bytes) -> tuple[str, ...]:
    """Return the hashes of the number in a chat id, in each way it may be written; () for one without a number."""
    found = _NUMBER.fullmatch(address)
    if found is None:
        return ()
    return tuple(address_hash(Channel.WHATSAPP, f"+{each}", privacy_key) for each in _spellings(found[1]))


def _lid(address: str) -> str:
    """Return the chat id of an account that hides its number, without its device; "" for another one."""
    found = _HIDDEN.fullmatch(address)
    return f"{found[1]}@lid" if found is not None else ""


def _spellings(number: str) -> list[str]:
    """Return a WhatsApp number, and the same as E.164 has it.

    WhatsApp keeps the numbers of accounts made before a country changed its plan: Brazil's without the ninth digit,
    Mexico's with a 1 behind the 52.
    """
    for pattern, other in _RENUMBERED:
        if pattern.fullmatch(number):
            return [number, pattern.sub(other, number)]
    return [number]


def _quoted(said: Any) -> str | None:
    """Return the bare id of the message that this one quotes, or None."""
    said_id = id_at(said, "replyTo", "id")
    return own_id({"id": said_id}, said_id)


def _others_id(said: str) -> str:
    """Return the bare id of a message to us, or "" for one that is not."""
    found = _OTHERS_ID.fullmatch(said)
    return found[1] if found is not None else ("" if "_" in said else said)


PATHS: Final = (CallbackPath("", read),)
