"""`check` names what is wrong and how it is mended."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.console.check.command import line_of
from pipeline.console.check.work import Desired, Finding, check
from pipeline.domain.sender import CheckDoubtful, CheckFailed
from pipeline.kafka.cluster import Cluster
from pipeline.secret import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW_S = 1_795_521_784.0
NOWHERE = Cluster({"bootstrap_servers": ["127.0.0.1:1"]})


class FakeSender:
    """A sender whose credentials are right, or not."""

    def __init__(self, problem: str | None = None, doubt: str | None = None) -> None:
        self._problem, self._doubt = problem, doubt
        self.steps: list[str] = []

    async def open(self) -> None:
        self.steps.append("open")

    async def check(self) -> str:
        self.steps.append("check")
        await asyncio.sleep(0)
        if self._problem:
            raise CheckFailed(self._problem)
        if self._doubt:
            raise CheckDoubtful(self._doubt)
        return "number +15005550006"

    async def close(self) -> None:
        self.steps.append("close")


async def found(item: str, **desired: object) -> Finding:
    wanted = Desired(
        **{  # type: ignore[arg-type]
            "partitions": {},
            "replication_factor": 1,
            "senders": [],
            "channels_off": [],
            "registry_url": None,
            "source": "pipeline.toml",
            "time_servers": [],
            **desired,
        }
    )
    async for finding in check(NOWHERE, wanted, lambda: NOW_S):
        if finding.item == item:
            return finding
    raise AssertionError(item)


@pytest.fixture
async def provider() -> AsyncIterator[TestServer]:
    """A server whose clock says NOW_S, and a registry that wants credentials."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=404, headers={"Date": formatdate(NOW_S, usegmt=True)})

    async def subjects(request: web.Request) -> web.Response:
        return web.json_response([], status=200 if "Authorization" in request.headers else 401)

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/subjects", subjects)
    async with TestServer(app) as server:
        yield server


async def test_the_source_of_the_configuration_is_named():
    assert await found("configuration") == Finding("configuration", is_ok=True, what="pipeline.toml")


async def test_an_unreachable_kafka_fails_with_its_fix_and_the_rest_is_still_looked_at():
    finding = await found("kafka", senders=[("sms default", FakeSender())])
    assert not finding.is_ok
    assert "kafka.bootstrap_servers" in finding.what
    assert (await found("sms default", senders=[("sms default", FakeSender())])).is_ok


async def test_a_sender_is_opened_asked_and_closed():
    sender = FakeSender()
    assert await found("sms default", senders=[("sms default", sender)]) == Finding(
        "sms default", is_ok=True, what="number +15005550006"
    )
    assert sender.steps == ["open", "check", "close"]


async def test_wrong_credentials_fail_with_the_senders_own_words_and_it_is_closed():
    sender = FakeSender("401: set channels.sms.senders[0].auth_token")
    finding = await found("sms default", senders=[("sms default", sender)])
    assert finding == Finding("sms default", is_ok=False, what="401: set channels.sms.senders[0].auth_token")
    assert sender.steps[-1] == "close"


async def test_an_account_that_may_refuse_what_is_sent_is_a_warning():
    finding = await found(
        "email default", senders=[("email default", FakeSender(doubt="shop.example is not verified"))]
    )
    assert finding == Finding("email default", is_ok=True, is_warning=True, what="shop.example is not verified")


async def test_a_channel_without_senders_is_off_and_no_failure():
    assert (await found("email", channels_off=["email"])).is_ok


@pytest.mark.parametrize(
    ("skew_s", "is_ok", "words"),
    [(0, True, "agrees"), (1, True, "agrees"), (90, False, "90 s ahead of"), (-90, False, "90 s behind")],
)
async def test_our_clock_is_compared_with_somebody_elses(provider: TestServer, skew_s: float, is_ok: bool, words: str):
    desired = Desired({}, 1, [], [], None, "", [str(provider.make_url("/"))])
    (finding,) = [f async for f in check(NOWHERE, desired, lambda: NOW_S + skew_s) if f.item == "clock"]
    assert finding.is_ok is is_ok
    assert words in finding.what


async def test_a_clock_nobody_can_be_asked_about_is_no_failure():
    assert (await found("clock", time_servers=["http://127.0.0.1:1"])).is_ok


async def test_a_registry_that_refuses_us_fails_and_its_password_is_not_told(provider: TestServer):
    url = str(provider.make_url("/"))
    assert not (await found("schema registry", registry_url=Address(url))).is_ok
    finding = await found("schema registry", registry_url=Address.read(url.replace("http://", "http://me:secret@")))
    assert finding.is_ok
    assert "secret" not in finding.what


async def test_a_registry_that_is_away_fails_with_its_fix():
    finding = await found("schema registry", registry_url=Address.read("http://me:secret@127.0.0.1:1"))
    assert not finding.is_ok
    assert "kafka.schema_registry_url" in finding.what
    assert "secret" not in finding.what


async def test_the_templates_are_named_with_their_folder(tmp_path):
    (tmp_path / "welcome").mkdir()
    (tmp_path / "welcome" / "sms.txt").write_text("Hi")
    assert await found("templates", templates=tmp_path) == Finding(
        "templates", is_ok=True, what=f"{tmp_path}: welcome (sms.txt)"
    )
    (tmp_path / "welcome" / "email.txt").write_bytes(b"\xff")
    finding = await found("templates", templates=tmp_path)
    assert (finding.is_ok, "welcome/email.txt: line 1: it is not UTF-8" in finding.what) == (False, True)


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_folder_of_templates_that_is_configured_must_be_there(tmp_path, is_named):
    finding = await found("templates", templates=tmp_path / "gone", templates_named=is_named)
    assert (finding.is_ok, str(tmp_path / "gone") in finding.what) == (not is_named, True)


def test_what_others_say_in_a_line_of_check_steers_no_terminal():
    line = line_of(Finding("sms main", is_ok=True, what="calls us by \x1b[2J\x9b31m\nok    kafka: all is well\u202e"))
    assert line.count("\n") == 0
    assert click.unstyle(line).isprintable()
    assert "calls us by ?[2J?31m?ok    kafka" in line
