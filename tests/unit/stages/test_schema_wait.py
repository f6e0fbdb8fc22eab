"""A record whose schema is not here waits by itself: everything else goes on, and what is missing is asked for together."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from base64 import b64encode

import httpx
import pytest

from pipeline.agents.router import RouterAgent
from pipeline.engine.agent import NotReady
from pipeline.metrics import Metrics
from pipeline.records import schemas
from pipeline.records.framing import TouchReader
from pipeline.records.registry import BELIEVED_S, Registry, RegistryAway
from pipeline.records.single_object import encode
from pipeline.secret import Address
from pipeline.stage_io import MemoryTable
from pipeline.stages import schema_wait as waiting
from tests.harness.route_rig import NOW, SMS, Entrance

AVRO = {**SMS, "variables": {}, "attachments": [], "headers": {}, "priority": 2, "metadata": {}}


class FakeRegistry:
    """Plays the registry's HTTP side: knows some ids, may be slow or away."""

    def __init__(self, known=(), seconds=0.0):
        self.known, self.seconds, self.away = set(known), seconds, False
        self.asked, self.at_once, self._lock, self._now = [], 0, threading.Lock(), 0
        self.now_s = 1_000.0
        self.registry = Registry(Address.read("http://registry.example"), lambda: self.now_s)
        self.registry._http = httpx.Client(transport=httpx.MockTransport(self.answer))

    def answer(self, request):
        schema_id = int(request.url.path.rsplit("/", 1)[1])
        with self._lock:
            self.asked.append(schema_id)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        if self.away:
            raise httpx.ConnectError("refused")
        if schema_id in self.known:
            return httpx.Response(200, json={"schema": schemas.current("touch").text})
        return httpx.Response(404, json={"error_code": 40403})


def framed(schema_id, touch_id="t1", **changes):
    return b"\x00" + schema_id.to_bytes(4, "big") + encode("touch", {**AVRO, "touch_id": touch_id, **changes})[10:]


class Agency(Entrance):
    """The door with a registry, and the agent that asks it."""

    def __init__(self, folder, fake):
        super().__init__(folder)
        self.fake = fake
        object.__setattr__(self.router._deps, "decoder", TouchReader(fake.registry))
        self.agent = RouterAgent(self.router, fake.registry, Metrics())
        self.agent.open(self.table, NOW, lambda: None)
        self.clock = NOW
        give_to, self.router = self.router, self.agent
        self.stage = give_to

    async def until_asked(self):
        while self.agent._fetching is not None and not self.agent._fetching.done():
            await asyncio.sleep(0.001)

    def give(self, *touches, now=None, partition=0):
        self.clock = now or self.clock + 1
        return super().give(*touches, now=self.clock, partition=partition)


@pytest.fixture
def fake():
    return FakeRegistry()


@pytest.fixture
def door(tmp_path, fake):
    return Agency(tmp_path, fake)


async def test_a_touch_of_a_new_schema_waits_and_those_behind_it_go_on(door, fake):
    fake.known = {7}
    door.give(framed(7, "new"), {**SMS, "touch_id": "json"})
    assert [e.touch_id for e in door.events] == ["json"]
    await door.until_asked()
    door.give()
    assert [(e.touch_id, e.state.value) for e in door.events] == [("new", "accepted")]
    door.give(framed(7, "known"))
    assert ([e.touch_id for e in door.events], fake.asked, door.stage.missing) == (["known"], [7], [])


async def test_what_waited_is_judged_as_it_came(door, fake):
    fake.known = {7}
    door.give(framed(7), b"\x00\x00\x00\x00\x08garbage")
    await door.until_asked()
    door.give()
    assert door.told() == [("accepted", None)]
    (letter,) = door.dead
    assert (letter["reason"], letter["error"]) == ("undecodable", "schema 8: the registry does not know it")
    assert (letter["value"], letter["source_offset"], letter["key"], letter["headers"]) == (
        b"\x00\x00\x00\x00\x08garbage",
        1,
        b"key",
        [{"name": "h", "value": b"v"}],
    )
    assert list(door.table.scan(waiting.ROOM, waiting.ROOM + b"\xff")) == []


@pytest.mark.parametrize("many", [1, 5, 20, 200])
async def test_schemas_that_are_missing_are_fetched_together_and_their_number_costs_nothing(door, fake, many):
    fake.seconds = 0.01
    began = time.monotonic()
    door.give(*[b"\x00" + n.to_bytes(4, "big") + b"garbage" for n in range(1, many + 1)], {**SMS, "touch_id": "behind"})
    assert [e.touch_id for e in door.events] == ["behind"]
    await door.until_asked()
    door.give()
    assert len(door.dead) == many
    assert sorted(fake.asked) == list(range(1, many + 1)), "each is asked for once"
    assert time.monotonic() - began < 5, "it took 2 to the power of their number, in seconds"


