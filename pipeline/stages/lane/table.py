"""Keys and values of the table `lanes-<channel>`. Workers of other versions read it: the format is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from struct import unpack
from typing import Any, Final, NamedTuple

import orjson

from pipeline.domain.limit import PastCall
from pipeline.domain.work import Claim, Work
from pipeline.records import UnknownVersion, decode_claim, decode_work, encode_claim
from pipeline.stage_io import Overlay, Table
from pipeline.stages.lane.breaker import Breaker, Outage
from pipeline.stages.ttl import ENTRY, recall, remember

WAITING: Final = b"w"
FLOW: Final = b"f"
CLAIM: Final = b"c"
CALL: Final = b"r"
STATE: Final = b"s"
MEMORY: Final = b"m"
LEDGER: Final = b"l"
PARKED: Final = b"p"
PARKED_UNTIL: Final = b"x"
"""Prefix of the index by which parked touches expire."""
END: Final = b"\xff"
"""Behind every key with a given prefix."""
DECODED: Final = 64
"""Waiting records kept decoded: each step looks at the head of the queue again."""


class Looked(NamedTuple):
    """How far the lane has come with one of the two topics of orders and suppressions: each an offset that comes next."""

    seen: int = 0
    """All its decisions from now on are made with what stands before this."""
    in_force: int = 0
    """No call that was decided with less can begin any more, or is running."""
    swept: int = 0
    """The touches that wait have been looked at with what stands before this."""


NOTHING_SEEN: Final = Looked()


@dataclass(slots=True, kw_only=True)
class LaneState:
    """The counters and instants of a lane. Instants are epoch milliseconds."""

    arrivals: int = 0
    """Touches ever put in the queue; makes their keys unique."""
    waiting: int = 0
    """Touches in the queue."""
    calls: int = 0
    """Calls ever noted; the number of the latest."""
    first_send_ms: int | None = None
    last_success_ms: int = 0
    """When the latest successful answer arrived."""
    last_good_call_ms: int = 0
    """When the latest call that succeeded was claimed."""
    gap_ms: int = 0
    """The gap drawn for the latest call; it begins when that call has ended."""
    day: int = 0
    """The latest calendar day (days since 1970) on which a message was claimed."""
    messages: int = 0
    """Messages claimed on `day`, less those that the provider did not accept."""
    breaker: Breaker = field(default_factory=Breaker)
    served: dict[str, int] = field(default_factory=dict)
    """Turn of the latest touch served, by priority."""
    control: Looked = NOTHING_SEEN
    suppressions: Looked = NOTHING_SEEN
    parked: int = 0
    """Touches that orders have parked."""
    parkings: int = 0
    """Touches ever parked; makes their keys unique."""

    def pack(self) -> bytes:
        """Return the table's value: JSON, in which the breaker is `lost_in_a_row` and `pause`."""
        return orjson.dumps(
            {
                "arrivals": self.arrivals,
                "waiting": self.waiting,
                "calls": self.calls,
                "first_send_ms": self.first_send_ms,
                "last_success_ms": self.last_success_ms,
                "last_good_call_ms": self.last_good_call_ms,
                "gap_ms": self.gap_ms,
                "day": self.day,
                "messages": self.messages,
                "lost_in_a_row": self.breaker.lost_in_a_row,
                "pause": None if self.breaker.outage is None else _packed_outage(self.breaker.outage),
                "served": self.served,
                **self._packed_obedience(),
            }
        )

    def _packed_obedience(self) -> dict[str, object]:
        """Return what has to do with orders and suppressions; nothing as long as there has never been one."""
        if (self.control, self.suppressions) == (NOTHING_SEEN, NOTHING_SEEN):
            return {}
        return {
            "control": list(self.control),
            "suppressions": list(self.suppressions),
            "parked": self.parked,
            "parkings": self.parkings,
        }

    @classmethod
    def unpack(cls, value: bytes | None) -> LaneState:
        """Return the state of a table's value (None: a new lane). Raises UnknownVersion for a field of a later version."""
        if value is None:
            return cls()
        raw = orjson.loads(value)
        outage = raw.pop("pause")
        lost_in_a_row = raw.pop("lost_in_a_row", 0)
        if later := sorted(raw.keys() - _STATE_FIELDS | (outage or {}).keys() - _OUTAGE_FIELDS):
            raise UnknownVersion(f"the lane's state has {', '.join(later)}")
        for name in ("control", "suppressions"):
            raw[name] = Looked(*raw.get(name, NOTHING_SEEN))
        return cls(**raw, breaker=Breaker(_unpacked_outage(outage), lost_in_a_row))


