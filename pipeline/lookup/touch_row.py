"""One touch as the copy keeps it: what its records have in common once, and of each record the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from pipeline.domain.instant import instant_ms
from pipeline.records.published import UndecodableValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTCOMES: Final = (
    "complained",
    "bounced",
    "suppressed_by_provider",
    "undelivered",
    "replied",
    "clicked",
    "opened",
    "read",
    "delivered",
    "delayed",
)
"""Kinds of deliveries: the first of these that was told is what became of the touch."""
Instant = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Epoch milliseconds."""
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
COMMON: Final = ("campaign_id", "lead_id", "channel", "metadata")
"""Members that are the same in all records of a touch, as a rule."""


class ToldStatus(Struct, frozen=True, gc=False):
    """A record of `touches.status`, as far as it must be right to be taken in."""

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: str
    state: str
    occurred_at: Instant
    sequence: Number = 0
    attempt: Number = 0
    reason: str | None = None
    sender: str | None = None
    provider_message_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    next_attempt_at: Instant | None = None
    recipient: str | None = None
    order: str | None = None
    metadata: dict[str, str] = {}


class ToldDelivery(Struct, frozen=True, gc=False):
    """A record of `touches.deliveries`, as far as it must be right to be taken in."""

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: str
    kind: str
    received_at: Instant
    sequence: Number = 0
    sender: str | None = None
    provider_message_id: str | None = None
    recipient: str | None = None
    detail: str | None = None
    error_code: str | None = None
    error: str | None = None
    occurred_at: Instant | None = None
    metadata: dict[str, str] = {}


class StatusRow(Struct, frozen=True, array_like=True, gc=False):
    """A status without what its touch has in common."""

    state: str
    occurred_at: int
    sequence: int
    attempt: int
    reason: str | None
    sender: str | None
    provider_message_id: str | None
    error_code: str | None
    error: str | None
    next_attempt_at: int | None
    recipient: str | None
    order: str | None
    differs: dict[str, Any] | None = None
    """Members that are not what the touch has in common."""


class DeliveryRow(Struct, frozen=True, array_like=True, gc=False):
    """A delivery without what its touch has in common."""

    kind: str
    received_at: int
    sequence: int
    sender: str | None
    provider_message_id: str | None
    recipient: str | None
    detail: str | None
    error_code: str | None
    error: str | None
    occurred_at: int | None
    differs: dict[str, Any] | None = None
    """Members that are not what the touch has in common."""


