"""The copy's folder: one process at a time, a kill at any moment, and what is not a copy any more."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import flow
from pipeline.engine.data_folder import FolderInUse
from pipeline.lookup import keys
from pipeline.lookup.draft import campaign_touches
from pipeline.lookup.store import CopyFolder
from tests.harness.lookup import DAY_MS, T0, Copy, Topics

ROOT = Path(__file__).parents[3]


def status(touch_id: str, **more: object) -> dict[str, object]:
    told = {"touch_id": touch_id, "campaign_id": "c", "lead_id": "l", "channel": "sms", "attempt": 0, "sequence": 1}
    return {**told, "state": "accepted", "occurred_at": T0, **more}


def filled(touches: int = 3) -> Topics:
    topics = Topics()
    for number in range(touches):
        topics.add(flow.STATUS, status(f"t{number}"))
    return topics


def test_a_second_process_cannot_have_it(tmp_path):
    held = CopyFolder(tmp_path / "copy")
    with pytest.raises(FolderInUse):
        CopyFolder(tmp_path / "copy")
    held.close()
    CopyFolder(tmp_path / "copy").close()


def test_a_folder_that_everybody_could_read_is_closed(tmp_path):
    (tmp_path / "copy").mkdir(mode=0o755)
    for folder in (tmp_path / "copy", tmp_path / "new"):
        CopyFolder(folder).close()
        assert folder.stat().st_mode & 0o777 == 0o700


def told_twice() -> Topics:
    topics = filled(2_000)
    for number in range(2_000):
        topics.add(flow.STATUS, status(f"t{number}", state="sent", sequence=2, provider_message_id=f"m{number}"))
    return topics


def copy_until_killed(folder: str) -> None:
    """Copy a few records at a time, and say when half of it is done."""
    copy = Copy(told_twice(), CopyFolder(Path(folder)).open())
    for each in range(400):
        copy.take(copy.portion(10))
        if each == 150:
            print("half", flush=True)
    signal.pause()


def test_a_kill_at_any_moment_loses_no_record_and_counts_none_twice(tmp_path):
    topics = told_twice()
    code = f"from {__name__} import copy_until_killed as run; run({str(tmp_path / 'copy')!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout.readline() == b"half\n"
        process.kill()
    held = CopyFolder(tmp_path / "copy")
    store = held.open()
    copy = Copy(topics, store)
    begun = copy.offsets[flow.STATUS, 0]
    assert begun >= 1_500, "it goes on where it was"
    copy.read_all()
    whole = Copy(topics).read_all()
    assert dict(store.rows(b"n")) == {key[1:]: value for key, value in whole.rows.items() if key[:1] == b"n"}
    found = {prefix: dict(store.rows(prefix)) for prefix in (keys.TOUCH, keys.OF_STATE, keys.OF_LEAD, keys.OF_MESSAGE)}
    for prefix, rows in found.items():
        assert rows == {key[1:]: value for key, value in whole.rows.items() if key[:1] == prefix}
    store.close()
    held.close()


def test_a_damaged_store_is_begun_anew(tmp_path):
    held = CopyFolder(tmp_path / "copy")
    store = held.open()
    Copy(filled(), store).read_all()
    store.close()
    for each in (tmp_path / "copy" / "store").glob("MANIFEST*"):
        each.write_bytes(b"junk")
    store = held.open()
    copy = Copy(filled(), store)
    assert copy.offsets == {(flow.STATUS, 0): 0}
    assert copy.read_all().lookup.campaign("c")["touches"] == 3
    store.close()
    held.close()


@pytest.mark.parametrize(
    "change", ["another topic", "truncated", "shorter", "fewer partitions", "gone", "another layout"]
)
def test_what_is_no_copy_any_more_is_read_anew_with_a_line(change, caplog):
    topics = filled()
    topics.add(flow.STATUS, status("elsewhere"), partition=1)
    copy = Copy(topics).read_all()
    rows = topics.records[flow.STATUS, 0]
    if change == "another topic":
        topics.identities[flow.STATUS] = b"0123456789abcdef"
    elif change == "truncated":
        topics.starts[flow.STATUS, 0] = 4
        rows += [rows[0]._replace(offset=3), rows[0]._replace(offset=4)]
    elif change == "shorter":
        rows.pop()
    elif change == "fewer partitions":
        del topics.records[flow.STATUS, 1]
    elif change == "gone":
        topics.records.clear()
        topics.add(flow.DEAD_LETTERS, LETTER)
    else:
        copy.rows[keys.ABOUT] = b"\x91\x63"
    copy.freshness.as_of_ms = T0
    copy.restart()
    assert copy.rows.get(campaign_touches("c")) is None
    assert copy.lookup.as_of_ms == 0
    assert "read anew" in caplog.text
    copy.offsets[flow.STATUS, 0] = topics.starts.get((flow.STATUS, 0), 0)
    copy.read_all()


LETTER = {
    "reason": "invalid",
    "error": "why",
    "source_topic": "touches",
    "source_partition": 0,
    "source_offset": 7,
    "key": b"k",
    "value": b"\xff",
    "headers": [{"name": "h", "value": b"\0"}],
    "touch_id": None,
    "occurred_at": T0,
}


def test_a_copy_of_suppressions_that_is_a_day_old_reads_only_them_anew(caplog):
    topics = filled()
    topics.put(flow.LANES, b"sms/main", LANE)
    copy = Copy(topics).read_all()
    copy.now_ms += 2 * DAY_MS
    copy.restart()
    assert copy.offsets == {(flow.STATUS, 0): 3, (flow.LANES, 0): 0}
    assert copy.lookup.lanes() == {}
    assert copy.lookup.campaign("c")["touches"] == 3
    assert "it is too old" in caplog.text


LANE = (
    b'{"channel":"sms","sender":"main","lane":0,"control_seen":0,"control_in_force":0,"suppressions_seen":0,'
    b'"suppressions_in_force":0,"parked":0,"at_ms":1}'
)
