"""The pages over a real copy: a touch is held from the page, the page says by whom and when it would be done, and it goes when it is resumed there."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.harness.callbacks import CallbackStack
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[CallbackStack]:
    stack = CallbackStack(kafka, topic_prefix, tmp_path, timeout="20s", lease="2s")
    yield stack
    stack.stop_all()


async def reads(browser: httpx.AsyncClient, path: str, *words: str) -> str:
    """Wait until the page says all these words; return its text."""
    async with asyncio.timeout(60):
        while True:
            text = (await browser.get(path, follow_redirects=True)).text
            if all(each in text for each in words):
                return text
            await asyncio.sleep(0.1)


async def order(browser: httpx.AsyncClient, action: str, campaign: str, note: str) -> None:
    """Give an order as a person does: the form counts, then it is posted, then its page says that it is in force."""
    form = (await browser.get("/orders/new", params={"action": action, "campaign": campaign})).text
    nonce = re.search(r'name="nonce" value="([^"]+)"', form)[1]
    fields = {"nonce": nonce, "action": action, "campaign": campaign, "note": note, "until": ""}
    given = await browser.post("/orders/new", data=fields)
    assert given.status_code == 303, given.text
    await reads(browser, given.headers["location"], "In force" if action == "pause" else "resumed")


async def test_a_campaign_is_paused_and_resumed_from_its_page_and_a_touch_says_why_it_waits(stack: CallbackStack):
    stack.start_sandbox()
    stack.start(0)
    stack.start_web(0)
    await stack.wait_for_work(0)
    await stack.wait_for_web(0)
    async with httpx.AsyncClient(base_url=f"http://{stack.private[0]}", timeout=60) as browser:
        await order(browser, "pause", "c1", "wrong price")
        await stack.produce([touch("sms", 1), touch("sms", 2)])
        await reads(browser, "/?q=sms-2", "</span> Sent")
        page = await reads(browser, "/?q=%2B12125550001", "Not sent yet: an order holds it")
        assert "wrong price" in page
        assert "pause:campaign=c1" in page
        foreseen = await reads(browser, "/campaigns/c1", "1 left: 1 will be sent.", "Foreseen at")
        assert "no order holds or ends a touch" in foreseen
        assert "1 to be sent from" in foreseen
        await order(browser, "resume", "c1", "price corrected")
        await reads(browser, "/touches/sms-1", "</span> Sent")
        await reads(browser, "/lanes", "Sends per minute")
        await reads(browser, "/audit", "price corrected", "console")
