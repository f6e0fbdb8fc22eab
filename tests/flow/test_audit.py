"""Who acts leaves a record, in one transaction with the effect: no effect without record, no record of what did not happen."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import signal
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import flow
from pipeline.console.dead_letters.replay import replay
from pipeline.console.dead_letters.work import DeadLetters
from pipeline.console.operator import system_user
from pipeline.console.suppressions.rows import ImportDefaults
from pipeline.console.suppressions.work import add, import_file, lift
from pipeline.console.unconfirmed.work import OperatorAnswer, record
from pipeline.domain.audit import Acted, Door, Role, Who
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Claim, Request
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.suppressions import SuppressionLog
from pipeline.kafka.topic import RecordPosition
from pipeline.records import encode_unconfirmed
from pipeline.records.single_object import decode
from pipeline.records.writing import dead_letter_value, single_object
from pipeline.web.problem import Problem
from pipeline.web.rights import Rights
from tests.harness.control import ControlRoom
from tests.harness.lane_rig import work
from tests.harness.web_rig import T0, command_context

if TYPE_CHECKING:
    from pathlib import Path

BOB = Who("bob", Role.OPERATOR, Door.API, "10.0.0.1")
LETTER = DeadLetter(DeadReason.UNDECODABLE, "no touch", "touches", 1, 5, b"k", b"\xff", [], None, T0)
LEFT = Unconfirmed(Claim("c1", (work("t-1", origin=1),), Request("/send", b"", "text/plain", ""), T0, T0), T0, "lost")


@pytest.fixture
async def room(kafka: list[str], topic_prefix: str, tmp_path: Path) -> ControlRoom:
    room = ControlRoom(kafka[0], topic_prefix, tmp_path)
    await room.make_topics()
    return room


async def audits(room: ControlRoom) -> list[dict[str, Any]]:
    return [decode("audit", value) for value in await room.values(flow.AUDIT)]


def entry(lead: str) -> Suppression:
    return Suppression(Scope.ANY, lead_id=lead, reason=SuppressionReason.MANUAL, by="bob", at_ms=T0)


async def test_each_act_leaves_one_record_that_names_it_and_nothing_else_does(room: ControlRoom):
    context, prefix = command_context(room.cluster), room.cluster.topic_prefix
    note = "asked by ann@example.com, +12125550001"
    assert (await room.run("pause", "--campaign", "spring", "--note", note, "--no-wait"))[0] == 0
    assert (await room.run("pause", "--campaign", "spring", "--note", note, "--dry-run"))[0] == 0
    await add(context, entry("ann"), BOB)
    await lift(context, [entry("ann"), entry("eve")], BOB, note="came back")
    lines = b"".join(b'{"lead_id": "l-%d"}\n' % n for n in range(1_500))
    defaults = ImportDefaults(by="bob", at_ms=T0, privacy_key=b"")
    for _ in range(2):  # the second time everything is there already
        done = await import_file(
            context, io.BytesIO(lines), defaults, BOB, complain=pytest.fail, progress=lambda _: None
        )
    assert (done.new, done.known) == (0, 1_500)
    dead = replace(LETTER, source_topic=f"{prefix}touches")
    await room.write(flow.DEAD_LETTERS, (b"k", dead_letter_value(single_object, dead)), (b"k", b"\xc3\x01junk"))
    letters = DeadLetters(context.cluster, context.read_dead_letter, lambda _: None)
    (place,) = await replay(
        context, letters.at([RecordPosition(0, 0)]), BOB, new_id=None, refuse=pytest.fail, progress=lambda _: None
    )
    assert place == RecordPosition(1, 0)
    await room.write(flow.UNCONFIRMED, (b"t-1", encode_unconfirmed(LEFT)))
    for _ in range(2):
        await record(context, "t-1", OperatorAnswer(Resolved.NOT_SENT), BOB, pytest.fail)
    with pytest.raises(Problem):
        await Rights(context).demand(replace(BOB, role=Role.VIEWER), Role.OPERATOR, Acted.CANCEL, "cancel:lead=ann")
    told = await audits(room)
    assert [(each["action"], each["target"], each["result"]) for each in told] == [
        ("pause", "pause:campaign=spring", "done"),
        ("suppress", "*:lead:ann:manual", "done"),
        ("lift", "*:lead:ann:manual", "done"),
        ("lift", "*:lead:eve:manual", "done"),
        ("import", "touches.suppressions", "done"),
        ("replay", "0/0", "done"),
        ("resolve", "t-1", "done"),
        ("cancel", "cancel:lead=ann", "forbidden"),
    ]
    first, second = told[:2]
    assert (first["by"], first["door"], first["role"], first["remote"]) == (system_user(), "cli", None, None)
    assert first["note"] == "asked by ***, ***", "no address"
    assert (second["by"], second["door"], second["role"], second["remote"]) == ("bob", "api", "operator", "10.0.0.1")
    assert len({each["id"] for each in told}) == len(told)


async def test_what_kafka_did_not_take_has_neither_effect_nor_record(
    room: ControlRoom, monkeypatch: pytest.MonkeyPatch
):
    async def broken(self: Any) -> None:
        raise OSError("the line is cut")

    context = command_context(room.cluster)
    with monkeypatch.context() as patched:
        patched.setattr("aiokafka.AIOKafkaProducer.commit_transaction", broken)
        with pytest.raises(CommandFailed):
            await add(context, entry("ann"), BOB)
    await add(context, entry("eve"), BOB)
    assert await standing(room) == [each["target"] for each in await audits(room)] == ["*:lead:eve:manual"]


async def standing(room: ControlRoom) -> list[str]:
    context = command_context(room.cluster)
    async with aclosing(SuppressionLog(room.cluster, context.read_suppression, pytest.fail).entries()) as entries:
        return [placed.entry.key async for placed in entries]


def keep_adding(servers: list[str], prefix: str) -> None:
    async def add_all() -> None:
        context = command_context(Cluster({"bootstrap_servers": servers}, prefix))
        for number in range(100_000):
            await add(context, entry(f"{os.getpid()}-{number}"), BOB)

    asyncio.run(add_all())


async def test_kills_leave_no_effect_without_record_and_no_record_without_effect(room: ControlRoom):
    servers = room.cluster.connection["bootstrap_servers"]
    start = multiprocessing.get_context("spawn").Process
    workers = [start(target=keep_adding, args=(servers, room.cluster.topic_prefix)) for _ in range(2)]
    for each in workers:
        each.start()
    async with asyncio.timeout(120):
        for count, each in enumerate(workers):
            while len(await standing(room)) < 3 * (count + 1):
                await asyncio.sleep(0.01 * count)
            os.kill(each.pid, signal.SIGKILL)
        # What is open when its process dies hides what comes behind it, until its transaction ends.
        await add(command_context(room.cluster), entry("last"), BOB)
        while (found := await standing(room))[-1:] != ["*:lead:last:manual"]:
            await asyncio.sleep(0.2)
        while (told := [each["target"] for each in await audits(room)])[-1:] != ["*:lead:last:manual"]:
            await asyncio.sleep(0.2)
    assert sorted(found) == sorted(told)
