"""The keys of the copy's rows: one byte that says what the row is, then what it is found by.

Rows that are listed newest first have `newest(instant)` in their key: a scan forward meets the newest first. A name ends
with two zero bytes, so that no name is the beginning of another's key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

TOUCH: Final = b"t"
"""touch -> TouchRow."""
OF_STATE: Final = b"s"
"""campaign, state, newest, touch -> nothing. All lists of a campaign come of these."""
OF_LEAD: Final = b"l"
"""lead, newest, touch -> state. So the next two."""
OF_RECIPIENT: Final = b"a"
OF_MESSAGE: Final = b"m"
LEAVES: Final = b"e"
"""instant, touch -> nothing: when to look whether the touch is old enough to leave. One per touch."""
COUNT: Final = b"n"
"""campaign, one of the next four, … -> how many touches (8 bytes)."""
TOUCHES: Final = b"t"
BY_STATE: Final = b"s"
"""channel, state, reason."""
BY_KIND: Final = b"k"
"""channel, kind."""
BY_HOUR: Final = b"h"
"""hour (8 bytes, epoch ms), channel, state."""
SENT: Final = b"c"
"""minute (8 bytes, epoch ms), channel, sender -> how many touches were sent in it (8 bytes)."""
CAMPAIGN: Final = b"g"
"""newest, campaign -> nothing."""
CAMPAIGN_NEWEST: Final = b"G"
"""campaign -> instant of its latest status (8 bytes)."""
DEAD: Final = b"D"
"""partition and offset -> LetterRow."""
DEAD_RAW: Final = b"B"
"""partition and offset -> LetterRaw: what came, with whatever it says of a person."""
DEAD_OF_REASON: Final = b"d"
"""reason, newest, partition and offset -> nothing."""
DEAD_REASON: Final = b"r"
"""reason -> how many."""
UNCONFIRMED: Final = b"U"
"""touch -> UnconfirmedRow."""
UNCONFIRMED_NEWEST: Final = b"u"
"""newest, touch -> nothing."""
UNCONFIRMED_PLACE: Final = b"w"
"""partition and offset -> touch: the latest record of it."""
AUDIT: Final = b"i"
"""newest(offset), partition -> the record, in MessagePack."""
ORDER: Final = b"o"
"""key -> offset (8 bytes), value as it stands in the topic."""
LANE: Final = b"y"
"""key -> value as it stands in the topic."""
ENTRY: Final = b"f"
"""newest(offset) -> the suppression, in MessagePack."""
ENTRY_OFFSET: Final = b"F"
"""key -> offset (8 bytes)."""
ENTRY_OF: Final = b"h"
"""whom, newest(offset) -> nothing."""
POSITION: Final = b"p"
"""topic, partition (4 bytes) -> Position."""
ABOUT: Final = b"v"
"""Nothing -> CopyNote: of the copy as a whole."""

END: Final = b"\0\0"
_LATEST: Final = 2**63 - 1
INSTANT_BYTES: Final = 8


@lru_cache(4_096)
def name(text: str) -> bytes:
    """Return `text` as a part of a key that others follow."""
    return text.encode(errors="surrogatepass").replace(b"\0", b"\0\xff") + END


def names(packed: bytes) -> list[str]:
    """Return the names that a key's part is made of."""
    return [each.replace(b"\0\xff", b"\0").decode(errors="surrogatepass") for each in packed.split(END)[:-1]]


def instant(at_ms: int) -> bytes:
    """Return an instant (or an offset) so that the oldest comes first."""
    return min(max(at_ms, 0), _LATEST).to_bytes(INSTANT_BYTES)


def newest(at_ms: int) -> bytes:
    """Return an instant (or an offset) so that the newest comes first."""
    return (_LATEST - min(max(at_ms, 0), _LATEST)).to_bytes(INSTANT_BYTES)


def at_of(packed: bytes) -> int:
    """Return the instant (or the offset) that `newest` packed."""
    return _LATEST - int.from_bytes(packed)


def place(partition: int, offset: int) -> bytes:
    """Return the position of a record in its topic."""
    return partition.to_bytes(4) + offset.to_bytes(8)


def place_of(packed: bytes) -> tuple[int, int]:
    """Return partition and offset that `place` packed."""
    return int.from_bytes(packed[:4]), int.from_bytes(packed[4:12])


def after(prefix: bytes) -> bytes:
    """Return the end of the keys that begin with `prefix`, whose last byte is not the highest."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
