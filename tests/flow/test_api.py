"""The API end to end: real web processes, a real worker; what is told, what is done, and its audit through kills."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiokafka import ConsumerRecord

from pipeline import flow
from pipeline.domain.token import token_hash
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.records.single_object import decode
from tests.harness.callbacks import CallbackStack
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADA = {"Authorization": "Bearer ada"}
USERS = f'[[web.users]]\nname = "ada"\nrole = "admin"\ntoken_hash = "{token_hash("ada")}"\n'
TOUCHES = 6


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[CallbackStack]:
    stack = CallbackStack(kafka, topic_prefix, tmp_path, top=USERS)
    yield stack
    stack.stop_all()


async def test_what_is_asked_of_web_processes_is_told_done_and_recorded_through_their_kills(stack: CallbackStack):
    stack.start_sandbox()
    stack.start(0)
    await stack.wait_for_work(0)
    for number in (0, 1):
        stack.start_web(number)
    await asyncio.gather(stack.wait_for_web(0), stack.wait_for_web(1))
    async with httpx.AsyncClient(timeout=30, headers=ADA) as client:
        await an_order_holds_what_comes_and_says_so(stack, client)
        await both_processes_tell_the_same(stack, client)
        await acts_and_records_agree_after_kills(stack, client)


async def an_order_holds_what_comes_and_says_so(stack: CallbackStack, client: httpx.AsyncClient) -> None:
    order = {"action": "pause", "target": {"lead": "lead-0"}, "note": "asked to", "wait": 30}
    given = await client.post(f"{api(stack)}/orders", json=order)
    assert (given.status_code, given.json()["in_force"], given.json()["by"]) == (200, True, "ada"), given.text
    sent = [touch("sms", number, lead_id=f"lead-{number % 2}") for number in range(TOUCHES)]
    await stack.produce(sent)
    assert await stack.follow(lambda: stack.ended() == TOUCHES // 2, deadline_s=60)
    held = sent[0]["touch_id"]
    waits = await told(client, f"{api(stack)}/touches/{held}", lambda found: found["waits"] is not None)
    assert (waits["waits"]["why"], waits["waits"]["orders"]) == ("order", ["pause:lead=lead-0"])
    conflict = await client.post(f"{api(stack)}/orders", json={**order, "action": "resume", "target": {"lead": "x"}})
    assert conflict.status_code == 409
    resumed = await client.post(f"{api(stack, 1)}/orders", json={**order, "action": "resume"})
    assert resumed.status_code == 200
    assert await stack.follow(stack.all_ended, deadline_s=60)


async def both_processes_tell_the_same(stack: CallbackStack, client: httpx.AsyncClient) -> None:
    def all_sent(found: dict[str, Any]) -> bool:
        return Counter(each["state"] for each in found["touches"]) == {"sent": TOUCHES // 2}

    lists = [await told(client, f"{api(stack, each)}/touches?lead=lead-0", all_sent) for each in (0, 1)]
    assert lists[0]["touches"] == lists[1]["touches"]
    one = lists[0]["touches"][0]["touch_id"]
    whole = (await client.get(f"{api(stack)}/touches/{one}")).json()
    assert [each["state"] for each in whole["statuses"]] == [each["state"] for each in stack.stories[one]]
    assert whole["waits"] is None
    lanes = (await client.get(f"{api(stack)}/lanes")).json()["lanes"]
    assert {(each["channel"], each["sender"]) for each in lanes} >= {("sms", "default")}
    private = f"http://{stack.private[0]}"
    login = await client.post(f"{private}/login", data={"token": "ada"}, headers={"Authorization": ""})
    cookie = {"Cookie": login.headers["set-cookie"].partition(";")[0]}
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(f"{api(stack, 1)}/audit", headers=cookie)).status_code == 200, "of the other process"
        assert (await browser.get(f"{api(stack, 1)}/audit")).status_code == 401


async def acts_and_records_agree_after_kills(stack: CallbackStack, client: httpx.AsyncClient) -> None:
    async def add(number: int) -> None:
        with suppress(httpx.HTTPError):  # the process was killed: it is done, or it is not
            await client.post(f"{api(stack, number % 2)}/suppressions", json={"lead_id": f"many-{number}"})

    for batch in range(3):
        adding = [asyncio.create_task(add(10 * batch + number)) for number in range(10)]
        await asyncio.wait(adding, return_when=asyncio.FIRST_COMPLETED)
        stack.kill_web(batch % 2)
        await asyncio.gather(*adding)
        await stack.wait_for_web(batch % 2)
    last = await client.post(f"{api(stack)}/suppressions", json={"lead_id": "last", "wait": 60})
    assert last.status_code == 200, last.text
    async with asyncio.timeout(60):  # a transaction of a killed process ends by itself, 10 s later
        while not (
            (entries := await values(stack, flow.SUPPRESSIONS, "suppression"))[-1:]
            and entries[-1]["lead_id"] == "last"
            and (audits := await values(stack, flow.AUDIT, "audit"))[-1]["target"] == "*:lead:last:manual"
        ):
            await asyncio.sleep(0.2)
    added = [each["target"] for each in audits if each["action"] == "suppress"]
    assert sorted(added) == sorted(f"*:lead:{each['lead_id']}:manual" for each in entries)
    orders = [(each["action"], each["target"], each["door"], each["result"]) for each in audits[:2]]
    assert orders == [("pause", "pause:lead=lead-0", "api", "done"), ("resume", "pause:lead=lead-0", "api", "done")]


def api(stack: CallbackStack, number: int = 0) -> str:
    return f"http://{stack.private[number]}/api/v1"


async def told(client: httpx.AsyncClient, url: str, is_enough: Any) -> Any:
    """Return the first answer that is enough: the copy is some moments behind."""
    async with asyncio.timeout(30):
        while not ((answer := await client.get(url)).status_code == 200 and is_enough(answer.json())):
            await asyncio.sleep(0.1)
    return answer.json()


async def values(stack: CallbackStack, topic: str, name: str) -> list[dict[str, Any]]:
    """Return the committed records of a topic."""

    def read(record: ConsumerRecord) -> dict[str, Any]:
        return decode(name, record.value)

    source = TopicSource(Cluster({"bootstrap_servers": stack.servers}, stack.prefix), topic, read, lambda _: 0, print)
    async with aclosing(read_topic(source)) as records:
        return [each async for each in records]
