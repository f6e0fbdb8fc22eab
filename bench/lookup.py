"""`python -m bench.lookup`: what the look-up copy costs to build, to keep, and to ask.

Records come from memory, so that the copy is measured and not Kafka; `--kafka` measures the whole way, with fewer touches.
Progress on standard error, the table on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline import flow
from pipeline.kafka.cluster import Cluster
from pipeline.lab.local.kafka import LocalKafka
from pipeline.lookup.copying import Copying, Portion
from pipeline.lookup.freshness import Freshness
from pipeline.lookup.keepers import CopyReaders, kept_topics
from pipeline.lookup.opened import open_copy
from pipeline.lookup.projector import PORTION_RECORDS
from pipeline.lookup.queries import LookupCopy
from pipeline.lookup.store import CopyFolder
from pipeline.lookup.topics_found import TopicsFound
from pipeline.lookup.unreadable import UnreadableRecords
from pipeline.records.published import ValueReader
from pipeline.records.writing import single_object
from pipeline.stage_io import Record

T0: Final = 1_790_000_000_000
MIB: Final = 1024 * 1024
PARTITIONS: Final = 8
UNDER_WAY: Final = 5_000
"""Touches between `accepted` and their end: so far apart are the records of one touch."""
CALLS: Final = 1_000
"""Calls of each query."""
COMMITS: Final = 200
"""Transactions after which it is seen how long it takes until a record is found."""


def readers() -> CopyReaders:
    """Return what decodes single objects."""
    names = ("status", "delivery", "dead_letter", "suppression", "audit")
    return CopyReaders(**{name: ValueReader(name) for name in names})


def story(number: int, campaigns: int, dice: Random) -> list[tuple[str, dict[str, Any]]]:
    """Return the records of one touch: accepted, half of them deferred, the end, and two deliveries of most."""
    touch = {
        "touch_id": f"touch-{number:09d}-{dice.getrandbits(32):08x}",
        "campaign_id": "the-large-one" if number % 2 else f"campaign-{number % campaigns:05d}",
        "lead_id": f"lead-{dice.randrange(400_000):07d}",
        "channel": ("sms", "email", "whatsapp")[number % 3],
        "metadata": {"source": "crm", "row": str(number)},
    }
    at, recipient, message = T0 + number * 20, f"{dice.getrandbits(128):032x}", f"SM{dice.getrandbits(128):032x}"
    told = {**touch, "sender": "main", "attempt": 0, "recipient": recipient}
    records = [(flow.STATUS, {**told, "state": "accepted", "sequence": 1, "occurred_at": at})]
    if number % 2:
        deferred = {"state": "deferred", "reason": "window", "next_attempt_at": at + 60_000}
        records.append((flow.STATUS, {**told, **deferred, "sequence": 2, "occurred_at": at + 5}))
    failed = number % 50 == 0
    end = {"state": "failed", "reason": "rejected", "error": "no such number"} if failed else {"state": "sent"}
    end |= {"sequence": len(records) + 1, "attempt": 1, "occurred_at": at + 60_000}
    records.append((flow.STATUS, {**told, **end, "provider_message_id": None if failed else message}))
    if not failed and number % 5:
        fact = {**touch, "sender": "main", "provider_message_id": message, "recipient": recipient}
        for place, kind in enumerate(("delivered", "read"), 1):
            more = {"kind": kind, "sequence": place, "received_at": at + 61_000 + place}
            records.append((flow.DELIVERIES, {**fact, **more}))
    return records


def records(touches: int, campaigns: int) -> Iterator[Record]:
    """Yield the records of all touches as topics have them: a touch's first ones among the last ones of earlier touches."""
    dice, names = Random(1), {flow.STATUS: "status", flow.DELIVERIES: "delivery"}
    waiting: list[tuple[int, list[tuple[str, dict[str, Any]]]]] = []
    offsets: dict[tuple[str, int], int] = {}

    def record(number: int, topic: str, datum: dict[str, Any]) -> Record:
        place = topic, number % PARTITIONS
        offsets[place] = offset = offsets.get(place, -1) + 1
        value = single_object(names[topic], datum)
        return Record(topic, place[1], offset, T0, datum["touch_id"].encode(), value)

    for number in range(touches + UNDER_WAY):
        if number < touches:
            first, *rest = story(number, campaigns, dice)
            yield record(number, *first)
            waiting.append((number, rest))
        if number >= UNDER_WAY:
            ended, rest = waiting[number - UNDER_WAY]
            waiting[number - UNDER_WAY] = ended, []
            yield from (record(ended, *each) for each in rest)


