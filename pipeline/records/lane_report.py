"""Records of `touches.lanes`: how far each lane has looked at orders and suppressions, and from where on they are in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from pipeline.records.published import UndecodableValue


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What a lane says of itself, in the transaction of its decisions. Offsets are those that come next."""

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

    @property
    def key(self) -> str:
        """What identifies the lane: `<channel>/<sender>`."""
        return f"{self.channel}/{self.sender}"


def encode_lane_report(report: LaneReport) -> bytes:
    """Return `report` as a value of `touches.lanes`."""
    return orjson.dumps(asdict(report))


def decode_lane_report(value: bytes) -> LaneReport:
    """Return the report of a record. Raises UndecodableValue."""
    try:
        return LaneReport(**orjson.loads(value))
    except (ValueError, TypeError) as error:
        raise UndecodableValue(f"no lane report: {error}") from error
