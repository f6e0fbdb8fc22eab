"""What became of a send? By our message id where the engine takes one, else by the chat's own messages since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import orjson

from pipeline.channels.whatsapp.verdict import message_id
from pipeline.domain.verdict import Absent, AskLater, Sent

if TYPE_CHECKING:
    from pipeline.channels.http import Answer
    from pipeline.domain.work import Claim

SINCE_SLACK_MS = 2_000
"""WhatsApp's clock against ours, on top of flooring to its seconds."""
PAGE = 100
MOST_PAGES = 20
"""Own messages of one chat since the claim: more is no answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the frozen request said: the configuration may have changed since."""

    session: str
    chat: str
    text: str
    since_s: int
    """Unix seconds; nothing of this claim is older."""
    handle: str


def question(claim: Claim) -> Question:
    """Return what to ask about `claim`."""
    said = orjson.loads(claim.request.body)
    since_s = claim.claimed_ms // 1000 - SINCE_SLACK_MS // 1000
    return Question(said["session"], said["chatId"], said["text"], since_s, claim.request.handle)


def id_path(asked: Question) -> str:
    """Return where NOWEB and GOWS know a message by its id, whatever its chat."""
    session, handle = quote(asked.session, safe=""), quote(asked.handle, safe="")
    return f"/api/{session}/chats/all/messages/{handle}?downloadMedia=false"


def judge_id(answer: Answer, asked: Question) -> Sent | Absent | AskLater:
    """Return what the answer to `id_path` means. Only WAHA's own 404 about the message says that it is not there."""
    if answer.is_accepted:
        found = message_id(answer.json())
        return Sent((asked.handle,)) if found == asked.handle else AskLater("the look-up answered something else")
    said = answer.text("message") or answer.text("error")
    if answer.status == httpx.codes.NOT_FOUND and answer.is_object and _is_about_the_message(said):
        return Absent()
    return AskLater(f"the look-up answered HTTP {answer.status}")


def _is_about_the_message(said: str) -> bool:
    """Whether a 404 speaks of the message, not of the session or the path."""
    if "session" in said.lower() or said.startswith("Cannot GET"):
        return False
    return "not found" in said.lower() or "message" in said.lower()


def chat_path(asked: Question, offset: int) -> str:
    """Return where a page of the chat's own messages since the claim is."""
    # Newest first: what arrives while we turn pages only moves messages back, so none is skipped.
    session, chat = quote(asked.session, safe=""), quote(asked.chat, safe="@")
    return (
        f"/api/{session}/chats/{chat}/messages?limit={PAGE}&offset={offset}&downloadMedia=false"
        f"&sortOrder=desc&filter.fromMe=true&filter.timestamp.gte={asked.since_s}"
    )


def page_of(answer: Answer) -> list[dict[str, object]] | None:
    """Return the messages of a page, or None if it is none."""
    found = answer.json()
    if not answer.is_accepted or not isinstance(found, list):
        return None
    return [each for each in found if isinstance(each, dict)]


def first_match(messages: list[dict[str, object]], asked: Question, known_ids: frozenset[str]) -> Sent | Absent:
    """Return the oldest message that can only be this claim's, or Absent."""
    matches = [each for each in messages if _is_ours(each, asked) and message_id(each) not in known_ids]
    if not matches:
        return Absent()
    return Sent((message_id(min(matches, key=_second)),))


def _is_ours(message: dict[str, object], asked: Question) -> bool:
    return message.get("fromMe") is True and message.get("body") == asked.text and _second(message) >= asked.since_s


def _second(message: dict[str, object]) -> int:
    said = message.get("timestamp")
    return int(said) if isinstance(said, int | float) else 0