def _packed_outage(outage: Outage) -> dict[str, object]:
    return {
        "since_ms": outage.since_ms,
        "until_ms": outage.until_ms,
        "tries": outage.tries,
        "code": outage.code,
        "error": outage.error,
        "is_said": outage.is_retry_after,
    }


def _unpacked_outage(raw: Mapping[str, Any] | None) -> Outage | None:
    if raw is None:
        return None
    given = dict(raw)
    is_retry_after = given.pop("is_said", False)
    return Outage(**given, is_retry_after=is_retry_after)


_STATE_FIELDS = {each.name for each in fields(LaneState)} - {"breaker"}
_OUTAGE_FIELDS = {each.name for each in fields(Outage)} - {"is_retry_after"} | {"is_said"}


# --- claims ----------------------------------------------------------------------------------------------------


def put_claim(view: Overlay, claim: Claim) -> None:
    """Write an open claim."""
    view.put(CLAIM + claim.claim_id.encode(), encode_claim(claim))


def delete_claim(view: Overlay, claim: Claim) -> None:
    """Delete a claim that is closed."""
    view.delete(CLAIM + claim.claim_id.encode())


def open_claims(table: Table) -> tuple[dict[str, Claim], list[tuple[bytes, bytes, Exception]]]:
    """Return the open claims by id, and (key, value, error) of those that cannot be decoded. Raises UnknownVersion."""
    claims: dict[str, Claim] = {}
    broken: list[tuple[bytes, bytes, Exception]] = []
    for key, value in table.scan(CLAIM, CLAIM + END):
        try:
            claim = decode_claim(value)
        except UnknownVersion:
            raise
        except Exception as error:  # noqa: BLE001 - one claim must not keep its lane from opening
            broken.append((key, value, error))
        else:
            claims[claim.claim_id] = claim
    return claims, broken


# --- calls -----------------------------------------------------------------------------------------------------


def put_call(view: Overlay, number: int, call: PastCall, claim_id: str) -> None:
    """Write call `number`; the end of a call without an answer is the last instant at which it can run."""
    value = call.start_ms.to_bytes(8, "big") + call.end_ms.to_bytes(8, "big") + claim_id.encode()
    view.put(CALL + number.to_bytes(8, "big"), value)


def delete_call(view: Overlay, number: int) -> None:
    """Delete call `number`."""
    view.delete(CALL + number.to_bytes(8, "big"))


