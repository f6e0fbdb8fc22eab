"""What only WAHA has: a session that must be WORKING, and engines that differ."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.channels.whatsapp import sender as waha
from pipeline.domain.sender import CheckFailed
from pipeline.domain.verdict import Absent, AskLater, Paused, Sent
from tests.harness.providers import DROPPED, refusing
from tests.harness.sender_rigs import WahaRig, WebjsRig

NOBODY = frozenset()


@pytest.fixture
async def rig():
    made = WahaRig()
    await made.fake.start()
    yield made
    await made.close()


@pytest.mark.parametrize(
    "status", ["STOPPED", "STARTING", "SCAN_QR_CODE", "PASSKEY_REQUIRED", "PASSKEY_CONFIRMATION_REQUIRED", "FAILED"]
)
async def test_a_session_that_is_not_working_pauses_without_a_send(rig, status):
    sender = await rig.sender()
    rig.fake.status = status
    verdict = await sender.call(rig.claim(sender))
    assert verdict == Paused("session", f"the session is {status}")
    assert rig.fake.posts == []
    rig.fake.status = "WORKING"
    assert isinstance(await sender.call(rig.claim(sender)), Sent)


async def test_a_working_session_is_believed_for_two_seconds(rig):
    sender = await rig.sender()
    for number, wait_ms in enumerate((0, 1_000, 999, 1, 2_000)):
        rig.clock.ms += wait_ms
        assert isinstance(await sender.call(rig.claim(sender, f"c{number}")), Sent)
    assert rig.fake.gets == ["/api/sessions/default"] * 3


async def test_a_session_that_a_send_found_lost_is_looked_at_again_at_once(rig):
    sender = await rig.sender()
    rig.fake.moods = [
        refusing(422, {"error": "Session status is not as expected.", "status": "FAILED", "expected": ["WORKING"]})
    ]
    assert isinstance(await sender.call(rig.claim(sender)), Paused)
    rig.fake.status = "FAILED"
    assert (await sender.call(rig.claim(sender))).code == "session"


async def test_an_unknown_session_pauses(rig):
    sender = await rig.sender()
    rig.fake.is_state = lambda _: False
    rig.fake.lookup = refusing(404, {"message": "We didn't find a session with name 'default'", "statusCode": 404})
    assert (await sender.call(rig.claim(sender))).code == "404"
    assert rig.fake.posts == []


async def test_a_slow_look_at_the_session_ends_with_the_lease(rig, monkeypatch):
    monkeypatch.setattr(waha, "SHORTEST_LOOK_S", 0.05)
    sender = await rig.sender(timeout_ms=60_000)
    stuck = asyncio.Event()
    rig.fake.stuck = stuck
    verdict = await sender.call(rig.claim(sender, lease_ms=50))
    assert (type(verdict), verdict.code) == (Paused, "connection")
    assert rig.fake.posts == []
    stuck.set()


async def test_an_engine_that_ignores_our_ids_is_not_sent_through(rig):
    sender = await rig.sender()
    rig.fake.engine = "WEBJS"
    claim = rig.claim(sender)
    verdict = await sender.call(claim)
    assert (type(verdict), verdict.code) == (Paused, "engine")
    assert isinstance(await sender.ask(claim, NOBODY), AskLater)
    with pytest.raises(CheckFailed, match="set the sender's engine"):
        await sender.check()
    assert rig.fake.posts == []


async def test_asked_by_id_after_the_engine_was_changed_the_text_decides():
    rig = WebjsRig()
    await rig.fake.start()
    sender = await rig.sender()
    rig.fake.moods = [DROPPED]
    claim = rig.claim(sender)
    await sender.call(claim)
    rig.fake.engine = "NOWEB"
    by_id = await rig.sender(engine="NOWEB")
    assert await by_id.ask(claim, NOBODY) == Sent((rig.fake.accepted[0]["id"],))
    await rig.close()


async def test_the_look_up_names_the_session_and_the_id_of_the_claim(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    assert await sender.ask(claim, NOBODY) == Absent()
    assert rig.fake.gets[-1] == f"/api/default/chats/all/messages/{claim.request.handle}?downloadMedia=false"


@pytest.mark.parametrize(
    "body",
    [
        {"message": "We didn't find a session with name 'default'", "statusCode": 404},
        {"message": "Cannot GET /api/default/chats/all/messages/1", "statusCode": 404},
        {"statusCode": 404},
        b"<html>nginx</html>",
        b"",
    ],
)
async def test_only_a_404_about_the_message_says_that_it_is_absent(rig, body):
    sender = await rig.sender()
    rig.fake.lookup = refusing(404, body)
    assert isinstance(await sender.ask(rig.claim(sender), NOBODY), AskLater)


async def test_a_session_that_is_not_working_is_not_asked(rig):
    sender = await rig.sender()
    rig.fake.status = "SCAN_QR_CODE"
    assert isinstance(await sender.ask(rig.claim(sender), NOBODY), AskLater)
    assert rig.fake.gets == ["/api/sessions/default"]
