"""Looks up a send whose answer was lost: by message id if the engine accepts one, else among the chat's own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import orjson

from pipeline.channels.whatsapp.verdict import has_failed, message_id
from pipeline.channels.words import http_words
from pipeline.domain.verdict import Absent, AskLater, Refused, Sent

if TYPE_CHECKING:
    from pipeline.channels.http import HttpAnswer
    from pipeline.domain.work import Claim

SINCE_SLACK_MS = 2_000
"""Allowance for the difference between WhatsApp's clock and this one, beside its rounding down to seconds."""
PAGE = 100
MOST_PAGES = 20
"""Own messages of one chat since the claim: more is no answer."""


@dataclass(frozen=True, slots=True)
class WahaLookup:
    """What the claim's request contains; the configuration may have changed since."""

    session: str
    chat: str
    text: str
    since_s: int
    """Unix seconds; nothing of this claim is older."""
    handle: str


def question(claim: Claim) -> WahaLookup:
    """Return what to look up for `claim`."""
    said = orjson.loads(claim.request.body)
    since_s = claim.claimed_ms // 1000 - SINCE_SLACK_MS // 1000
    return WahaLookup(said["session"], said["chatId"], said["text"], since_s, claim.request.handle)


def id_path(asked: WahaLookup) -> str:
    """Return where NOWEB and GOWS know a message by its id, whatever its chat."""
    session, handle = quote(asked.session, safe=""), quote(asked.handle, safe="")
    return f"/api/{session}/chats/all/messages/{handle}?downloadMedia=false"


def judge_id(answer: HttpAnswer, asked: WahaLookup) -> Sent | Absent | AskLater | Refused:
    """Return what the answer to `id_path` means. Only WAHA's own 404 about the message says that it is not there."""
    found = answer.json()
    if answer.is_accepted and message_id(found, asked.handle) == asked.handle:
        if has_failed(found):
            return Refused(str(answer.status), "WhatsApp did not take the message: ack ERROR")
        return Sent((asked.handle,))
    if answer.status == httpx.codes.NOT_FOUND and _is_about_the_message(answer):
        return Absent()
    return AskLater(f"the look-up answered {http_words(answer)}")


def _is_about_the_message(answer: HttpAnswer) -> bool:
    """Whether a 404 is WAHA's and speaks of the message: not of the session or the path, and not a gateway's."""
    said = f"{answer.text('message')} {answer.text('error')}".lower()
    if "not found" not in said or any(
        each in said for each in ("session", "cannot get", "route", "path", "page", "host")
    ):
        return False
    return "message" in said or answer.member("statusCode") == httpx.codes.NOT_FOUND


def chat_path(asked: WahaLookup, offset: int) -> str:
    """Return where a page of the chat's own messages since the claim is."""
    # Newest first: what arrives while we turn pages only moves messages back, so none is skipped.
    session, chat = quote(asked.session, safe=""), quote(asked.chat, safe="@")
    return (
        f"/api/{session}/chats/{chat}/messages?limit={PAGE}&offset={offset}&downloadMedia=false"
        f"&sortOrder=desc&filter.fromMe=true&filter.timestamp.gte={asked.since_s}"
    )


def page_of(answer: HttpAnswer) -> list[dict[str, object]] | None:
    """Return the messages of a page; None if the answer is not WAHA's list, which then proves nothing."""
    found = answer.json()
    if not answer.is_accepted or not isinstance(found, list) or not all(map(_is_message, found)):
        return None
    return found


def first_match(
    messages: list[dict[str, object]], asked: WahaLookup, known_ids: frozenset[str]
) -> Sent | Absent | Refused:
    """Return the oldest message that can only be this claim's, or Absent; one that WhatsApp did not take was not sent."""
    ours = sorted(
        (each for each in messages if _is_ours(each, asked) and message_id(each) not in known_ids), key=_second
    )
    if (found := next((each for each in ours if not has_failed(each)), None)) is not None:
        return Sent((message_id(found),))
    return Refused("ack", "WhatsApp did not take the message: ack ERROR") if ours else Absent()


def _is_message(found: object) -> bool:
    """Whether it has what a message is known by."""
    if not isinstance(found, dict) or not (found.get("id") or found.get("key")):
        return False
    return isinstance(found.get("fromMe"), bool) and isinstance(found.get("body"), str | None)


def _is_ours(message: dict[str, object], asked: WahaLookup) -> bool:
    return message.get("fromMe") is True and message.get("body") == asked.text and _second(message) >= asked.since_s


def _second(message: dict[str, object]) -> float:
    """Return the creation time; infinity if it cannot be read, so that the message never counts as too old."""
    said = message.get("timestamp")
    try:
        return float(said) if isinstance(said, int | float | str) else float("inf")
    except ValueError:
        return float("inf")