def last_calls(table: Table) -> dict[int, tuple[PastCall, str]]:
    """Return (call, claim id) by number, oldest first."""
    return {
        int.from_bytes(key[1:], "big"): (
            PastCall(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big")),
            value[16:].decode(),
        )
        for key, value in table.scan(CALL, CALL + END)
    }


# --- touches that this lane has taken in -----------------------------------------------------------------------


class MemoryTag(Enum):
    """The first byte of a `Memory` in the table."""

    UNDER_WAY = b"a"
    RETURNED = b"b"
    """Under way, and has come back from `touches.scheduled`. A version that knows only `a` and `z` reads it as under way."""
    ENDED = b"z"


_UNDER_WAY, _RETURNED, _ENDED = (each.value for each in MemoryTag)


class Memory(NamedTuple):
    """What is known of one touch."""

    tag: MemoryTag
    origins: tuple[int, ...] = ()
    """Partitions of `touches.results` that its events go to."""
    returns: int = 0
    """How often it has come back from `touches.scheduled`."""
    event: bytes = b""
    """Its terminal event, if it has ended."""

    def pack(self) -> bytes:
        """Return the table's value."""
        if self.tag is MemoryTag.ENDED:
            return _ENDED + self.event
        origins = b"".join(origin.to_bytes(4, "big") for origin in self.origins)
        if self.returns:
            return _RETURNED + self.returns.to_bytes(4, "big") + origins
        return _UNDER_WAY + origins

    @classmethod
    def unpack(cls, value: bytes) -> Memory:
        """Return the memory of a table's value; a tag of a later version means a touch under way."""
        tag = value[:1]
        if tag == _UNDER_WAY:
            return cls(MemoryTag.UNDER_WAY, _origins(value[1:]))
        if tag == _RETURNED:
            return cls(MemoryTag.RETURNED, _origins(value[5:]), int.from_bytes(value[1:5], "big"))
        return cls(MemoryTag.ENDED, event=value[1:]) if tag == _ENDED else cls(MemoryTag.UNDER_WAY)

    def is_repeat(self, work: Work) -> bool:
        """Return whether this copy of `work` was taken in before: it is read again, or was produced twice."""
        return self.tag is MemoryTag.ENDED or work.returns <= self.returns


def _origins(value: bytes) -> tuple[int, ...]:
    return unpack(f">{len(value) // 4}I", value)


def memory_key(work: Work) -> bytes:
    """Return the key of what is known of this touch with this content."""
    return MEMORY + work.touch_id.encode() + b"\0" + work.digest


def memory_of(view: Overlay, work: Work) -> Memory | None:
    """Return what is known of `work`, or None."""
    value = recall(view, memory_key(work))
    return None if value is None else Memory.unpack(value)


def origins_of(memory: Memory | None, work: Work) -> tuple[int, ...]:
    """Return the partitions of `touches.results` that the events of `work` go to."""
    return (work.origin,) if memory is None or not memory.origins else memory.origins


def put_memory(view: Overlay, work: Work, memory: Memory) -> None:
    """Write what is known of `work`, which is under way."""
    view.put(ENTRY + memory_key(work), memory.pack())


def put_end(view: Overlay, work: Work, event: bytes, forget_ms: int) -> None:
    """Write that `work` has ended with `event`, until `forget_ms`."""
    remember(view, memory_key(work), _ENDED + event, forget_ms)


def put_forwarded(view: Overlay, work: Work, origins: tuple[int, ...], forget_ms: int) -> None:
    """Write, until `forget_ms`, that `work` went to another lane."""
    remember(view, memory_key(work), Memory(MemoryTag.UNDER_WAY, origins, work.returns).pack(), forget_ms)


# --- the ledger of message ids ---------------------------------------------------------------------------------


def twin_key(work: Work) -> bytes:
    """Return the hash of address and text, 16 bytes: a look-up by text cannot tell touches with the same hash apart."""
    hashed = blake2b(work.to.encode(), digest_size=16)
    hashed.update(b"\0" + (work.content.body or "").encode())
    return hashed.digest()


def put_message_id(view: Overlay, work: Work, message_id: str, forget_ms: int) -> None:
    """Write that `message_id` belongs to `work`, so that no look-up takes it for the message of a twin."""
    remember(view, LEDGER + twin_key(work) + message_id.encode(), b"\x01", forget_ms)


def known_ids(view: Overlay, work: Work) -> frozenset[str]:
    """Return the message ids of touches with the same address and text as `work`."""
    prefix = ENTRY + LEDGER + twin_key(work)
    return frozenset(key[len(prefix) :].decode() for key, _ in view.scan(prefix, prefix + END))


@lru_cache(maxsize=DECODED)
def decode_waiting(value: bytes) -> Work:
    """Return the work of a waiting record."""
    return decode_work(value)
