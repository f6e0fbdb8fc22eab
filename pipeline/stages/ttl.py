"""Table entries with an expiry time: deleted in the order of that time, a bounded number per step."""

from __future__ import annotations

from pipeline.stage_io import Overlay

ENTRY = b"e"
INDEX = b"t"
PER_STEP = 500


def remember(view: Overlay, key: bytes, value: bytes, forget_ms: int) -> None:
    """Keep `value` under `key` until `forget_ms`."""
    view.put(ENTRY + key, value)
    view.put(INDEX + forget_ms.to_bytes(8, "big") + key, b"\x01")


def recall(view: Overlay, key: bytes) -> bytes | None:
    """Return the value under `key`, or None."""
    return view.get(ENTRY + key)


class TtlSweep:
    """Deletes the expired entries of one open table."""

    def __init__(self) -> None:
        self._done = INDEX
        """Every index row up to this one is deleted. Scans start here, so that they skip RocksDB's tombstones. An entry that
        a clock set back puts below it is deleted by the next owner."""

    def forget(self, view: Overlay, now_ms: int) -> int | None:
        """Delete expired entries; return the next expiry, epoch milliseconds (None: no entry is left)."""
        due: list[bytes] = []
        wake_ms = None
        for row, _ in view.scan(self._done, INDEX + b"\xff"):
            forget_ms = int.from_bytes(row[1:9], "big")
            if forget_ms > now_ms or len(due) >= PER_STEP:
                wake_ms = max(forget_ms, now_ms)
                break
            due.append(row)
        for row in due:
            view.delete(row)
            view.delete(ENTRY + row[9:])
            self._done = row
        return wake_ms
