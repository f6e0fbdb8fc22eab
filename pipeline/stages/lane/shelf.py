"""Where a lane keeps what: typed access to its table. The key order of `waiting` is the order of service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import lru_cache
from hashlib import blake2b

import orjson

from pipeline.domain.limit import PastCall
from pipeline.domain.work import Claim, Work
from pipeline.records import UnknownVersion, decode_claim, decode_work, encode_claim
from pipeline.stage_io import Overlay, Table
from pipeline.stages.expiry import ENTRY, recall, remember

WAITING = b"w"
FLOW = b"f"
CLAIM = b"c"
CALL = b"r"
STATE = b"s"
MEMORY = b"m"
LEDGER = b"l"
END = b"\xff"
HEADS = 64
"""Touches kept decoded: each step looks at the head of the line again."""


@dataclass(slots=True)
class Pause:
    """Why and until when a lane does not send."""

    since_ms: int
    until_ms: int
    tries: int
    code: str
    error: str
    is_said: bool = False
    """The provider itself said until when."""


@dataclass(slots=True)
class LaneState:
    """The few figures a lane must not forget."""

    arrivals: int = 0
    waiting: int = 0
    calls: int = 0
    first_send_ms: int | None = None
    last_success_ms: int = 0
    """When a success last came home."""
    last_good_call_ms: int = 0
    """When the latest call that succeeded was claimed."""
    gap_ms: int = 0
    """The pause drawn when the latest call was claimed; it begins when that call has ended."""
    day: int = 0
    """The latest calendar day (days since 1970) on which a message was claimed."""
    messages: int = 0
    """Messages claimed on `day`, less those the provider is known not to have taken."""
    lost_in_a_row: int = 0
    """Answers lost since the provider last gave one."""
    pause: Pause | None = None
    served: dict[str, int] = field(default_factory=dict)
    """Turn of the last touch served, by priority."""

    def pack(self) -> bytes:
        """Return the table's value."""
        return orjson.dumps(self)

    @classmethod
    def unpack(cls, value: bytes | None) -> LaneState:
        """Return the state of a table's value. Raises UnknownVersion for one with figures that came later."""
        if value is None:
            return cls()
        raw = orjson.loads(value)
        pause = raw.pop("pause")
        if later := sorted({*raw, *(pause or ())} - _FIGURES):
            raise UnknownVersion(f"the lane's state has {', '.join(later)}")
        return cls(**raw, pause=None if pause is None else Pause(**pause))


_FIGURES = {figure.name for kind in (LaneState, Pause) for figure in fields(kind)}


def twin_key(work: Work) -> bytes:
    """Return what two touches share that a provider could not tell apart: address and text, 16 bytes."""
    hashed = blake2b(work.to.encode(), digest_size=16)
    hashed.update(b"\0" + (work.content.body or "").encode())
    return hashed.digest()


# --- waiting ---------------------------------------------------------------------------------------------------


def enqueue(view: Overlay, state: LaneState, work: Work, value: bytes) -> bytes:
    """Put `work` (as record `value`) in line: behind its own campaign, in turn with the others. Returns its key."""
    flow = _flow_key(work)
    served = state.served.get(str(work.priority), 0)
    last, count = _flow(view, flow)
    turn = max(served, last) + 1
    view.put(flow, turn.to_bytes(8, "big") + (count + 1).to_bytes(8, "big"))
    return _put(view, state, work, turn, value)


def put_back(view: Overlay, state: LaneState, work: Work, value: bytes) -> bytes:
    """Put claimed `work` back at the head of its priority. Returns its key."""
    flow = _flow_key(work)
    last, count = _flow(view, flow)
    view.put(flow, last.to_bytes(8, "big") + (count + 1).to_bytes(8, "big"))
    return _put(view, state, work, state.served.get(str(work.priority), 0), value)


def _put(view: Overlay, state: LaneState, work: Work, turn: int, value: bytes) -> bytes:
    state.arrivals += 1
    state.waiting += 1
    key = WAITING + bytes((work.priority,)) + turn.to_bytes(8, "big") + state.arrivals.to_bytes(8, "big")
    view.put(key, value)
    return key


def take(view: Overlay, state: LaneState, key: bytes, work: Work) -> None:
    """Take `work` out of the line: it is served, deferred or has ended."""
    view.delete(key)
    state.waiting -= 1
    state.served[str(work.priority)] = max(state.served.get(str(work.priority), 0), int.from_bytes(key[2:10], "big"))
    flow = _flow_key(work)
    last, count = _flow(view, flow)
    if count > 1:
        view.put(flow, last.to_bytes(8, "big") + (count - 1).to_bytes(8, "big"))
    else:
        view.delete(flow)


