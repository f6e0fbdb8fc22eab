"""A browser, and the pages served with answers made up: no Kafka is needed."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.harness.reporting import SHOTS
from tests.harness.told import FakeActions, FakeAnswers, foreseen, guarded

CHROMIUM = os.environ.get("PIPELINE_TEST_CHROMIUM", "/usr/bin/chromium")
"""Debian's: `apt-get install chromium`."""
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE, SCREEN = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


class Served:
    """The pages on a port of their own, on a thread of their own."""

    def __init__(self, *users: str) -> None:
        """With `users` as docker-compose.yml serves them: it says that a proxy ends TLS, and there is none."""
        self.users = users
        self.answers, self.actions, self.foresight = FakeAnswers(), FakeActions(), foreseen()
        self.loop = asyncio.new_event_loop()
        self.address = ""
        self._is_up = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self._is_up.set()
        self.loop.run_forever()

    async def _start(self) -> None:
        how = {"foreseen": lambda: self.foresight, "behind_tls": bool(self.users)}
        self.runner = web.AppRunner(guarded(self.answers, self.actions, *self.users, **how))
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://{'localhost' if self.users else '127.0.0.1'}:{self.runner.addresses[0][1]}"

    def start(self) -> None:
        self.thread.start()
        assert self._is_up.wait(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@dataclass
class Watched:
    """A page of the browser, and what it did that it should not."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))

    def _heard(self, message: Any) -> None:
        # A page that is not there is told in the console, too.
        if message.type in {"error", "warning"} and "status of 404" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self.address + "/"):
            self.wrong.append(f"asked another host: {request.url}")

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "apt-get install chromium"
    shutil.rmtree(SHOTS, ignore_errors=True)  # what is there afterwards is of this run
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_served() -> Iterator[Served]:
    served = Served()
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def closed() -> Iterator[Served]:
    """The pages behind a login."""
    served = Served("ada")
    served.start()
    yield served
    served.stop()


@pytest.fixture
def served(shared_served: Served) -> Iterator[Served]:
    """The pages; what a test changes in them is changed back."""
    yield shared_served
    shared_served.answers.__init__()
    shared_served.actions.done.clear()
    shared_served.foresight = foreseen()


def context_of(browser: Browser, name: str) -> BrowserContext:
    """Return a phone or a screen, with or without script, by a name such as `phone-plain`."""
    return browser.new_context(viewport=PHONE if "phone" in name else SCREEN, java_script_enabled="plain" not in name)


@pytest.fixture(scope="session")
def contexts(chromium: Browser) -> dict[str, BrowserContext]:
    """Contexts by name, until the browser is closed: closing one needs an event loop, which later tests have taken away."""
    names = ("phone-light", "screen-light", "phone-plain")
    return {name: context_of(chromium, name) for name in names}


@pytest.fixture
def open_in(contexts: dict[str, BrowserContext], served: Served) -> Iterator[Any]:
    """Return a watched page in a context; at the end it must have done nothing wrong."""
    opened: list[Watched] = []

    def open_one(name: str, address: str = served.address) -> Watched:
        opened.append(Watched(contexts[name].new_page(), address))
        return opened[-1]

    yield open_one
    for each in opened:
        each.page.close()
    assert [wrong for each in opened for wrong in each.wrong] == []
