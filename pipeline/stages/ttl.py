"""Table entries with an expiry: deleted in its order, a bounded number per step.

An entry's value holds its expiry. The rows that put entries in that order follow from the entries, so that each store makes
its own (`stage_io.expiry_row`) and no changelog has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.stage_io import EXPIRES, EXPIRY_END, LOCAL, Overlay, expiry_row

ENTRY: Final = b"e"
INDEX: Final = b"t"
"""Rows in the order of expiry that versions before `expiry_row` wrote: expiry, key. Their entries have no expiry in the value."""
PER_STEP: Final = 500
REST_MS: Final = 1_000
"""An entry is deleted at most this long after its expiry: where one expires every millisecond, each must not cost a transaction."""


def remember(view: Overlay, key: bytes, value: bytes, forget_ms: int) -> None:
    """Keep `value` under `key` until `forget_ms`."""
    view.put(ENTRY + key, EXPIRES + forget_ms.to_bytes(8, "big") + value)


def recall(view: Overlay, key: bytes) -> bytes | None:
    """Return the value under `key`, or None."""
    value = view.get(ENTRY + key)
    return value if value is None or expiry_row(key, value) is None else value[EXPIRY_END:]


Ending = Callable[[bytes, bytes], None]
"""Is told key and value of an entry that has expired."""


def _let_go(key: bytes, value: bytes) -> None:
    del key, value


class TtlSweep:
    """Deletes the expired entries of one open table."""

    def __init__(self) -> None:
        self._done = LOCAL
        """Every local row up to this one is deleted. Scans start here, so that they skip RocksDB's tombstones. An entry that
        a clock set back puts below it is deleted by the next owner."""
        self._done_before = INDEX
        """The same among the rows of earlier versions."""
        self._has_earlier = True

    def forget(self, view: Overlay, now_ms: int, ending: Ending = _let_go) -> int | None:
        """Delete expired entries; return when to do so again, epoch milliseconds (None: no entry is left).

        That is now if PER_STEP was not enough, and otherwise at the next expiry, REST_MS from now at the earliest. `ending`
        is told each one before; it may remember it for longer.
        """
        earlier_ms = self._forget_earlier(view, now_ms) if self._has_earlier else None
        due: list[bytes] = []
        wake_ms = None
        for row, _ in view.scan(self._done, LOCAL + b"\xff"):
            forget_ms = int.from_bytes(row[1:9], "big")
            if forget_ms > now_ms or len(due) >= PER_STEP:
                wake_ms = max(forget_ms, now_ms)
                break
            due.append(row)
        for row in due:
            view.delete(row)
            if (
                expiry_row(row[9:], value := view.get(row[9:])) == row and value is not None
            ):  # not kept for longer since
                ending(row[9 + len(ENTRY) :], value[EXPIRY_END:])
                if view.get(row[9:]) == value:
                    view.delete(row[9:])
            self._done = row
        wakes = (earlier_ms, _first_expiry_ms(view), wake_ms)
        soonest = min((each for each in wakes if each is not None), default=None)
        return soonest if soonest is None or soonest <= now_ms else max(soonest, now_ms + REST_MS)

    def _forget_earlier(self, view: Overlay, now_ms: int) -> int | None:
        due: list[bytes] = []
        for row, _ in view.scan(self._done_before, INDEX + b"\xff"):
            forget_ms = int.from_bytes(row[1:9], "big")
            if forget_ms > now_ms or len(due) >= PER_STEP:
                break
            due.append(row)
        else:
            self._has_earlier = bool(due)
            forget_ms = now_ms
        for row in due:
            view.delete(row)
            value = view.get(ENTRY + row[9:])
            if value is not None and expiry_row(row[9:], value) is None:
                view.delete(ENTRY + row[9:])
            self._done_before = row
        return max(forget_ms, now_ms) if self._has_earlier else None


def _first_expiry_ms(view: Overlay) -> int | None:
    """Return the first expiry among the entries of this step: their local rows are written with the commit."""
    expiries = [value[2:EXPIRY_END] for value in view.changes.values() if value is not None and value[:2] == EXPIRES]
    return int.from_bytes(min(expiries), "big") if expiries else None