def line(view: Overlay, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, Work record) in the order of service."""
    return view.scan(max(start, WAITING), WAITING + END)


def _flow_key(work: Work) -> bytes:
    # Retries take turns with the fresh touches of their campaign: neither starves the other.
    again = b"r" if work.attempt else b"f"
    return FLOW + bytes((work.priority,)) + again + work.campaign_id.encode()


def _flow(view: Overlay, key: bytes) -> tuple[int, int]:
    value = view.get(key)
    return (0, 0) if value is None else (int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


# --- claims ----------------------------------------------------------------------------------------------------


def keep_claim(view: Overlay, claim: Claim) -> None:
    """Write an open claim."""
    view.put(CLAIM + claim.claim_id.encode(), encode_claim(claim))


def drop_claim(view: Overlay, claim: Claim) -> None:
    """Close a claim."""
    view.delete(CLAIM + claim.claim_id.encode())


def open_claims(table: Table) -> tuple[dict[str, Claim], list[tuple[bytes, bytes, Exception]]]:
    """Return the claims found open, and those (key, value, error) that cannot be read. Raises UnknownVersion."""
    claims: dict[str, Claim] = {}
    broken: list[tuple[bytes, bytes, Exception]] = []
    for key, value in table.scan(CLAIM, CLAIM + END):
        try:
            claim = decode_claim(value)
        except UnknownVersion:
            raise
        except Exception as error:  # noqa: BLE001 - one claim must not keep its lane shut for ever
            broken.append((key, value, error))
        else:
            claims[claim.claim_id] = claim
    return claims, broken


# --- the last calls --------------------------------------------------------------------------------------------


def keep_call(view: Overlay, number: int, call: PastCall, claim_id: str) -> None:
    """Write call `number`; a call under way has the last instant it can run as its end."""
    value = call.start_ms.to_bytes(8, "big") + call.end_ms.to_bytes(8, "big") + claim_id.encode()
    view.put(CALL + number.to_bytes(8, "big"), value)


def drop_call(view: Overlay, number: int) -> None:
    """Forget call `number`."""
    view.delete(CALL + number.to_bytes(8, "big"))


def last_calls(table: Table) -> dict[int, tuple[PastCall, str]]:
    """Return the calls remembered, by number, oldest first."""
    return {
        int.from_bytes(key[1:], "big"): (
            PastCall(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big")),
            value[16:].decode(),
        )
        for key, value in table.scan(CALL, CALL + END)
    }


# --- who has had what ------------------------------------------------------------------------------------------


def memory_key(work: Work) -> bytes:
    """Return the key under which it is remembered who has had this touch with this content."""
    return MEMORY + work.touch_id.encode() + b"\0" + work.digest


def active(origins: list[int], returns: int = 0) -> bytes:
    """Return the memory of a touch under way: the partitions its results go home to, and how often it has come back.

    The tag tells the two forms apart; a version that knows only the first reads the second as "under way".
    """
    homes = b"".join(origin.to_bytes(4, "big") for origin in origins)
    return b"b" + returns.to_bytes(4, "big") + homes if returns else b"a" + homes


def origins_of(memory: bytes | None, work: Work) -> list[int]:
    """Return the partitions the results of `work` go home to."""
    start = {b"a": 1, b"b": 5}.get((memory or b"")[:1])
    if memory is None or start is None:
        return [work.origin]
    return [int.from_bytes(memory[at : at + 4], "big") for at in range(start, len(memory), 4)]


def is_known(memory: bytes | None, work: Work) -> bool:
    """Whether this copy of `work` was taken in before: it is read again, or came a second time."""
    if memory is None:
        return False
    return memory[:1] == b"z" or work.returns <= returns_of(memory)


def returns_of(memory: bytes) -> int:
    """Return how often a touch under way has come back from `touches.scheduled`."""
    return int.from_bytes(memory[1:5], "big") if memory[:1] == b"b" else 0


def ended(event: bytes) -> bytes:
    """Return the memory of a touch that has ended: its terminal event."""
    return b"z" + event


# --- the ledger ------------------------------------------------------------------------------------------------


def enter(view: Overlay, work: Work, message_id: str, forget_ms: int) -> None:
    """Write down that `message_id` is this touch's: no look-up takes it for another's."""
    remember(view, LEDGER + twin_key(work) + message_id.encode(), b"\x01", forget_ms)


def known_ids(view: Overlay, work: Work) -> frozenset[str]:
    """Return the message ids that belong to touches with the same address and text."""
    prefix = ENTRY + LEDGER + twin_key(work)
    return frozenset(key[len(prefix) :].decode() for key, _ in view.scan(prefix, prefix + END))


@lru_cache(maxsize=HEADS)
def decode_waiting(value: bytes) -> Work:
    """Return the work of a waiting record."""
    return decode_work(value)


__all__ = ["recall", "remember"]
