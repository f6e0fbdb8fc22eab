"""The key of the hashes: one for the whole deployment, found out at the start, and changed only by a command that says so."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

from pipeline.domain.address_hash import key_fingerprint
from pipeline.kafka.control import read_control, settle_fingerprint
from tests.harness.control import ControlRoom

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.reporting import MakeStack

ONE, OTHER = "the first key, which has 32 bytes", "another key, which has 32 bytes!"
NUMBER = "+12125550001"


def privacy(key: str) -> str:
    return f'[privacy]\nkey = "{key}"'


@pytest.fixture
def room(kafka: list[str], topic_prefix: str, tmp_path: Path) -> ControlRoom:
    return ControlRoom(kafka[0], topic_prefix, tmp_path)


@pytest.mark.parametrize(
    ("typed", "hashed"),
    [
        (NUMBER, f"phone:{NUMBER}"),
        ("+1 (212) 555-0001", f"phone:{NUMBER}"),
        ("Ann@Example.com", "email:ann@example.com"),
    ],
)
async def test_hash_prints_the_name_of_an_address_in_records(room: ControlRoom, typed: str, hashed: str):
    await room.make_topics()
    for key in ("", ONE):
        room.configure(privacy(key) if key else "")
        expected = blake2b(hashed.encode(), digest_size=16, key=key.encode()).hexdigest()
        assert await room.run("hash", typed) == (0, f"{expected}\n", "")


async def test_hash_without_kafka_prints_the_hash_and_says_what_it_did_not_compare(room: ControlRoom):
    lost = ControlRoom("127.0.0.1:1", "x.", room._file.parent)
    code, out, err = await lost.run("hash", NUMBER)
    assert (code, len(out)) == (0, 33)
    assert "privacy.key was not compared" in err
    code, out, err = await lost.run("hash", "--accept-key")
    assert (code, out) == (1, "")
    assert "cannot be reached" in err


@pytest.mark.parametrize("arguments", [[], ["2125550001"], ["ann@"], [NUMBER, "--accept-key"], [NUMBER, NUMBER]])
async def test_hash_of_what_is_no_address_ends_with_2(room: ControlRoom, arguments: list[str]):
    code, out, err = await room.run("hash", *arguments)
    assert (code, out) == (2, "")
    assert "2125550001" not in err.replace("unexpected extra argument", "") or arguments == [NUMBER, NUMBER]


async def test_another_key_is_refused_until_it_is_accepted(room: ControlRoom):
    await room.make_topics()
    room.configure(privacy(ONE))
    assert await room.run("hash", "--accept-key") == (0, "the configured privacy.key is in use\n", "")
    room.configure(privacy(OTHER))
    code, out, err = await room.run("hash", NUMBER)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "privacy.key" in err
    assert "faust -A pipeline hash --accept-key" in err
    assert (await room.run("hash", "--accept-key"))[0] == 0
    assert (await room.run("hash", NUMBER))[0] == 0
    room.configure("")
    assert (await room.run("hash", NUMBER))[0] == 1, "no key is another one, too"


async def test_a_worker_records_the_key_and_one_with_another_key_does_not_start(make_stack: MakeStack):
    stack = make_stack(kafka=privacy(ONE))
    stack.start(0)
    await stack.wait_for_work(0)
    cluster = ControlRoom(stack.servers[0], stack.prefix, stack.folder).cluster
    assert (await read_control(cluster, print)).fingerprint == key_fingerprint(ONE.encode())
    assert "no privacy.key" not in stack._log(0).read_text()
    stack.config["kafka"] = ""
    stack.start(1)
    assert await asyncio.to_thread(stack.workers.pop(1).wait, 40) == 1
    log = stack._log(1).read_text()
    assert log.count("privacy.key is not the one") == 1
    assert "faust -A pipeline hash --accept-key" in log
    assert log.count("no privacy.key") == 1, "the warning of a start without a key"
    assert stack.workers[0].poll() is None
    stack.config["kafka"] = privacy(ONE)
    stack.start(1)
    await stack.wait_for_work(1)


async def test_of_two_keys_at_once_one_is_recorded_and_the_other_refused(room: ControlRoom):
    await room.make_topics()

    async def settle(key: str) -> str | None:
        try:
            await settle_fingerprint(room.cluster, key_fingerprint(key.encode()), print)
        except Exception as error:  # noqa: BLE001
            return str(error)
        return None

    for _ in range(3):
        refused = await asyncio.gather(*(settle(key) for key in (ONE, OTHER, ONE)))
        assert {bool(each) for each in refused} == {True, False}
        assert bool(refused[0]) == bool(refused[2])
        assert all(each is None or "privacy.key is not the one" in each for each in refused)