class Table(list[tuple[str, str]]):
    """The table; each row is shown as it is found, too."""

    def add(self, what: str, found: str) -> None:
        self.append((what, found))
        print(f"  {what}: {found}", file=sys.stderr, flush=True)

    def show(self) -> None:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print("| what | measured |\n|---|---|")
        for what, found in self:
            print(f"| {what} | {found} |")


def build(copying: Copying, touches: int, campaigns: int) -> tuple[int, float, float]:
    """Copy all records; return how many, the seconds and the CPU seconds it took (making them is left out)."""
    count, took, cpu = 0, 0.0, 0.0
    made = records(touches, campaigns)
    while portion := list(islice(made, PORTION_RECORDS)):
        begun, used = time.perf_counter(), time.process_time()
        offsets = {(each.topic, each.partition): each.offset + 1 for each in portion}
        ready = Portion(portion, offsets)
        copying.write(ready, copying.draft(ready))
        took, cpu = took + time.perf_counter() - begun, cpu + time.process_time() - used
        count += len(portion)
        if count % 500_000 < PORTION_RECORDS:
            print(f"  {count:,} records, {count / took:,.0f}/s", file=sys.stderr, flush=True)
    return count, took, cpu


def milliseconds(ask: Callable[[Random], object]) -> str:
    """Return how long a query takes."""
    dice, found = Random(2), []
    for _ in range(CALLS):
        begun = time.perf_counter()
        ask(dice)
        found.append((time.perf_counter() - begun) * 1000)
    return shares(found)


def shares(found: list[float]) -> str:
    """Return the percentiles of milliseconds."""
    found = sorted(found)
    count = len(found)
    return f"p50 {found[count // 2]:.2f} ms, p99 {found[count * 99 // 100]:.2f} ms, most {found[-1]:.2f} ms"


def queries(lookup: LookupCopy, touches: int, campaigns: int) -> Mapping[str, Callable[[Random], object]]:
    """Return what is asked, by what it is called."""
    some = [lookup.touches(campaign=f"campaign-{number:05d}", limit=20)[0] for number in range(0, campaigns, 2)]
    known = [each for page in some for each in page]
    messages = [
        status["provider_message_id"]
        for each in known[:2_000]
        for status in (lookup.touch(each["touch_id"]) or {"statuses": []})["statuses"]
        if status["provider_message_id"]
    ]
    large, deep = "the-large-one", None
    for _ in range(50):
        _, deep = lookup.touches(campaign=large, after=deep)
    return {
        "one touch, whole": lambda dice: lookup.touch(dice.choice(known)["touch_id"]),
        "one touch that is not there": lambda dice: lookup.touch(f"touch-{dice.randrange(touches):09d}"),
        "the touches of a lead": lambda dice: lookup.touches(lead=f"lead-{dice.randrange(400_000):07d}"),
        "by address": lambda dice: lookup.touches(recipient=dice.choice(known)["recipient"]),
        "by the provider's id": lambda dice: lookup.touches(message=dice.choice(messages)),
        "a page (100) of a small campaign": lambda dice: lookup.touches(campaign=dice.choice(known)["campaign_id"]),
        f"a page (100) of the large campaign ({touches // 2:,})": lambda _: lookup.touches(campaign=large),
        "its fifty-first page": lambda _: lookup.touches(campaign=large, after=deep),
        "its failed ones (none)": lambda _: lookup.touches(campaign=large, state="failed"),
        "its accepted ones (none any more)": lambda _: lookup.touches(campaign=large, state="accepted"),
        "counts of the large campaign": lambda _: lookup.campaign(large),
        "counts of a small campaign": lambda dice: lookup.campaign(dice.choice(known)["campaign_id"]),
        "a page (100) of campaigns": lambda _: lookup.campaigns(),
    }


