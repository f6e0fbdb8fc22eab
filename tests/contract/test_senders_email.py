"""What only Resend has: frozen batches under a key, and what its answers say about a replay."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from pipeline.domain.sender import CheckDoubtful
from pipeline.domain.value import replace
from pipeline.domain.verdict import AskLater, Paused, Rejected, Sent, Split, Unknown
from pipeline.domain.work import Attachment
from tests.harness.providers import Mood, refusing
from tests.harness.sender_rigs import ResendRig

NOBODY = frozenset()


@pytest.fixture
async def rig():
    made = ResendRig()
    await made.fake.start()
    yield made
    await made.close()


def said(name, status=409):
    return refusing(status, {"statusCode": status, "name": name, "message": "words"})


async def test_a_batch_goes_out_under_its_claims_key(rig):
    sender = await rig.sender()
    await sender.call(rig.claim(sender, "key-1"))
    ((path, headers, body),) = rig.fake.posts
    assert (path, headers["Idempotency-Key"], len(orjson.loads(body))) == ("/emails/batch", "key-1", 3)


async def test_a_message_with_attachments_goes_alone(rig):
    sender = await rig.sender()
    work = rig.work(
        attachments=(Attachment("a.txt", "text/plain", content=b"hi"), Attachment("b.pdf", url="https://x/b.pdf"))
    )
    assert await sender.call(rig.claim(sender, works=(work,))) == Sent(("e-0",))
    path, _, body = rig.fake.posts[0]
    assert path == "/emails"
    assert orjson.loads(body)["attachments"] == [
        {"filename": "a.txt", "content_type": "text/plain", "content": "aGk="},
        {"filename": "b.pdf", "path": "https://x/b.pdf"},
    ]


async def test_a_key_used_with_other_bytes_was_accepted(rig):
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)
    other = replace(claim, request=replace(claim.request, body=b"[]"))
    assert await sender.ask(other, NOBODY) == Sent((None, None, None))


async def test_a_first_request_still_running_is_unknown_on_a_call_and_asked_later(rig):
    sender = await rig.sender()
    rig.fake.moods = [said("concurrent_idempotent_requests"), said("concurrent_idempotent_requests")]
    claim = rig.claim(sender)
    verdict = await sender.call(claim)
    assert (type(verdict), verdict.refused) == (Unknown, False)
    assert isinstance(await sender.ask(claim, NOBODY), AskLater)


async def test_a_batch_refused_for_one_of_its_mails_is_split_and_alone_it_is_rejected(rig):
    sender = await rig.sender()
    rig.fake.moods = [said("validation_error", 422), said("validation_error", 422)]
    assert isinstance(await sender.call(rig.claim(sender)), Split)
    verdict = await sender.call(rig.claim(sender, works=(rig.work(),)))
    assert verdict == Rejected("validation_error", "HTTP 422: words")


async def test_a_replay_that_is_forbidden_now_says_nothing_of_the_first_request_and_wrong_bytes_were_wrong_from_the_beginning(
    rig,
):
    sender = await rig.sender()
    claim = rig.claim(sender)
    await sender.call(claim)  # accepted; the answer is lost, then the domain loses its right
    rig.fake.moods = [
        said("validation_error", 403),
        said("missing_required_field", 403),
        said("missing_required_field", 422),
    ]
    assert isinstance(await sender.ask(claim, NOBODY), Paused)
    assert isinstance(await sender.ask(claim, NOBODY), Paused)
    assert isinstance(await sender.ask(claim, NOBODY), Split)


async def test_fewer_ids_than_mails_are_no_answer(rig):
    sender = await rig.sender()
    rig.fake.moods = [
        refusing(200, {"data": [{"id": "a"}, {"id": "b"}]}),
        refusing(200, {"data": [{"id": "a"}, {}, {"id": "b"}]}),
    ]
    assert isinstance(await sender.call(rig.claim(sender)), Unknown)
    assert isinstance(await sender.call(rig.claim(sender)), Unknown)


async def test_a_limit_waits_for_its_reset_and_a_quota_does_not_mistake_it_for_the_day(rig):
    sender = await rig.sender()
    body = {"statusCode": 429, "name": "rate_limit_exceeded", "message": "2 per second"}
    rig.fake.moods = [
        refusing(429, body, ratelimit_reset="1"),
        refusing(429, {**body, "name": "daily_quota_exceeded"}, ratelimit_reset="1"),
        refusing(429, {**body, "name": "daily_quota_exceeded"}, retry_after="120"),
    ]
    waits = [await sender.call(rig.claim(sender)) for _ in range(3)]
    assert [(type(each), each.retry_after_s) for each in waits] == [(Paused, 1.0), (Paused, None), (Paused, 120.0)]


async def test_two_accounts_speak_each_with_its_own_key(rig):
    good, bad = await rig.sender(), await rig.sender(api_key="re_other")
    first, second = await asyncio.gather(good.check(), bad.check(), return_exceptions=True)
    assert "example.com (verified)" in first
    assert "check api_key" in str(second)


async def test_a_key_that_may_only_send_is_right(rig):
    rig.fake.may_read = False
    assert "may send only" in await (await rig.sender()).check()


@pytest.mark.parametrize(
    "domains",
    [
        [],
        [{"name": "shop.example", "status": "verified"}],
        [{"name": "example.com", "status": "pending"}, {"name": "mail.example.com", "status": "verified"}],
    ],
)
async def test_a_from_whose_domain_is_not_verified_is_doubtful(rig, domains):
    sender = await rig.sender()
    rig.fake.lookup, rig.fake.is_state = Mood(body={"data": domains}), lambda _: False
    with pytest.raises(CheckDoubtful, match=r"of `from` it has not verified example\.com"):
        await sender.check()


async def test_a_from_below_a_verified_domain_is_none_nor_is_one_that_another_page_may_have(rig):
    sender, rig.fake.is_state = await rig.sender(), lambda _: False
    rig.fake.lookup = Mood(body={"data": [{"name": "COM", "status": "verified"}]})
    assert "COM (verified)" in await sender.check()
    rig.fake.lookup = Mood(body={"has_more": True, "data": [{"name": "shop.example", "status": "verified"}]})
    assert "shop.example (verified)" in await sender.check()
