"""What the demo shows of the time after `sent`: a bounce, a STOP, a click, and that nobody of them is written to again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx

from pipeline.lab.demo.findings import DemoFinding
from pipeline.lab.demo.tally import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.lab.demo.tally import Tally

BOUNCED, STOPPED, CLICKED = "zoe@example.com", "+12125552311", "ann@example.com"
RULES = (
    {"what": "callback", "provider": "resend", "to": BOUNCED, "outcome": "bounced"},
    {"what": "callback", "provider": "twilio", "to": STOPPED, "reply": "STOP"},
)
REASONS = frozenset({"bounced", "opt_out", "unsubscribed"})
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
PATIENCE_S = 30.0
OBEYED_S = 1.5
"""An entry is obeyed within a second of its commit (docs/control.md)."""


def script(sandbox: str) -> None:
    """Tell the sandbox who will bounce, and who will answer STOP."""
    for rule in RULES:
        httpx.post(f"{sandbox}/control/rules", json=rule).raise_for_status()


def click(sandbox: str) -> None:
    """Click unsubscribe in an e-mail that the sandbox took, as a mail program does."""
    messages = httpx.get(f"{sandbox}/control/accepted?provider=resend").raise_for_status().json()
    found = next((link for each in messages if each["to"] == CLICKED and (link := link_of(each))), None)
    if found is not None:
        httpx.post(found, data=ONE_CLICK).raise_for_status()


def link_of(message: Mapping[str, Any]) -> str | None:
    """Return the link of a message's List-Unsubscribe header, or None."""
    said = (message["extra"]["headers"] or {}).get("List-Unsubscribe", "")
    return said.strip("<>") or None


async def until_suppressed(tally: Tally) -> None:
    """Wait until each of the three is suppressed and every lane obeys, or for `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if {each["reason"] for each in tally.suppressions} >= REASONS and _delivered(tally).keys() >= set(CHANNELS):
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(OBEYED_S)


def findings_afterwards(tally: Tally) -> list[DemoFinding]:
    """Return what the demo is to show of the time after `sent`, with its proof."""
    delivered = _delivered(tally)
    each = [f"{delivered[channel]} by {channel}" for channel in CHANNELS if channel in delivered]
    return [
        DemoFinding(
            "told after sent: a delivery on each channel", ", ".join(each) if len(each) == len(CHANNELS) else ""
        ),
        DemoFinding("a bounce suppresses its address", _suppressed(tally, "mail-after-bounce", "bounced")),
        DemoFinding("a STOP suppresses its number", _suppressed(tally, "sms-after-stop", "opt_out")),
        DemoFinding(
            "an unsubscribe click suppresses its address", _suppressed(tally, "mail-after-click", "unsubscribed")
        ),
    ]


def _delivered(tally: Tally) -> dict[str, int]:
    told = [each["channel"] for each in tally.deliveries if each["kind"] == "delivered"]
    return {channel: told.count(channel) for channel in set(told)}


def _suppressed(tally: Tally, touch_id: str, reason: str) -> str:
    last = tally.stories.get(touch_id, [{}])[-1]
    if (last.get("state"), last.get("reason")) != ("suppressed", reason):
        return ""
    entry = next((each for each in tally.suppressions if each["reason"] == reason), None)
    return f"{touch_id}: suppressed ({reason}), by {entry['by'] if entry else 'nobody'}"
