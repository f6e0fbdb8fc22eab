"""The agent of the deliveries: it asks for hidden numbers until it has them, and an outage loses nothing."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from pipeline.agents import deliveries as agent_module
from pipeline.agents.deliveries import DeliveriesAgent
from pipeline.channels.whatsapp.sender import WahaSender
from pipeline.domain.account import WahaAccount
from pipeline.domain.address_hash import address_hash
from pipeline.domain.sender_policy import WahaEngine
from pipeline.domain.work import Channel
from pipeline.metrics import Metrics
from pipeline.stage_io import Record
from tests.unit.stages.test_deliveries import T0, Rig, encoded
from tests.unit.stages.test_hidden_accounts import KEY, LID, NUMBER, stop


class Engine:
    """Runs an agent's steps and commits them."""

    def __init__(self, answers):
        self.rig, self.answers, self.asked = Rig(), answers, []
        self.woken = asyncio.Event()
        self.metrics = Metrics()
        self.agent = self.opened()

    def opened(self):
        self.rig.restart()
        agent = DeliveriesAgent(self.rig.stage, self.metrics, 3, self._ask)
        agent.open(self.rig.table, T0, self.woken.set)
        return agent

    async def _ask(self, sender, lid):
        self.asked.append((sender, lid))
        return self.answers.pop(0) if self.answers else ()

    def step(self, *values):
        records = [Record("touches.callbacks", 0, at, T0, b"k", encoded(value)) for at, value in enumerate(values)]
        step = self.agent.step(records, self.rig.table, T0)
        self.rig.table.apply(step.changes)
        self.rig.outputs += step.outputs
        self.agent.committed(step)

    def pending(self):
        return self.metrics.registry.get_sample_value("pipeline_pending_opt_outs")


async def test_a_hidden_number_is_asked_for_at_once_and_again_until_it_is_told(monkeypatch):
    monkeypatch.setattr(agent_module, "ASK_AGAIN_S", 0.0)
    engine = Engine([(), (), (NUMBER,)])
    assert engine.pending() == 0
    engine.step(stop())
    assert engine.pending() == 1
    async with asyncio.timeout(20):
        await engine.woken.wait()
    engine.step()
    assert [key for key, _ in engine.rig.entries] == [KEY]
    assert (engine.pending(), set(engine.asked)) == (0, {("wa", LID)})
    await engine.agent.close()


async def test_a_new_owner_asks_again_and_what_was_not_committed_is_asked_for_anew():
    engine = Engine([(NUMBER,), (NUMBER,)])
    engine.step(stop())
    await engine.woken.wait()
    await engine.agent.close()  # killed before its next step
    assert engine.pending() == 0
    engine.woken.clear()
    engine.agent = engine.opened()
    assert engine.pending() == 1
    async with asyncio.timeout(20):
        await engine.woken.wait()
    engine.step()
    assert ([key for key, _ in engine.rig.entries], engine.pending()) == ([KEY], 0)
    await engine.agent.close()


@pytest.mark.parametrize(
    ("status", "body", "is_told"),
    [
        (200, {"lid": LID, "pn": "12125550123@c.us"}, True),
        (200, {"lid": LID, "pn": None}, False),
        (200, [], False),
        (404, {"pn": "12125550123@c.us"}, False),
        (500, "oops", False),
        (None, None, False),
    ],
)
async def test_waha_tells_the_number_or_nothing(status, body, is_told):
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        if status is None:
            raise httpx.ConnectError("away")
        return httpx.Response(status, json=body)

    account = WahaAccount("s 1", "http://waha.example", None, WahaEngine.NOWEB)
    transport = httpx.MockTransport(answer)
    sender = WahaSender(account, request_timeout_ms=1_000, now_ms=lambda: T0, transport=transport)
    await sender.open()
    try:
        found = await sender.people_behind(LID, b"k" * 32)
    finally:
        await sender.close()
    assert found == ((address_hash(Channel.WHATSAPP, "+12125550123", b"k" * 32),) if is_told else ())
    assert asked[0] == "/api/s%201/lids/99%40lid"