async def test_a_miss_is_remembered_for_a_minute(door, fake):
    for _ in range(3):
        door.give(framed(9))
        await door.until_asked()
        door.give()
    assert fake.asked == [9]
    fake.now_s += BELIEVED_S + 1
    fake.known = {9}
    door.give(framed(9))
    await door.until_asked()
    door.give()
    assert (door.told(), fake.asked) == ([("accepted", None)], [9, 9])


async def test_while_the_registry_is_away_what_needs_it_waits_and_all_else_goes_on(door, fake, caplog):
    fake.away = True
    for n in range(5):
        door.give(framed(7, f"a{n}"), {**SMS, "touch_id": f"j{n}"})
        assert [e.touch_id for e in door.events] == [f"j{n}"]
        await door.until_asked()
    assert len(fake.asked) <= 2, "once a second at most"
    assert [r.levelname for r in caplog.records if "wait" in r.getMessage()] == ["WARNING"]
    assert door.step.wake_ms == door.clock + 1_000
    fake.away, fake.known = False, {7}
    door.give(now=door.clock + 1_001)
    await door.until_asked()
    door.give()
    assert [e.touch_id for e in door.events] == [f"a{n}" for n in range(5)]


async def test_who_takes_over_finds_what_waits(door, fake, tmp_path):
    fake.away = True
    door.give(framed(7, "waits"))
    await door.until_asked()
    fake.away, fake.known = False, {7}
    successor = Agency(tmp_path, fake)
    successor.table = door.table
    successor.give(now=NOW + 5_000)
    await successor.until_asked()
    successor.give()
    assert [e.touch_id for e in successor.events] == ["waits"]


async def test_what_finds_no_room_waits_in_its_topic(door, fake, monkeypatch):
    monkeypatch.setattr(waiting, "MOST_RECORDS", 3)
    fake.away = True
    door.give(*[framed(7, f"a{n}") for n in range(3)])
    with pytest.raises(NotReady):
        door.give(framed(7, "a3"))
    await door.until_asked()
    fake.away, fake.known = False, {7}
    with pytest.raises(NotReady):
        door.give(framed(7, "a3"), now=door.clock + 2_000)
    await door.until_asked()
    door.give(framed(7, "a3"))
    assert [e.touch_id for e in door.events] == ["a0", "a1", "a2", "a3"]


@pytest.mark.parametrize("value", [b"\x00\xff\xff\xff\xffx", b"\x00\x80\x00\x00\x00x", b"\x00\x01"])
async def test_what_no_registry_can_have_is_undecodable_at_once(door, fake, value):
    door.give(value)
    assert ([d["reason"] for d in door.dead], fake.asked) == (["undecodable"], [])


async def test_another_kind_of_schema_is_refused_by_its_name(door, fake):
    fake.registry._http = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"schemaType": "JSON", "schema": "{}"}))
    )
    door.give(b"\x00\x00\x00\x00\x05" + json.dumps(SMS).encode())
    await door.until_asked()
    door.give()
    assert "schema of type JSON" in door.dead[0]["error"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="x" * 9_000),
        httpx.Response(200, text="<html>"),
        httpx.Response(401),
        httpx.Response(200, json=[]),
    ],
)
def test_an_answer_that_is_none_is_the_registrys_fault_in_a_line(fake, answer):
    fake.registry._http = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(RegistryAway) as away:
        fake.registry.fetch_all([1, 2, 3])
    assert len(str(away.value)) < 400


@pytest.mark.parametrize("fault", ["away", "401", "none"])
def test_the_registrys_password_goes_to_the_registry_and_into_no_error(fault, caplog):
    registry = Registry(Address.read("http://me:s3cr%20t-word@registry.example:8081/base"))
    asked = []

    def answer(request):
        asked.append(request)
        if fault == "away":
            raise httpx.ConnectError(f"no way to {request.url}")
        return httpx.Response(401 if fault == "401" else 200, text=f"who is {request.url}?")

    registry._http = httpx.Client(transport=httpx.MockTransport(answer), auth=registry._http.auth)
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistryAway) as away:
        registry.fetch(1)
    assert asked[0].headers["Authorization"] == "Basic " + b64encode(b"me:s3cr t-word").decode()
    assert asked[0].url.userinfo == b""
    for text in (str(away.value), repr(away.value), caplog.text):
        assert "s3cr" not in text
        assert "me:" not in text
    assert "http://registry.example:8081/base" in str(away.value)


def test_eight_are_asked_at_once_and_no_more(fake):
    fake.seconds = 0.02
    fake.registry.fetch_all(range(1, 40))
    assert 1 < fake.at_once <= 8


def test_without_waiting_records_a_step_leaves_no_trace(tmp_path):
    door = Entrance(tmp_path)
    door.give(SMS)
    assert door.router.missing == []
    assert isinstance(door.table, MemoryTable)
