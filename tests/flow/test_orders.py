"""Orders as an operator types them: what is written, when a command says done, and what each bad line is answered."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import flow
from pipeline.console.operator import system_user
from pipeline.domain.order import Action, Order, Target
from pipeline.kafka.control import PlacedOrder, read_control
from pipeline.records.control import encode_order
from pipeline.records.single_object import decode
from tests.harness.control import ControlRoom, Lanes

if TYPE_CHECKING:
    from pathlib import Path

NOTE = ("--note", "wrong price")
SMS = ["sms/a", "sms/b"]
ALL = [*SMS, "email/default"]
DAY_MS = 86_400_000


@pytest.fixture
async def room(kafka: list[str], topic_prefix: str, tmp_path: Path) -> ControlRoom:
    room = ControlRoom(kafka[0], topic_prefix, tmp_path)
    await room.make_topics()
    return room


async def orders(room: ControlRoom) -> dict[str, PlacedOrder]:
    return (await read_control(room.cluster, pytest.fail)).orders


async def ordered(room: ControlRoom, *command: str) -> dict[str, Any]:
    """Give an order with --json; return the object."""
    code, out, err = await room.run("--json", *command, *NOTE)
    assert (code, err) == (0, ""), (out, err)
    return json.loads(out)


async def test_a_pause_is_done_when_every_lane_concerned_obeys(room: ControlRoom):
    async with Lanes(room):
        code, out, err = await room.run("pause", "--campaign", "spring", *NOTE)
    assert (code, err) == (0, "")
    assert out.startswith("pause:campaign=spring is in force")
    assert out.count("\n") == 1
    (placed,) = (await orders(room)).values()
    assert (placed.order.note, placed.order.by, placed.order.until_ms) == ("wrong price", system_user(), None)
    assert abs(placed.order.at_ms - time.time() * 1000) < 60_000


async def test_an_order_that_lanes_do_not_obey_stands_and_ends_with_1(room: ControlRoom):
    code, out, err = await room.run("--json", "pause", "--channel", "sms", *NOTE, "--timeout", "1s")
    assert code == 1, "no worker is running"
    assert json.loads(out)["missing"] == SMS
    assert "sms/a, sms/b" in err
    async with Lanes(room, "sms/b"):
        code, out, err = await room.run("pause", "--channel", "sms", *NOTE, "--timeout", "2s")
    assert code == 1
    assert out.startswith("pause:channel=sms is committed, not in force yet")
    assert err == "the order stands, but these lanes do not obey yet: sms/b\n"
    async with Lanes(room, "sms/b", one_short=True):
        assert (await room.run("pause", "--channel", "sms", *NOTE, "--timeout", "2s"))[0] == 1
    assert list(await orders(room)) == ["pause:channel=sms"]


async def test_no_wait_ends_at_the_commit_and_a_channel_that_is_off_has_no_lanes(room: ControlRoom):
    shown = await ordered(room, "pause", "--all", "--no-wait")
    assert (shown["in_force"], shown["missing"], shown["target"]) == (False, [ALL[2], *SMS], "all")
    shown = await ordered(room, "pause", "--channel", "whatsapp")
    assert (shown["in_force"], shown["missing"]) == (True, [])


async def test_json_shows_the_whole_order_and_counts_its_touches(room: ControlRoom):
    await room.tell(
        {"touch_id": "t-1"},
        {"touch_id": "t-1", "state": "deferred"},
        {"touch_id": "t-2"},
        {"touch_id": "t-2", "state": "sent"},
        {"touch_id": "t-3", "campaign_id": "autumn"},
        {"touch_id": "t-4", "sender": "b"},
        {"touch_id": "t-5", "channel": "email", "sender": "default"},
    )
    async with Lanes(room):
        shown = await ordered(room, "pause", "--campaign", "spring", "--channel", "sms", "--by", "ann", "--until", "2h")
    at = shown.pop("at")
    assert shown.pop("until") == at + 7_200_000
    assert shown == {
        "key": "pause:campaign=spring;channel=sms",
        "action": "pause",
        "target": {"campaign": "spring", "channel": "sms"},
        "note": "wrong price",
        "by": "ann",
        "offset": 0,
        "in_force": True,
        "missing": [],
        "touches": 2,
    }


async def test_a_dry_run_writes_nothing_and_shows_lanes_and_touches(room: ControlRoom):
    await room.tell({"touch_id": "t-1"}, {"touch_id": "t-2"})
    code, out, _ = await room.run("--json", "cancel", "--campaign", "spring", *NOTE, "--dry-run")
    shown = json.loads(out)
    assert (code, shown["offset"], shown["in_force"], shown["touches"]) == (0, None, False, 2)
    code, out, _ = await room.run("cancel", "--campaign", "spring", "--channel", "sms", *NOTE, "--dry-run")
    assert code == 0
    assert "would be ordered; lanes concerned: sms/a, sms/b" in out
    assert "2 touches of it have not ended" in out
    assert await orders(room) == {}


async def test_resume_ends_the_very_pause_and_names_what_still_holds(room: ControlRoom):
    async with Lanes(room):
        for target in (["--campaign", "spring"], ["--channel", "sms"], ["--campaign", "autumn"]):
            await ordered(room, "pause", *target, "--by", "ann")
        code, out, err = await room.run("--json", "resume", "--campaign", "spring", *NOTE)
        shown = json.loads(out)
        assert (code, shown["action"], shown["until"] <= shown["at"]) == (0, "pause", True)
        (held,) = err.splitlines()
        assert held.startswith("still held by pause:channel=sms, ann, 20")
        assert held.endswith("Z: wrong price")
        assert (await orders(room))["pause:campaign=spring"].order.is_over(0)
        code, out, err = await room.run("resume", "--campaign", "spring", *NOTE)
    assert (code, out) == (1, "")
    first, *rest = err.splitlines()
    assert first == "campaign=spring is not paused; paused are:"
    assert [line.partition(",")[0] for line in rest] == ["pause:channel=sms", "pause:campaign=autumn"]


async def test_resume_with_until_lets_the_pause_end_by_itself(room: ControlRoom):
    async with Lanes(room):
        await ordered(room, "pause", "--all")
        shown = await ordered(room, "resume", "--all", "--until", "1h")
    assert shown["until"] == shown["at"] + 3_600_000
    (placed,) = (await orders(room)).values()
    assert not placed.order.is_over(shown["at"])


async def test_what_is_not_paused_cannot_be_resumed(room: ControlRoom):
    assert await room.run("resume", "--all", *NOTE) == (1, "", "all is not paused; nothing is\n")
    await ordered(room, "cancel", "--campaign", "spring", "--no-wait")
    assert (await room.run("resume", "--campaign", "spring", *NOTE))[0] == 1, "a cancel is never undone"


@pytest.mark.parametrize(
    ("target", "lasts_ms"),
    [
        (["--campaign", "c"], 30 * DAY_MS),
        (["--touch", "t"], 30 * DAY_MS),
        (["--lead", "l"], 300_000),
        (["--channel", "sms"], 300_000),
        (["--channel", "sms", "--sender", "a"], 300_000),
        (["--lead", "l", "--campaign", "c"], 30 * DAY_MS),
        (["--campaign", "c", "--until", "now"], 0),
        (["--lead", "l", "--until", "1s"], 1_000),
    ],
)
async def test_a_cancel_takes_what_comes_for_as_long_as_its_target_says(
    room: ControlRoom, target: list[str], lasts_ms: int
):
    shown = await ordered(room, "cancel", *target, "--no-wait")
    assert shown["until"] - shown["at"] == lasts_ms


async def test_a_cancel_of_the_same_target_replaces_its_until(room: ControlRoom):
    await ordered(room, "cancel", "--campaign", "spring", "--no-wait")
    shown = await ordered(room, "cancel", "--campaign", "spring", "--until", "2026-01-01T00:00:00+01:00", "--no-wait")
    assert shown["until"] == 1_767_222_000_000
    (placed,) = (await orders(room)).values()
    assert (placed.offset, placed.order.until_ms) == (shown["offset"], 1_767_222_000_000)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["pause", *NOTE], "at least one member"),
        (["pause", "--all", "--channel", "sms", *NOTE], "all stands alone"),
        (["cancel", "--all", *NOTE], "--all goes with pause and resume"),
        (["pause", "--sender", "a", *NOTE], "together with its channel"),
        (["pause", "--channel", "fax", *NOTE], "'whatsapp', 'email', 'sms'"),
        (["pause", "--channel", "sms", "--sender", "c", *NOTE], "it has a, b"),
        (["resume", "--channel", "sms", "--sender", "c", *NOTE], "it has a, b"),
        (["cancel", "--channel", "whatsapp", "--sender", "c", *NOTE], "none, it is off"),
        (["pause", "--all"], "--note"),
        (["pause", "--all", "--note", " "], "1 to 500 characters"),
        (["pause", "--all", "--note", "n" * 501], "1 to 500 characters"),
        (["pause", "--all", *NOTE, "--by", "n" * 129], "1 to 128 characters"),
        (["pause", "--all", *NOTE, "--until", "now"], "a pause ends later than now"),
        (["pause", "--all", *NOTE, "--until", "2020-01-01T00:00:00Z"], "a pause ends later than now"),
        (["pause", "--all", *NOTE, "--until", "soon"], "neither a duration"),
        (["cancel", "--campaign", "c", *NOTE, "--until", "2026-01-01"], "neither a duration"),
        (["cancel", "--campaign", "", *NOTE], "--campaign must be 1 to 256"),
        (["cancel", "--touch", "t 1", *NOTE], "--touch must be"),
        (["pause", "--all", *NOTE, "--timeout", "1s", "--no-wait"], "exclude each other"),
        (["pause", "--all", *NOTE, "--timeout", "soon"], "no duration"),
        (["orders", "now"], "unexpected extra argument"),
    ],
)
async def test_a_line_that_cannot_be_meant_ends_with_2(room: ControlRoom, command: list[str], said: str):
    code, out, err = await room.run(*command)
    assert (code, out) == (2, "")
    assert said in err
    assert await orders(room) == {}


async def test_without_kafka_nothing_is_written_and_it_ends_with_1(room: ControlRoom):
    lost = ControlRoom("127.0.0.1:1", "x.", room._file.parent)
    for command in (["pause", "--all", *NOTE], ["orders"]):
        code, out, err = await lost.run(*command)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "cannot be reached" in err


async def test_to_stop_needs_no_schema_registry(room: ControlRoom):
    await room.tell({"state": "accepted"})
    room.configure('schema_registry_url = "http://127.0.0.1:1"')
    async with Lanes(room):
        for command in (["pause", "--lead", "ann"], ["resume", "--lead", "ann"], ["cancel", "--touch", "t-1"]):
            code, out, err = await room.run(*command, *NOTE)
            assert (code, err, "is in force" in out) == (0, "", True), command
        for command in (["suppressions", "add", "--lead", "ann"], ["--json", "orders", "--ended"]):
            code, out, err = await room.run(*command)
            assert (code, err) == (0, ""), command
    assert set(await orders(room)) == {"pause:lead=ann", "cancel:touch=t-1"}
    assert [decode("audit", value)["action"] for value in await room.values(flow.AUDIT)] == [
        "pause",
        "resume",
        "cancel",
        "suppress",
    ]


async def test_who_is_interrupted_is_told_that_the_order_may_stand(room: ControlRoom):
    process = room.start("pause", "--all", *NOTE)
    async with asyncio.timeout(60):
        while not await orders(room):
            await asyncio.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert "interrupted" in err
    assert "faust -A pipeline orders" in err


async def test_the_list_shows_how_far_each_order_has_come(room: ControlRoom):
    async with Lanes(room, "email/default"):
        for command in (
            ["pause", "--channel", "sms"],
            ["pause", "--all", "--no-wait", "--by", "ann b"],
            ["pause", "--channel", "sms", "--sender", "a"],
            ["resume", "--channel", "sms", "--sender", "a"],
            ["cancel", "--channel", "sms", "--lead", "ann", "--until", "now"],
            ["cancel", "--channel", "sms", "--campaign", "c", "--until", "2020-01-01T00:00:00Z"],
        ):
            await room.run(*command, *NOTE)
        code, out, err = await room.run("orders")
        assert (code, err) == (0, "")
        lines = [line.split(maxsplit=4) for line in out.splitlines()]
        assert [line[:2] for line in lines] == [
            ["pause:channel=sms", "in_force"],
            ["pause:all", "pending"],
            ["cancel:channel=sms;lead=ann", "in_force"],
        ]
        assert lines[0][3:] == ["-", f"{system_user()} wrong price"]
        assert lines[1][4] == '"ann b" wrong price'
        code, out, _ = await room.run("orders", "--ended")
        assert [line.split()[:2] for line in out.splitlines()][2:] == [
            ["pause:channel=sms;sender=a", "ended"],
            ["cancel:channel=sms;lead=ann", "in_force"],
            ["cancel:campaign=c;channel=sms", "ended"],
        ]
        await room.tell({"touch_id": "t-1"})
        code, out, _ = await room.run("--json", "orders")
    shown = [json.loads(line) for line in out.splitlines()]
    assert [(each["state"], each["in_force"], each["missing"], each["touches"]) for each in shown] == [
        ("in_force", True, [], 1),
        ("pending", False, ["email/default"], 1),
        ("in_force", True, [], 1),
    ]


async def test_records_that_are_no_orders_are_named_and_skipped_and_a_null_forgets(room: ControlRoom):
    await ordered(room, "pause", "--all", "--no-wait")
    await ordered(room, "pause", "--campaign", "c", "--no-wait")
    (value, *_) = [encode_order(placed.order) for placed in (await orders(room)).values()]
    await room.write(flow.CONTROL, (b"nonsense", b"{}"), (b"pause:campaign=x", value), (b"pause:all", None))
    code, out, err = await room.run("orders")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["pause:campaign=c"]
    assert err.count("; skipped\n") == 2


async def test_the_next_order_deletes_those_that_were_over_dedup_for_ago(room: ControlRoom):
    pause, cancel = Action.PAUSE, Action.CANCEL
    old = [
        Order(action, Target(campaign=name), note="n", by="ann", at_ms=1, until_ms=until_ms)
        for action, name, until_ms in ((pause, "resumed", 0), (pause, "stands", None), (cancel, "c", 2))
    ]
    await room.write(flow.CONTROL, *((each.key.encode(), encode_order(each)) for each in old))
    assert len(await orders(room)) == 3
    shown = await ordered(room, "pause", "--all", "--no-wait")
    assert {key: placed.offset for key, placed in (await orders(room)).items()} == {
        "pause:campaign=stands": 1,
        "pause:all": shown["offset"],
    }


async def test_two_operators_at_once_do_not_fence_each_other(room: ControlRoom):
    ended = await asyncio.gather(
        *(room.run("pause", "--campaign", f"c{number}", *NOTE, "--no-wait") for number in range(3))
    )
    assert [code for code, *_ in ended] == [0, 0, 0]
    assert len(await orders(room)) == 3


async def test_a_command_that_is_killed_before_its_commit_orders_nothing_and_delays_others_by_ten_seconds(
    room: ControlRoom,
):
    left_open = AIOKafkaProducer(
        **room.cluster.connection, transactional_id=f"{room.cluster.topic_prefix}killed", transaction_timeout_ms=10_000
    )
    await left_open.start()
    await left_open.begin_transaction()
    await left_open.send_and_wait(room.cluster.topic_name(flow.CONTROL), b"x", b"pause:all", partition=0)
    await ordered(room, "pause", "--campaign", "c", "--no-wait")
    began = time.monotonic()
    async with asyncio.timeout(60):
        while list(await orders(room)) != ["pause:campaign=c"]:
            await asyncio.sleep(0.2)
    assert time.monotonic() - began < 25
    await left_open.stop()


async def test_a_command_with_another_privacy_key_orders_nothing(room: ControlRoom):
    await room.run("hash", "--accept-key")
    room.configure('[privacy]\nkey = "a key that nobody guesses, with 41 bytes"')
    for command in (["pause", "--all", *NOTE], ["orders"], ["status", "--address", "+12125550001"]):
        code, _, err = await room.run(*command)
        assert code == 1
        assert "privacy.key" in err
    assert await orders(room) == {}


async def test_status_names_on_standard_error_what_holds_a_touch_that_has_not_ended(room: ControlRoom):
    await room.tell({"touch_id": "t-1"}, {"touch_id": "t-2"}, {"touch_id": "t-2", "state": "sent"})
    for target in (["--campaign", "spring"], ["--channel", "sms", "--sender", "a"], ["--lead", "bob"]):
        await ordered(room, "pause", *target, "--no-wait", "--by", "ann")
    await ordered(room, "cancel", "--touch", "t-1", "--no-wait")
    code, out, err = await room.run("status", "t-1")
    assert (code, out.count("\n")) == (0, 1)
    assert [line.split(", ")[:2] for line in err.splitlines()] == [
        ["held by pause:campaign=spring", "ann"],
        ["held by pause:channel=sms;sender=a", "ann"],
    ]
    assert (await room.run("status", "t-2"))[2] == "", "it has ended"


async def test_status_finds_the_records_of_a_campaign_a_person_and_an_address(room: ControlRoom):
    _, out, _ = await room.run("hash", "Ann@example.com")
    await room.tell(
        {"touch_id": "t-1"},
        {"touch_id": "t-2", "campaign_id": "autumn"},
        {"touch_id": "t-3", "lead_id": "bob"},
        {"touch_id": "t-4", "channel": "email", "campaign_id": "mail", "lead_id": "eve", "recipient": out.strip()},
    )
    for options, found in (
        (["--campaign", "spring"], ["t-1", "t-3"]),
        (["--lead", "ann"], ["t-1", "t-2"]),
        (["--address", "ann@example.com"], ["t-4"]),
    ):
        code, out, err = await room.run("status", *options)
        assert (code, [line.split()[1] for line in out.splitlines()], err) == (0, found, "")
    for options in (["--campaign", "winter"], ["--lead", "nobody"], ["--address", "+12125550001"]):
        code, out, err = await room.run("status", *options)
        assert (code, out) == (1, "")
        assert "has no status record" in err
    for options in (["--campaign", "a", "--lead", "b"], ["--campaign", "a", "t-1"], ["--address", "nobody"]):
        assert (await room.run("status", *options))[0] == 2
