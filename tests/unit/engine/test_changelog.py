"""What a restore makes of a changelog that cannot be read: it ends with the place, and never goes on behind it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition

from pipeline.engine.changelog import ChangelogDamaged, _load
from pipeline.engine.store import RocksStore, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TP = TopicPartition("lanes-sms-changelog", 2)


class Fetched:
    """Two batches of one fetch; `error` stands in place of the second."""

    def __init__(self, error: Exception | None) -> None:
        self.next_fetch_offset, self._error = 40, error

    def committed_batches(self) -> Iterator[Any]:
        self.next_fetch_offset = 50
        yield [SimpleNamespace(offset=40 + n, key=b"d%d" % n, value=b"v") for n in range(10)]
        if self._error is not None:
            raise self._error
        self.next_fetch_offset = 60


@pytest.mark.parametrize("error", [ValueError("CRC"), KeyError("codec"), EOFError(), RuntimeError("x" * 5_000)])
def test_a_batch_that_cannot_be_read_ends_the_restore_with_its_place(tmp_path: Path, error: Exception) -> None:
    fetched: Any = Fetched(error)
    with pytest.raises(ChangelogDamaged) as damaged:
        _load(RocksStore(tmp_path / "s"), TP, fetched, is_bulk=False)
    said = str(damaged.value)
    assert said.startswith(f"lanes-sms-changelog[2]@50 cannot be read ({type(error).__name__}): ")
    assert "let the partition be led by an undamaged replica" in said
    assert len(said) < 400


def test_a_whole_fetch_is_loaded_and_a_fault_of_the_disk_is_not_the_changelogs(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    whole: Any = Fetched(None)
    assert _load(store, TP, whole, is_bulk=False) == 20
    assert len(list(store.scan(b"d", b"e"))) == 10
    full: Any = Fetched(StoreFailed("no space left"))
    with pytest.raises(StoreFailed):
        _load(store, TP, full, is_bulk=False)
