"""What only Twilio has: a Messaging Service or a number, and a list that must tell whose message is whose."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from pipeline.domain.verdict import Absent, AskLater, Sent
from tests.harness.providers import DROPPED, answering, refusing
from tests.harness.sender_rigs import TwilioRig

NOBODY = frozenset()


@pytest.fixture
async def rig():
    made = TwilioRig()
    await made.fake.start()
    yield made
    await made.close()


async def test_a_messaging_service_is_asked_for_its_own_messages(rig):
    number, service = await rig.sender(), await rig.sender(service="MG1")
    rig.fake.moods = [DROPPED]
    claim = rig.claim(service)
    await service.call(claim)
    said = parse_qs(rig.fake.posts[0][2].decode())
    assert said["MessagingServiceSid"] == ["MG1"]
    assert "From" not in said
    assert await service.ask(claim, NOBODY) == Sent((rig.fake.accepted[0]["sid"],))
    assert await number.ask(rig.claim(number), NOBODY) == Absent()


async def test_the_claims_own_sender_counts_after_the_configuration_changed(rig):
    number, service = await rig.sender(), await rig.sender(service="MG1")
    rig.fake.moods = [DROPPED]
    claim = rig.claim(number)
    await number.call(claim)
    assert await service.ask(claim, NOBODY) == Sent((rig.fake.accepted[0]["sid"],))


@pytest.mark.parametrize(
    "change",
    [
        {"direction": "inbound"},
        {"direction": "outbound-reply"},
        {"body": "hello 0 "},
        {"from": "+15005550009"},
        {"to": "+12125550199"},
    ],
)
async def test_a_message_that_differs_is_another(rig, change):
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)
    rig.fake.accepted[0].update(change)
    rig.fake.look_up, kept = _unfiltered(rig.fake), rig.fake.look_up
    assert await sender.ask(claim, NOBODY) == Absent()
    rig.fake.look_up = kept


def _unfiltered(fake):
    return lambda request: answering(200, {"messages": fake.accepted, "uri": request.path_qs, "next_page_uri": None})


async def test_a_trial_accounts_prefix_is_seen_through(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)
    rig.fake.accepted[0]["body"] = "Sent from your Twilio trial account - hello 0"
    assert isinstance(await sender.ask(claim, NOBODY), Sent)


async def test_the_list_is_asked_by_number_alone(rig):
    sender = await rig.sender()
    await sender.ask(rig.claim(sender), NOBODY)
    assert rig.fake.gets == ["/2010-04-01/Accounts/AC1/Messages.json?To=%2B12125550123&PageSize=500"]


async def test_a_list_that_never_ends_is_no_answer(rig):
    sender = await rig.sender()
    rig.fake.lookup = refusing(
        200, {"messages": [], "uri": "/x", "next_page_uri": "/2010-04-01/Accounts/AC1/Messages.json?Page=1"}
    )
    assert isinstance(await sender.ask(rig.claim(sender), NOBODY), AskLater)
    assert len(rig.fake.gets) == 40


@pytest.mark.parametrize(
    "more",
    [
        "http://127.0.0.1:{other}/x",
        "http://127.0.0.1:{other}/2010-04-01/Accounts/AC1/Messages.json?Page=1",
        "http://localhost:{own}/x",
        "https://127.0.0.1:{own}/x",
        "http://127.0.0.1:{own}@127.0.0.1:{other}/x",
        "@127.0.0.1:{other}/x",
        ".evil.example.com/x",
        "1/x",
        "http://127.0.0.2:{own}/x",
        "http://[::1]:{other}/x",
        "ftp://127.0.0.1:{own}/x",
        "http://u:p@127.0.0.1:{own}/x",
        "http:///x",
        "http://127.0.0.1:{own}:{other}/x",
        "://127.0.0.1:{other}/x",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("member", ["next_page_uri", "next_page_url"])
async def test_a_next_page_elsewhere_is_not_asked_for(rig, more, member):
    other = TwilioRig().make_fake()
    await other.start()
    sender = await rig.sender()
    claim = rig.claim(sender)
    said = {"messages": [], member: more.format(own=rig.fake.port, other=other.port)}
    rig.fake.lookup = refusing(200, said)
    resolution = await sender.ask(claim, NOBODY)
    assert isinstance(resolution, AskLater)
    assert "another host" in resolution.error or "InvalidURL" in resolution.error
    assert (len(rig.fake.gets), other.gets) == (1, [])
    await other.stop()


async def test_a_next_page_is_asked_for_by_its_whole_address_too(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    more = f"{rig.fake.base_url}/2010-04-01/Accounts/AC1/Messages.json?Page=1"
    answers = [{"messages": [], "next_page_url": more}, {"messages": [], "next_page_url": None}]
    rig.fake.look_up = lambda _: answering(200, answers.pop(0))
    assert await sender.ask(claim, NOBODY) == Absent()
    assert rig.fake.gets[-1].endswith("Page=1")


async def test_the_list_says_when_to_ask_again(rig):
    sender = await rig.sender()
    rig.fake.lookup = refusing(429, {"code": 20429, "message": "Too Many Requests", "status": 429}, retry_after="9")
    resolution = await sender.ask(rig.claim(sender), NOBODY)
    assert resolution == AskLater("the look-up answered HTTP 429: Too Many Requests", 9.0)
