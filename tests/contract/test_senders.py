"""The same cases for every sender: what goes out, when it must not, and what each failure means."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager

import pytest

from pipeline.channels import http
from pipeline.domain.sender import CheckFailed
from pipeline.domain.verdict import Absent, AskLater, Paused, Sent, Unanswerable, Unbegun, Unknown
from tests.harness.providers import DROPPED, RESET, Mood, refusing
from tests.harness.sender_rigs import RIGS, ResendRig, Rig

NOBODY = frozenset()


@pytest.fixture(params=RIGS, ids=lambda rig: rig.__name__)
async def rig(request):
    made = request.param()
    await made.fake.start()
    yield made
    await made.close()


@pytest.fixture(params=[each for each in RIGS if each.by_text], ids=lambda rig: rig.__name__)
async def text_rig(request):
    """Those whose provider can only be asked by the text."""
    made = request.param()
    await made.fake.start()
    yield made
    await made.close()


def ids(rig: Rig):
    return tuple(each["id" if "id" in each else "sid"] for each in rig.fake.accepted)


async def test_the_same_works_are_the_same_bytes_and_another_claim_has_another_handle(rig):
    sender = await rig.sender()
    first, again, other = (rig.claim(sender, claim_id).request for claim_id in ("c1", "c1", "c2"))
    assert first == again
    assert first.handle == "" or first.handle != other.handle


async def test_a_call_sends_the_bytes_of_the_claim_and_brings_an_id_per_touch(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    verdict = await sender.call(claim)
    ((path, headers, body),) = rig.fake.posts
    assert (path, headers["Content-Type"], body) == (claim.request.path, claim.request.content_type, claim.request.body)
    assert headers["Content-Length"] == str(len(body))
    assert verdict == Sent(ids(rig))


async def test_a_claim_holds_no_credential(rig):
    sender = await rig.sender()
    request = rig.claim(sender).request
    for secret in (b"waha-secret", b"re_secret", b"twilio-secret"):
        assert secret not in request.body
        assert secret not in request.path.encode()


async def test_after_the_lease_nothing_is_sent(rig):
    sender = await rig.sender()
    claim = rig.claim(sender, lease_ms=0)
    assert await sender.call(claim) == Unbegun()
    assert rig.fake.posts == []


async def test_the_clock_is_looked_at_last_when_the_socket_asks_for_the_body(rig):
    looks = []
    rig.fake.on_post = lambda: looks.append(rig.clock.looks)
    sender = await rig.sender()
    claim = rig.claim(sender)
    assert isinstance(await sender.call(claim), Sent)
    async with listening(b"") as (url, heard):
        late = await rig.sender(base_url=url)
        rig.clock.looks, rig.clock.jump_at = 0, looks[0]
        assert await late.call(claim) == Unbegun()
        await late.close()
    assert heard == []


@asynccontextmanager
async def listening(answer: bytes):
    """A server that calls a session WORKING and answers what sends with these bytes; keeps what it heard."""
    heard = []

    async def speak(reader, writer):
        said = await reader.read(100_000)
        if said.startswith(b"GET"):
            state = b'{"status":"WORKING"}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(state), state))
        elif said:
            heard.append(said)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    server.close()


async def test_a_lease_that_ends_while_connecting_sends_not_one_byte(rig, monkeypatch):
    loop = asyncio.get_running_loop()
    connect, connects = loop.sock_connect, []
    async with listening(b"") as (url, heard):
        sender = await rig.sender(base_url=url)
        claim = rig.claim(sender, lease_ms=1_000)

        async def slow(sock, address):
            connects.append(address)
            if len(connects) == (2 if rig.channel == "whatsapp" else 1):  # the first looks at the session
                rig.clock.ms = claim.lease_until_ms
            await connect(sock, address)

        monkeypatch.setattr(loop, "sock_connect", slow)
        assert await sender.call(claim) == Unbegun()
        assert rig.clock.ms == claim.lease_until_ms
        await sender.close()
    assert heard == []


async def test_a_millisecond_before_the_end_of_the_lease_a_call_may_begin(rig):
    sender = await rig.sender()
    assert isinstance(await sender.call(rig.claim(sender, lease_ms=1)), Sent)


async def test_nobody_listening_pauses_the_lane(rig):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender = await rig.sender(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        verdict = await sender.call(rig.claim(sender))
    assert isinstance(verdict, Paused)
    assert verdict.code == "connection"


async def test_a_name_that_is_none_pauses_the_lane(rig, monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    sender = await rig.sender(base_url="http://nowhere.invalid")
    verdict = await sender.call(rig.claim(sender))
    assert (type(verdict), verdict.code) == (Paused, "connection")


async def test_a_server_without_tls_pauses_the_lane(rig):
    sender = await rig.sender(base_url=rig.fake.base_url.replace("http:", "https:"))
    verdict = await sender.call(rig.claim(sender))
    assert (type(verdict), verdict.code) == (Paused, "connection")
    assert rig.fake.posts == []


async def test_a_handshake_that_never_ends_pauses_the_lane(rig):
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    sender = await rig.sender(base_url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_ms=100)
    verdict = await sender.call(rig.claim(sender))
    assert (type(verdict), verdict.code) == (Paused, "connection")
    server.close()


async def test_an_answer_lost_after_acceptance_is_unknown_and_found_when_asked(rig):
    sender = await rig.sender()
    rig.fake.moods = [DROPPED]
    claim = rig.claim(sender)
    assert isinstance(await sender.call(claim), Unknown)
    rig.clock.ms += 60_000
    assert await sender.ask(rig.renewed(claim), NOBODY) == Sent(ids(rig))
    assert len(rig.fake.accepted) == rig.count


async def test_a_request_reset_before_acceptance_is_unknown_and_turns_out_not_sent(rig):
    sender = await rig.sender()
    rig.fake.moods = [RESET]
    claim = rig.claim(sender)
    verdict = await sender.call(claim)
    assert isinstance(verdict, Unknown)
    assert not verdict.refused
    rig.clock.ms += 60_000
    resolution = await sender.ask(rig.renewed(claim), NOBODY)
    # A replay is a send: Resend now has it, once.
    assert resolution == (Sent(ids(rig)) if sender.replays else Absent())
    assert len(rig.fake.accepted) == (rig.count if sender.replays else 0)


async def test_an_answer_that_takes_too_long_is_unknown(rig):
    sender = await rig.sender(timeout_ms=150)
    late = asyncio.Event()
    rig.fake.moods = [Mood(late=late)]
    verdict = await sender.call(rig.claim(sender))
    assert verdict == Unknown("no_answer", "no answer: timed out")
    late.set()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{", b"\x00\x01 nonsense\r\n\r\n"],
    ids=["none", "cut off", "no http"],
)
async def test_an_answer_that_cannot_be_read_is_unknown(rig, answer):
    async with listening(answer) as (url, heard):
        sender = await rig.sender(base_url=url)
        verdict = await sender.call(rig.claim(sender))
        assert (type(verdict), verdict.code) == (Unknown, "no_answer")
        assert len(heard) == 1


async def test_a_connection_hung_up_while_idle_is_replaced(rig):
    sender = await rig.sender()
    assert isinstance(await sender.call(rig.claim(sender, "c1")), Sent)
    await rig.fake.hang_up()
    rig.clock.ms += 60_000
    assert isinstance(await sender.call(rig.claim(sender, "c2")), Sent)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
async def test_a_server_error_is_unknown_and_counts_as_a_refusal(rig, status):
    sender = await rig.sender()
    rig.fake.moods = [refusing(status, b"<html>down</html>")]
    verdict = await sender.call(rig.claim(sender))
    assert isinstance(verdict, Unknown)
    assert (verdict.code, verdict.refused) == (str(status), True)


async def test_429_pauses_until_the_provider_said(rig):
    sender = await rig.sender()
    rig.fake.moods = [refusing(429, {"message": "slow down"}, Retry_After="7"), refusing(429, b"")]
    first = await sender.call(rig.claim(sender, "c1"))
    second = await sender.call(rig.claim(sender, "c2"))
    assert (type(first), first.retry_after_s) == (Paused, 7.0)
    assert (type(second), second.retry_after_s) == (Paused, None)


async def test_a_wrong_key_pauses_the_lane(rig):
    key = "auth_token" if rig.channel == "sms" else "api_key"
    sender = await rig.sender(**{key: "wrong"})
    verdict = await sender.call(rig.claim(sender))
    assert isinstance(verdict, Paused)
    assert rig.fake.accepted == []


@pytest.mark.parametrize("status", [301, 307, 404])
async def test_a_wrong_base_url_pauses_the_lane(rig, status):
    sender = await rig.sender()
    rig.fake.moods = [refusing(status, b"<html>not here</html>", Location="/elsewhere")]
    assert isinstance(await sender.call(rig.claim(sender)), Paused)
    assert len(rig.fake.posts) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_no_redirect_is_followed_by_a_call_a_question_or_a_check(rig, status):
    other = type(rig)().fake
    await other.start()
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)
    moved = refusing(status, b"<html>moved</html>", Location=f"{other.base_url}/elsewhere")
    rig.fake.lookup, rig.fake.moods, rig.fake.is_state = moved, [moved, moved], lambda _: False
    rig.clock.ms += 60_000
    resolution = await sender.ask(rig.renewed(claim), NOBODY)
    assert isinstance(resolution, AskLater | Unknown | Paused)
    with pytest.raises(CheckFailed):
        await sender.check()
    assert not isinstance(await sender.call(rig.claim(sender, "c2")), Sent)
    assert (other.gets, other.posts) == ([], [])
    await other.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in</html>",
        b"",
        b"{}",
        b"[]",
        b"null",
        b"true",
        b'{"error":"boom"}',
        b'{"status":"ok"}',
        b'{"data":{}}',
        b'{"messages":[]}',
    ],
)
async def test_a_check_answered_by_something_else_fails(rig, body):
    sender = await rig.sender()
    rig.fake.lookup, rig.fake.is_state = Mood(body=body), lambda _: False
    with pytest.raises(CheckFailed):
        await sender.check()


async def test_a_400_in_the_words_of_a_proxy_rejects_nobody_for_good(rig):
    sender = await rig.sender()
    rig.fake.moods = [refusing(400, b"<html>Bad Request</html>")]
    verdict = await sender.call(rig.claim(sender, works=(rig.work(),)))
    assert isinstance(verdict, Paused)
    assert verdict.may_be_the_touch
    assert "Bad Request" in verdict.error


async def test_only_so_much_of_an_answer_is_read(rig, monkeypatch):
    monkeypatch.setattr(http, "BODY_LIMIT", 1_000)
    sender = await rig.sender()
    rig.fake.moods = [refusing(503, b"x" * 5_000_000)]
    assert isinstance(await sender.call(rig.claim(sender)), Unknown)
    rig.fake.lookup = Mood(body=b"x" * 5_000_000)
    assert 1_000 <= len((await sender._wire.get("/")).body) < 1_000_000


async def test_an_answer_that_trickles_in_for_ever_is_unknown(rig):
    async def trickle(reader, writer):
        said = await reader.read(100_000)
        state = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{"status":"WORKING"}'
        if said.startswith(b"GET"):
            writer.write(state)
        while not said.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\n" if said else b"X: x\r\n")
            said = b""
            await asyncio.sleep(0.02)
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    sender = await rig.sender(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_ms=150)
    assert await sender.call(rig.claim(sender)) == Unknown("no_answer", "no answer: timed out")
    server.close()


async def test_a_cancelled_call_stays_cancelled(rig):
    sender = await rig.sender()
    late, arrived = asyncio.Event(), asyncio.Event()
    rig.fake.moods, rig.fake.on_post = [Mood(late=late)], arrived.set
    task = asyncio.create_task(sender.call(rig.claim(sender)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    late.set()


async def test_a_sender_closed_under_a_call_leaves_it_unknown(rig):
    sender = await rig.sender()
    late, arrived = asyncio.Event(), asyncio.Event()
    rig.fake.moods, rig.fake.on_post = [Mood(late=late)], arrived.set
    task = asyncio.create_task(sender.call(rig.claim(sender)))
    await arrived.wait()
    await sender.close()
    assert isinstance(await task, Unknown)
    late.set()


async def test_a_provider_that_cannot_answer_a_question_is_asked_later(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    for trouble in (refusing(503, b"down"), refusing(429, None), refusing(401, None), RESET):
        rig.fake.lookup, rig.fake.moods = trouble, [trouble]
        resolution = await sender.ask(claim, NOBODY)
        assert isinstance(resolution, Paused | Unknown if sender.replays else AskLater)
    assert rig.fake.accepted == []


async def test_a_question_to_nobody_is_asked_later(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    await rig.fake.stop()
    assert isinstance(await sender.ask(claim, NOBODY), Paused if sender.replays else AskLater)


async def test_nonsense_in_answer_to_a_question_is_asked_later(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    for nonsense in (b"", b"null", b"[1,2", b'{"messages":7}', b"<html/>", b'{"id":7}'):
        rig.fake.lookup, rig.fake.moods = Mood(body=nonsense), [Mood(status=200, body=nonsense)]
        resolution = await sender.ask(claim, NOBODY)
        assert isinstance(resolution, Unknown if sender.replays else AskLater), nonsense


async def test_of_two_identical_texts_each_claim_finds_its_own(text_rig):
    rig = text_rig
    sender = await rig.sender()
    work = rig.work()
    mine, twin = rig.claim(sender, "c1", works=(work,)), rig.claim(sender, "c2", works=(work,))
    rig.fake.moods = [DROPPED]
    await sender.call(mine)
    await sender.call(twin)
    (first, second) = ids(rig)
    assert await sender.ask(mine, frozenset({second})) == Sent((first,))
    assert await sender.ask(mine, frozenset({first, second})) == Absent()


@pytest.mark.parametrize(("age_ms", "is_found"), [(0, True), (2_499, True), (2_501, False), (86_400_000, False)])
async def test_a_message_from_before_the_claim_is_not_its_own(text_rig, age_ms, is_found):
    rig = text_rig
    sender = await rig.sender()
    await sender.call(rig.claim(sender))
    rig.clock.ms += age_ms
    found = await sender.ask(rig.claim(sender), NOBODY)
    assert isinstance(found, Sent if is_found else Absent)


async def test_the_oldest_match_is_found_over_all_pages(text_rig):
    rig = text_rig
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)
    for number in range(1, 250):
        rig.clock.ms += 1_000
        await sender.call(rig.claim(sender, f"c{number}", works=(rig.work(number),)))
    assert await sender.ask(claim, NOBODY) == Sent((ids(rig)[0],))


async def test_a_resend_key_is_never_used_past_23_hours():
    rig = ResendRig()
    await rig.fake.start()
    sender = await rig.sender()
    claim = rig.claim(sender)
    rig.clock.ms += 23 * 3_600_000 - 5_000
    assert isinstance(await sender.ask(rig.renewed(claim), NOBODY), Sent)
    rig.clock.ms += 1
    assert isinstance(await sender.ask(rig.renewed(claim), NOBODY), Unanswerable)
    assert len(rig.fake.posts) == 1
    await rig.close()


async def test_check_says_one_line_and_sends_nothing(rig):
    sender = await rig.sender()
    line = await sender.check()
    assert line
    assert "\n" not in line
    assert rig.fake.base_url in line
    assert rig.fake.posts == []


async def test_check_fails_with_one_line_on_a_wrong_key_and_on_nobody(rig):
    key = "auth_token" if rig.channel == "sms" else "api_key"
    for sender in (await rig.sender(**{key: "wrong"}), await rig.sender(base_url="http://127.0.0.1:9")):
        with pytest.raises(CheckFailed) as failed:
            await sender.check()
        assert "\n" not in str(failed.value)
        assert "check " in str(failed.value)
        assert "wrong" not in str(failed.value)


async def test_nothing_of_a_touch_or_a_key_is_logged(rig, caplog):
    caplog.set_level(logging.DEBUG)
    sender = await rig.sender()
    rig.fake.moods = [DROPPED]
    claim = rig.claim(sender)
    await sender.call(claim)
    await sender.ask(rig.renewed(claim), NOBODY)
    await sender.check()
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.split(".")[0] != "aiohttp")
    for secret in ("hello", "2125550123", "ada@", "secret"):
        assert secret not in said