class TouchRow(Struct, array_like=True, gc=False):
    """A touch. The members in common are those of its first record."""

    campaign_id: str
    lead_id: str
    channel: str
    metadata: dict[str, str]
    leaves_ms: int
    """The instant in its row of LEAVES."""
    statuses: tuple[StatusRow, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()

    @property
    def last_ms(self) -> int:
        """When its last record was written."""
        return max([each.occurred_at for each in self.statuses] + [each.received_at for each in self.deliveries])


class Latest(NamedTuple):
    """What a touch with a status is found by and listed with."""

    campaign_id: str
    lead_id: str
    channel: str
    sender: str | None
    recipient: str | None
    state: str
    reason: str | None
    occurred_at: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(TouchRow)

ToldT = TypeVar("ToldT", ToldStatus, ToldDelivery)


def told(kind: type[ToldT], datum: Mapping[str, Any], instants: Sequence[str]) -> ToldT:
    """Return a record of `kind`; an older writer gave `instants` as text. Raises UndecodableValue."""
    try:
        if any(isinstance(datum.get(each), str) for each in instants):
            datum = {**datum, **{each: instant_ms(at) for each in instants if (at := datum.get(each)) is not None}}
        return msgspec.convert(datum, kind)
    except ValueError as error:  # msgspec.ValidationError is one
        raise UndecodableValue(f"not as its schema says: {error}") from error


def encode_touch(row: TouchRow) -> bytes:
    """Return the value of a touch's row."""
    return _ENCODER.encode(row)


def decode_touch(value: bytes) -> TouchRow:
    """Return the touch of a row's value."""
    return _DECODER.decode(value)


def empty_row(told: ToldStatus | ToldDelivery, at_ms: int) -> TouchRow:
    """Return the row of a touch whose first record this is."""
    return TouchRow(told.campaign_id, told.lead_id, told.channel, told.metadata, at_ms)


def with_status(row: TouchRow, told: ToldStatus) -> TouchRow:
    """Return `row` and one status more."""
    status = StatusRow(
        told.state,
        told.occurred_at,
        told.sequence,
        told.attempt,
        told.reason,
        told.sender,
        told.provider_message_id,
        told.error_code,
        told.error,
        told.next_attempt_at,
        told.recipient,
        told.order,
        _differing(row, told),
    )
    return msgspec.structs.replace(row, statuses=(*row.statuses, status))


def with_delivery(row: TouchRow, told: ToldDelivery) -> TouchRow:
    """Return `row` and one delivery more."""
    delivery = DeliveryRow(
        told.kind,
        told.received_at,
        told.sequence,
        told.sender,
        told.provider_message_id,
        told.recipient,
        told.detail,
        told.error_code,
        told.error,
        told.occurred_at,
        _differing(row, told),
    )
    return msgspec.structs.replace(row, deliveries=(*row.deliveries, delivery))


def _differing(row: TouchRow, told: ToldStatus | ToldDelivery) -> dict[str, Any] | None:
    if (
        told.campaign_id == row.campaign_id
        and told.lead_id == row.lead_id
        and told.channel == row.channel
        and told.metadata == row.metadata
    ):
        return None
    return {each: said for each in COMMON if (said := getattr(told, each)) != getattr(row, each)}


def latest(row: TouchRow) -> Latest | None:
    """Return what the latest status of a touch says; sender and recipient as they were said last. None: it has no status."""
    if not row.statuses:
        return None
    last = row.statuses[-1]
    differs = last.differs or {}
    sender, recipient = last.sender, last.recipient
    if sender is None:
        sender = next((each.sender for each in reversed(row.statuses) if each.sender is not None), None)
    if recipient is None:
        recipient = next((each.recipient for each in reversed(row.statuses) if each.recipient is not None), None)
    return Latest(
        differs.get("campaign_id", row.campaign_id),
        differs.get("lead_id", row.lead_id),
        differs.get("channel", row.channel),
        sender,
        recipient,
        last.state,
        last.reason,
        last.occurred_at,
    )


def outcome(row: TouchRow) -> str | None:
    """Return what became of a touch after it was sent; None: nothing was told."""
    kinds = {each.kind for each in row.deliveries}
    return next((each for each in OUTCOMES if each in kinds), None)


def summary(touch_id: str, row: TouchRow) -> dict[str, Any]:
    """Return the members with which a touch is listed."""
    said = latest(row) or _without_status(row)
    return {
        "touch_id": touch_id,
        "campaign_id": said.campaign_id,
        "lead_id": said.lead_id,
        "channel": said.channel,
        "sender": said.sender,
        "recipient": said.recipient,
        "state": said.state or None,
        "reason": said.reason,
        "outcome": outcome(row),
        "occurred_at": said.occurred_at or None,
    }


def _without_status(row: TouchRow) -> Latest:
    last = row.deliveries[-1]
    return Latest(row.campaign_id, row.lead_id, row.channel, last.sender, last.recipient, "", None, 0)


def timeline(touch_id: str, row: TouchRow) -> dict[str, Any]:
    """Return the records of a touch, with the members of their schemas."""
    return {
        "statuses": [_whole(touch_id, row, each) for each in row.statuses],
        "deliveries": [_whole(touch_id, row, each) for each in row.deliveries],
    }


def _whole(touch_id: str, row: TouchRow, part: StatusRow | DeliveryRow) -> dict[str, Any]:
    own = {each: getattr(part, each) for each in part.__struct_fields__ if each != "differs"}
    common = {each: getattr(row, each) for each in COMMON}
    return {"touch_id": touch_id, **common, **own, **(part.differs or {})}
