"""A touch as a request to WAHA's `sendText`. Pure: the same bytes for the same arguments."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from pipeline.domain.sender_policy import OWN_IDS, WahaEngine
from pipeline.domain.work import Request, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_BYTES = 9
"""18 hexadecimal digits after `3EB0`, as WhatsApp Web makes them."""


def build(works: Sequence[Work], claim_id: str, session: str, engine: WahaEngine) -> Request:
    """Return the request that sends the one touch of `works` over `session`.

    `linkPreview` is left to WAHA's default. Raises ValueError for more than one touch. Source: WAHA's OpenAPI,
    `POST /api/sendText`.
    """
    (work,) = works
    handle = message_id(claim_id) if engine in OWN_IDS else ""
    said = {"session": session, "chatId": chat_id(work.to), "text": work.content.body or ""}
    if handle:
        said["id"] = handle
    return Request("/api/sendText", orjson.dumps(said), "application/json", handle)


def chat_id(number: str) -> str:
    """Return the chat of a person: the digits of an E.164 number, `@c.us`."""
    return number.removeprefix("+") + "@c.us"


def message_id(claim_id: str) -> str:
    """Return the WhatsApp message id of a claim: `3EB0` and 18 hexadecimal digits in capitals, always the same."""
    return "3EB0" + blake2b(claim_id.encode(), digest_size=ID_BYTES).hexdigest().upper()
