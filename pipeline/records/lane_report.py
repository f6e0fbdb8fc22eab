"""Records of `touches.lanes`: what each lane says of itself, and how far it obeys orders and suppressions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

import orjson

from pipeline.records.published import UndecodableValue

_COUNTED: Final = (
    "lane",
    "control_seen",
    "control_in_force",
    "suppressions_seen",
    "suppressions_in_force",
    "parked",
    "at_ms",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What a lane says of itself, in the transaction of its decisions. Offsets are those that come next.

    The members from `backlog` on are None in a report of a version that did not tell them.
    """

    channel: str
    sender: str
    """A sender's name, or `#<partition>` for a lane without one."""
    lane: int
    control_seen: int
    """Orders below this offset have been looked at."""
    control_in_force: int
    """Orders below this offset are obeyed: every claim made without them has ended or can no longer begin or run."""
    suppressions_seen: int
    suppressions_in_force: int
    parked: int
    """Touches that an order has parked."""
    at_ms: int
    """Epoch milliseconds."""
    backlog: int | None = None
    """Touches that wait in the lane, without deferred and parked ones."""
    open_claims: int | None = None
    """Calls in flight, and calls whose outcome is unknown."""
    held_by: tuple[str, ...] | None = None
    """What holds the lane: the words of `pipeline_lane_held`, sorted."""
    held_until_ms: int | None = None
    """When that ends at the earliest; None: nothing holds it, or nobody knows."""
    orders: tuple[str, ...] | None = None
    """Keys of the pauses that hold the lane whole, the oldest first."""
    window_open: bool | None = None
    """Whether its window is open, by the clock of the window's own zone, or of its fallback zone."""
    next_opens_ms: int | None = None
    """When the window opens next; None while it is open."""
    last_sent_ms: int | None = None
    """When a provider last accepted a message of it; None: never."""

    @property
    def key(self) -> str:
        """What identifies the lane: `<channel>/<sender>`."""
        return f"{self.channel}/{self.sender}"

    def shown(self) -> dict[str, object]:
        """Return the lane as `GET /api/v1/lanes` shows it. Instants are epoch milliseconds."""
        return {
            "channel": self.channel,
            "sender": self.sender,
            "lane": self.lane,
            "backlog": self.backlog,
            "parked": self.parked,
            "open_claims": self.open_claims,
            "held_by": list(self.held_by or ()),
            "orders": list(self.orders or ()),
            "window_open": self.window_open,
            "next_opens_at": self.next_opens_ms,
            "last_sent_at": self.last_sent_ms,
            "reported_at": self.at_ms,
        }


_MEMBERS = frozenset(each.name for each in fields(LaneReport))
_LISTS = ("held_by", "orders")


def encode_lane_report(report: LaneReport) -> bytes:
    """Return `report` as a value of `touches.lanes`."""
    return orjson.dumps(asdict(report))


def decode_lane_report(value: bytes) -> LaneReport:
    """Return the report of a record. Members of later versions are left out. Raises UndecodableValue."""
    try:
        raw = {name: each for name, each in orjson.loads(value).items() if name in _MEMBERS}
        raw |= {name: tuple(raw[name]) for name in _LISTS if raw.get(name) is not None}
        report = LaneReport(**raw)
    except (ValueError, TypeError, AttributeError) as error:
        raise UndecodableValue(f"no lane report: {error}") from error
    if not all(isinstance(getattr(report, name), int) for name in _COUNTED):
        raise UndecodableValue("no lane report: an offset or a count is no whole number")
    return report