def rss() -> int:
    """Return the resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def measure(folder: Path, touches: int, campaigns: int, table: Table) -> None:
    """Build a copy from memory, and ask it."""
    held = CopyFolder(folder)
    store, freshness = held.open(), Freshness(lambda: T0, 86_400_000)
    copying = Copying(
        store,
        kept_topics(readers()),
        freshness,
        UnreadableRecords(lambda: T0),
        keep_ms=30 * 86_400_000,
        now_ms=lambda: T0,
    )
    places = [(topic, each) for topic in (flow.STATUS, flow.DELIVERIES) for each in range(PARTITIONS)]
    found = TopicsFound(dict.fromkeys((flow.STATUS, flow.DELIVERIES), b""), {})
    copying.begin(found, dict.fromkeys(places, (0, 10**9)))
    before = rss()
    count, took, cpu = build(copying, touches, campaigns)
    table.add("touches, records", f"{touches:,}, {count:,}")
    table.add("built", f"{count / took:,.0f} records/s ({took:.0f} s), {cpu / count * 1e6:.0f} µs of CPU a record")
    table.add("resident memory", f"{rss() / MIB:.0f} MiB, {(rss() - before) / touches:.0f} bytes a touch")
    lookup = LookupCopy(store, freshness)
    for what, ask in queries(lookup, touches, campaigns).items():
        table.add(what, milliseconds(ask))
    store.close()
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    table.add("disk", f"{size / MIB:.0f} MiB, {size / touches:.0f} bytes a touch")
    held.close()


async def measure_with_kafka(folder: Path, touches: int, campaigns: int, table: Table) -> None:
    """Build a copy from a Kafka, and see how long after a commit it has a record."""
    with LocalKafka(folder) as kafka:
        cluster = Cluster({"bootstrap_servers": kafka.bootstrap_servers}, "bench.")
        count = await fill(cluster, touches, campaigns)
        copy = open_copy(folder / "copy", cluster, readers(), keep_ms=10**12, now_ms=lambda: time.time_ns() // 10**6)
        begun, used = time.perf_counter(), time.process_time()
        reading = asyncio.create_task(copy.projector.run())
        while not copy.lookup.as_of_ms:
            await asyncio.sleep(0.05)
        took, cpu = time.perf_counter() - begun, time.process_time() - used
        table.add("from Kafka: touches, records", f"{touches:,}, {count:,}")
        table.add("built", f"{count / took:,.0f} records/s ({took:.0f} s), {cpu / count * 1e6:.0f} µs of CPU a record")
        table.add("visible after the commit", await visible(cluster, copy.lookup))
        used, begun = time.process_time(), time.perf_counter()
        await asyncio.sleep(10)
        table.add("CPU while nothing comes", f"{(time.process_time() - used) / (time.perf_counter() - begun):.1%}")
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        copy.close()


async def fill(cluster: Cluster, touches: int, campaigns: int) -> int:
    """Produce all records; return how many."""
    admin = AIOKafkaAdminClient(**cluster.connection)
    await admin.start()
    topics = [cluster.topic_name(topic) for topic in (flow.STATUS, flow.DELIVERIES)]
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    await admin.close()
    producer, count = AIOKafkaProducer(**cluster.connection, linger_ms=20, max_batch_size=256 * 1024), 0
    await producer.start()
    for count, record in enumerate(records(touches, campaigns), 1):  # noqa: B007 - it is the number of records
        topic = cluster.topic_name(record.topic)
        await producer.send(topic, record.value, record.key, partition=record.partition)
    await producer.stop()
    return count


async def visible(cluster: Cluster, lookup: LookupCopy) -> str:
    """Return how long after its commit a status is found."""
    producer, found = AIOKafkaProducer(**cluster.connection, transactional_id="bench-lookup"), []
    await producer.start()
    for number in range(COMMITS):
        _, datum = story(number, 1, Random(number))[0]
        touch_id = f"fresh-{number}"
        async with producer.transaction():
            value = single_object("status", {**datum, "touch_id": touch_id})
            await producer.send_and_wait(cluster.topic_name(flow.STATUS), value, partition=number % PARTITIONS)
        begun = time.perf_counter()
        while lookup.touch(touch_id) is None:
            await asyncio.sleep(0.001)
        found.append((time.perf_counter() - begun) * 1000)
    await producer.stop()
    return shares(found)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--touches", type=int, default=1_000_000)
    parser.add_argument("--campaigns", type=int, default=2_000)
    parser.add_argument("--kafka", action="store_true", help="build the copy from a Kafka")
    options = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="lookup-") as folder:
        if options.kafka:
            asyncio.run(measure_with_kafka(Path(folder), options.touches, options.campaigns, table))
        else:
            measure(Path(folder) / "copy", options.touches, options.campaigns, table)
    table.show()


if __name__ == "__main__":
    main()
