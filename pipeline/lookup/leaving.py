"""What leaves the copy: touches by `keep`, everything else with its topic. Some rows at a time, so that nobody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.lookup import keys
from pipeline.lookup.draft import Draft

if TYPE_CHECKING:
    from pipeline.lookup.draft import Rows

AT_ONCE: Final = 200
"""Most touches looked at in one draft."""


def leaving(rows: Rows, before_ms: int, most: int = AT_ONCE) -> Draft | None:
    """Return the draft that lets go touches whose last record was written before `before_ms`; None: there is none to look at.

    A touch is looked at when its first record is that old; if it has a younger one, it is looked at again when that is.
    """
    draft, looked = Draft(rows), 0
    for key, _ in rows.rows(keys.LEAVES):
        at_ms, touch = int.from_bytes(key[: keys.INSTANT_BYTES]), key[keys.INSTANT_BYTES :]
        if at_ms >= before_ms or looked == most:
            break
        looked += 1
        touch_id = touch.decode(errors="surrogatepass")
        row = draft.touch(touch_id)
        assert row is not None, "the row that says when a touch leaves goes with it"
        if row.last_ms < before_ms:
            draft.remove_touch(touch_id)
        else:
            draft.put_touch(touch_id, msgspec.structs.replace(row, leaves_ms=row.last_ms))
    return draft if looked else None
