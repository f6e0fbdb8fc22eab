"""Dead letters are listed, shown and replayed on a real Kafka; with a worker, what becomes of a replay."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.console.dead_letters.replay import choose, rehearse, replay
from pipeline.console.dead_letters.view import LetterFilter, ShownLetter
from pipeline.console.dead_letters.work import DeadLetters
from pipeline.domain.audit import Door, Who
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.topic import RecordPosition
from pipeline.records.published import ValueReader
from pipeline.records.writing import dead_letter_value, json_object, single_object
from tests.harness.stack import PARTITIONS, ROOT, Stack, touch
from tests.harness.web_rig import command_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiokafka import ConsumerRecord

AT = 1_795_521_784_567
RAW = b"\xff\x00\x1b[2J"


class Box:
    """The topics `touches` and `touches.dead-letters`, without a worker."""

    def __init__(self, servers: list[str], prefix: str) -> None:
        self.cluster = Cluster({"bootstrap_servers": servers}, prefix)
        self.complaints: list[str] = []
        self.letters = DeadLetters(self.cluster, ValueReader("dead_letter"), self.complaints.append)

    def dead(self, **change: Any) -> DeadLetter:
        said = {
            "reason": DeadReason.UNDECODABLE,
            "error": "no touch",
            "source_topic": self.cluster.topic_name("touches"),
            "source_partition": 1,
            "source_offset": 5,
            "key": b"k",
            "value": RAW,
            "headers": [("h", b"\xfe"), ("n", None)],
            "touch_id": None,
            "occurred_at_ms": AT,
        }
        return DeadLetter(**{**said, **change})

    async def write(self, *letters: tuple[int, DeadLetter], form: Any = single_object, commit: bool = True) -> None:
        topic = self.cluster.topic_name("touches.dead-letters")
        producer = AIOKafkaProducer(**self.cluster.connection, transactional_id=f"{topic}-test")
        await producer.start()
        await producer.begin_transaction()
        for partition, letter in letters:
            await producer.send_and_wait(
                topic, key=letter.key, value=dead_letter_value(form, letter), partition=partition
            )
        await (producer.commit_transaction() if commit else producer.abort_transaction())
        await producer.stop()

    async def all(self) -> list[ShownLetter]:
        return [letter async for letter in self.letters.all()]

    async def at(self, *positions: RecordPosition) -> list[ShownLetter]:
        return [letter async for letter in self.letters.at(positions)]

    async def replay(
        self, *positions: RecordPosition, new_id: str | None = None, refuse: Callable[[str, str], None] = pytest.fail
    ) -> int:
        chosen = await choose(self.letters.at(positions) if positions else self.letters.all(), LetterFilter())
        progress: list[int] = []
        done = await replay(
            command_context(self.cluster),
            self.letters.all(only=chosen.letters),
            Who("bob", None, Door.CLI),
            new_id=new_id,
            refuse=refuse,
            progress=progress.append,
        )
        assert progress[-1:] in ([], [len(done)])
        return len(done)

    async def touches(self) -> list[ConsumerRecord]:
        partitions = [TopicPartition(self.cluster.topic_name("touches"), number) for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(**self.cluster.connection, auto_offset_reset="earliest", fetch_max_wait_ms=50)
        await consumer.start()
        try:
            consumer.assign(partitions)
            found, ends = [], await consumer.end_offsets(partitions)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()


@pytest.fixture
async def box(kafka: list[str], topic_prefix: str) -> Box:
    box = Box(kafka, topic_prefix)
    names = {"touches": PARTITIONS, "touches.dead-letters": PARTITIONS, "touches.audit": 1}
    topics = [RequiredTopic(box.cluster.topic_name(name), partitions) for name, partitions in names.items()]
    await ensure_topics(box.cluster.connection, topics, 1)
    return box


# --- without a worker ----------------------------------------------------------------------------------------------


async def test_letters_of_all_partitions_and_forms_come_in_order_of_time(box: Box):
    await box.write(
        (0, box.dead(occurred_at_ms=10)), (0, box.dead(occurred_at_ms=40)), (2, box.dead(occurred_at_ms=20))
    )
    await box.write((1, box.dead(occurred_at_ms=30)), form=json_object)
    await box.write((1, box.dead(occurred_at_ms=35)), commit=False)
    told = await box.all()
    assert [(letter.position.partition, letter.dead.occurred_at_ms) for letter in told] == [
        (0, 10),
        (2, 20),
        (1, 30),
        (0, 40),
    ]
    assert all(letter.dead.value == RAW for letter in told)


async def test_a_letter_is_found_at_its_place_and_nothing_at_others(box: Box):
    await box.write((1, box.dead(source_offset=0)), commit=False)
    await box.write((1, box.dead(source_offset=1)), (1, box.dead(source_offset=2)))
    one, two = await box.all()
    assert await box.at(two.position, one.position) == [two, one]
    # An aborted record, a marker, behind the end, before the start, no such partition.
    assert (
        await box.at(
            RecordPosition(1, 0),
            RecordPosition(1, 1),
            RecordPosition(1, two.position.offset + 1),
            RecordPosition(1, 10**30),
            RecordPosition(0, 0),
            RecordPosition(PARTITIONS, 0),
        )
        == []
    )


async def test_a_record_that_is_no_letter_is_named_and_the_rest_is_read(box: Box):
    producer = AIOKafkaProducer(**box.cluster.connection)
    await producer.start()
    await producer.send_and_wait(box.cluster.topic_name("touches.dead-letters"), value=b"{}", partition=1)
    await producer.stop()
    await box.write((1, box.dead()))
    assert len(await box.all()) == 1
    assert "[1] offset 0: no dead_letter" in box.complaints[0]


async def test_a_replay_lands_where_it_came_from_byte_for_byte_with_its_headers(box: Box):
    await box.write((1, box.dead()), (1, box.dead(value=None, headers=[])), (3, box.dead(key=None, source_partition=3)))
    assert await box.replay() == 3
    records = sorted(await box.touches(), key=lambda r: (r.partition, r.offset))
    assert [(r.partition, r.key, r.value, r.headers) for r in records] == [
        (1, b"k", RAW, (("h", b"\xfe"), ("n", None), ("pipeline-replay-of", b"1/0"))),
        (1, b"k", None, (("pipeline-replay-of", b"1/1"),)),
        (3, None, RAW, (("h", b"\xfe"), ("n", None), ("pipeline-replay-of", b"3/0"))),
    ]


async def test_many_letters_keep_their_order(box: Box):
    await box.write(*[(1, box.dead(value=b"%d" % n)) for n in range(1_500)])
    assert await box.replay() == 1_500
    assert [int(r.value) for r in await box.touches()] == list(range(1_500))


async def test_letters_of_another_prefix_are_refused_and_the_rest_is_replayed(box: Box):
    refused: list[tuple[str, str]] = []
    await box.write((0, box.dead(source_topic="elsewhere.touches")), (0, box.dead()))
    assert await box.replay(refuse=lambda cluster, why: refused.append((cluster, why))) == 1
    assert refused == [("0/0", f"it came from elsewhere.touches, not from {box.cluster.topic_name('touches')}")]
    assert len(await box.touches()) == 1


async def test_a_rehearsal_counts_what_would_be_replayed_and_produces_nothing(box: Box):
    refused: list[str] = []
    await box.write((0, box.dead(source_topic="elsewhere.touches")), (0, box.dead()))
    count = await rehearse(
        box.cluster, box.letters.all(), new_id=None, refuse=lambda cluster, _: refused.append(cluster)
    )
    assert (count, refused) == (1, ["0/0"])
    assert await box.touches() == []


async def test_a_topic_that_is_missing_is_a_failure_that_says_what_to_do(kafka: list[str]):
    with pytest.raises(CommandFailed, match="start a worker"):
        await Box(kafka, "nowhere.").all()


# --- as a user runs them -------------------------------------------------------------------------------------------


class Commands:
    """`faust dead-letters`, against an app or the product itself."""

    def __init__(self, app: str, **environment: str) -> None:
        self._app, self._env = app, {**os.environ, **environment}

    def __call__(self, *command: str, as_json: bool = False) -> tuple[int, str, str]:
        done = self.run(*command, as_json=as_json)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def run(self, *command: str, as_json: bool = False) -> subprocess.CompletedProcess[bytes]:
        faust = [sys.executable, "-m", "faust", "-A", self._app, *(["--json"] if as_json else []), "dead-letters"]
        return subprocess.run([*faust, *command], check=False, cwd=ROOT, env=self._env, capture_output=True, timeout=60)


@pytest.fixture
def faust(kafka: list[str], topic_prefix: str) -> Commands:
    return Commands("tests.harness.workers.console", CONSOLE_TEST=f"{kafka[0]}|{topic_prefix}")


async def test_list_filters_by_reason_and_time(box: Box, faust: Commands):
    invalid = box.dead(reason=DeadReason.INVALID, touch_id="t-1", error="to is \x1b[2J wrong", occurred_at_ms=AT + 1)
    await box.write((0, box.dead()), (0, invalid), (1, box.dead(reason=DeadReason.CONFLICT, occurred_at_ms=AT + 2)))
    code, out, err = faust("list")
    assert (code, err) == (0, "")
    assert [line.split()[1:3] for line in out.splitlines()] == [
        ["0/0", "undecodable"],
        ["0/1", "invalid"],
        ["1/0", "conflict"],
    ]
    source = f"{box.cluster.topic_name('touches')}/1/5"
    line = faust("list", "--reason", "invalid")[1]
    assert " ".join(line.split()) == f"2026-11-24T12:03:04.568Z 0/1 invalid {source} t-1 to is ?[2J wrong"
    code, out, _ = faust(
        "list", "--since", "2026-11-24T12:03:04.568Z", "--until", "2026-11-24T12:03:04.569Z", as_json=True
    )
    assert [json.loads(line)["place"] for line in out.splitlines()] == ["0/1"]
    assert faust("list", "--until", "10000d")[:2] == (0, "")


async def test_show_tells_all_and_raw_gives_the_bytes(box: Box, faust: Commands):
    await box.write((2, box.dead()), (2, box.dead(value=None)))
    code, out, _ = faust("show", "2/0")
    assert code == 0
    assert out.isascii()
    assert "\x1b" not in out
    assert r"header    h: \xfe" in out
    assert "00000000  ff 00 1b 5b 32 4a" in out
    assert faust.run("show", "--raw", "2/0").stdout == RAW
    assert json.loads(faust("show", "2/0", as_json=True)[1])["value"] == "/wAbWzJK"
    assert faust("show", "--raw", "2/1") == (1, "", "the value of 2/1 is null\n")
    assert faust("show", "2/9") == (1, "", "there is no dead letter at 2/9\n")


async def test_replay_says_what_it_did_and_dry_run_what_it_would_do(box: Box, faust: Commands):
    topic = box.cluster.topic_name("touches")
    taken = box.dead(reason=DeadReason.INVALID, touch_id="t-1", value=b'{"touch_id":"t-1"}')
    await box.write((0, box.dead()), (0, taken), (0, box.dead(source_topic="elsewhere")))
    code, out, err = faust("replay", "--all", "--dry-run")
    assert (code, out) == (1, f"2 letters would be replayed to {topic}; 1 skipped\n")
    assert err.startswith("1 of 3 have a touch_id whose story is told already")
    assert "0/2: it came from elsewhere" in err
    assert await box.touches() == []
    assert faust("replay", "0/0", "5/5") == (
        1,
        f"1 letters replayed to {topic}\n",
        "there is no dead letter at 5/5; skipped\n",
    )
    assert faust("replay", "--reason", "invalid", "--new-id", ".again") == (0, f"1 letters replayed to {topic}\n", "")
    assert {r.value for r in await box.touches()} == {RAW, b'{"touch_id":"t-1.again"}'}


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["show"],
        ["show", "17"],
        ["show", "1/x"],
        ["list", "--reason", "other"],
        ["list", "--since", "soon"],
        ["replay"],
        ["replay", "--all", "1/2"],
        ["replay", "--all", "--since", "1h"],
        ["replay", "1/2", "--reason", "invalid"],
        ["replay", "--all", "--new-id", "no blank"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(faust: Commands, command: list[str]):
    code, out, err = faust(*command)
    assert (code, out) == (2, "")
    assert re.match(r"Usage: .* dead-letters", err)
    assert "Traceback" not in err


def test_help_shows_examples_and_exit_codes(faust: Commands):
    assert "list" in faust("--help")[1]
    for verb in ("list", "show", "replay"):
        code, out, _ = faust(verb, "--help")
        assert code == 0
        assert f"faust -A pipeline dead-letters {verb}" in out
        assert "Exit codes:" in out


# --- with a worker -------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(kafka, topic_prefix, tmp_path)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


async def letters(box: Box, count: int) -> list[ShownLetter]:
    """Wait for `count` letters, and return them in order of arrival."""
    async with asyncio.timeout(30):
        while len(found := await box.all()) < count:
            pass
    assert len(found) == count
    return found


async def test_what_is_still_broken_comes_back_and_replaying_all_does_not_double_it(stack: Stack):
    stack.start(0)
    await stack.wait_for_topics()
    box = Box(stack.servers, stack.prefix)
    faust = Commands("pipeline", PIPELINE_CONFIG=str(stack.folder / "worker-0.toml"))
    await produce(stack, (b"a", RAW), (b"sms-1", json.dumps(touch("sms", 1, to="2125550001")).encode()))
    first = await letters(box, 2)
    for total, back in ((4, 0), (6, 2), (8, 4)):
        code, out, _ = await asyncio.to_thread(faust, "replay", "--all")
        assert code == 0
        assert out.startswith("2 letters replayed")
        assert (f"; {back} left out" in out) == bool(back)
        found = await letters(box, total)
    for letter in first:
        again = [each for each in found if each.replay_of == str(letter.position)]
        assert [(each.dead.value, each.dead.key, each.dead.source_partition) for each in again] == [
            (letter.dead.value, letter.dead.key, letter.dead.source_partition)
        ]
    await stack.follow(lambda: bool(stack.stories["sms-1"]), deadline_s=20)
    assert [(s["state"], s["reason"], s["sequence"]) for s in stack.stories["sms-1"]] == [("failed", "invalid", 1)]
    assert stack.accepted() == []


async def test_a_letter_that_can_be_read_by_now_is_sent_once_however_often_it_is_replayed(stack: Stack):
    stack.start(0)
    await stack.wait_for_topics()
    box = Box(stack.servers, stack.prefix)
    await box.write((1, box.dead(key=b"sms-1", value=json.dumps(touch("sms", 1)).encode())))
    for _ in range(2):
        assert await box.replay() == 1
    assert await stack.follow(
        lambda: [s["state"] for s in stack.stories["sms-1"]] == ["accepted", "sent"], deadline_s=30
    )
    await produce(stack, (b"end", b"{broken"), partition=1)
    _, end = await letters(box, 2)
    assert end.dead.source_offset == 4, (
        "both replays were read (each with the marker of its transaction), and neither came back"
    )
    assert [message["text"] for message in stack.accepted()] == ["Hello, this is sms-1."]


async def test_a_mended_touch_whose_story_has_ended_is_sent_under_a_new_id_only(stack: Stack):
    stack.start(0)
    await stack.wait_for_topics()
    box = Box(stack.servers, stack.prefix)
    faust = Commands("pipeline", PIPELINE_CONFIG=str(stack.folder / "worker-0.toml"))
    await produce(stack, (b"sms-1", json.dumps(touch("sms", 1, to="2125550001")).encode()))
    await letters(box, 1)
    assert stack.stop(0) == 0
    stack.config["sms"] = 'region = "US"'
    stack.start(0)
    await stack.wait_for_work(0)
    code, _, err = await asyncio.to_thread(faust, "replay", "--reason", "invalid")
    assert code == 0
    assert err.startswith("1 of 1 have a touch_id whose story is told already")
    _, back = await letters(box, 2)
    assert (back.dead.reason, back.dead.error) == (
        "conflict",
        "a touch with this touch_id was refused as invalid before; its story has ended",
    )
    for _ in range(2):
        assert (await asyncio.to_thread(faust, "replay", "--reason", "invalid", "--new-id", ".again"))[0] == 0
    assert await stack.follow(lambda: any(s["state"] == "sent" for s in stack.stories["sms-1.again"]), deadline_s=30)
    assert [s["state"] for s in stack.stories["sms-1"]] == ["failed"]
    assert [s["state"] for s in stack.stories["sms-1.again"]] == ["accepted", "sent"]
    assert len(stack.accepted()) == 1


async def produce(stack: Stack, *records: tuple[bytes, bytes], partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    for key, value in records:
        await producer.send_and_wait(
            f"{stack.prefix}touches", key=key, value=value, partition=partition, headers=[("h", b"v")]
        )
    await producer.stop()
