"""What the copy keeps of each topic: how a record changes its rows, and what goes when the topic lets it go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import flow
from pipeline.lookup import keys
from pipeline.lookup.control_rows import take_entry, take_lane, take_order
from pipeline.lookup.letter_rows import (
    take_audit,
    take_letter,
    take_unconfirmed,
    trim_audit,
    trim_letters,
    trim_unconfirmed,
)
from pipeline.lookup.touch_row import ToldDelivery, ToldStatus, empty_row, told, with_delivery, with_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.lookup.draft import Draft
    from pipeline.records.control import ReadValue
    from pipeline.stage_io import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReaders:
    """What decodes the values of the public topics; each raises UndecodableValue, and RegistryAway."""

    status: ReadValue
    delivery: ReadValue
    dead_letter: ReadValue
    suppression: ReadValue
    audit: ReadValue


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTopic:
    """One topic in the copy."""

    take: Callable[[Draft, Record], None]
    """Takes one record in. Raises UndecodableValue, and RegistryAway when its schema cannot be fetched now."""
    trim: Callable[[Draft, int, int, int], bool] | None = None
    """Given a draft, a partition, the first offset that the topic has there, and the most rows: lets go what is before it.
    Returns whether there may be more. None: `keep` decides, or the topic's deletions."""
    of_keys: tuple[bytes, ...] = ()
    """Compacted topics: the prefixes of its rows. It is read anew when the copy has not been written for a day."""


def kept_topics(read: CopyReaders) -> dict[str, KeptTopic]:
    """Return the topics of the copy by logical name; those that do not exist are left out of it."""

    def take_status(draft: Draft, record: Record) -> None:
        status = told(ToldStatus, read.status(record.value), ("occurred_at", "next_attempt_at"))
        row = draft.touch(status.touch_id) or empty_row(status, status.occurred_at)
        draft.put_touch(status.touch_id, with_status(row, status))
        draft.note_campaign(status.campaign_id, status.occurred_at)

    def take_delivery(draft: Draft, record: Record) -> None:
        delivery = told(ToldDelivery, read.delivery(record.value), ("occurred_at", "received_at"))
        row = draft.touch(delivery.touch_id) or empty_row(delivery, delivery.received_at)
        draft.put_touch(delivery.touch_id, with_delivery(row, delivery))

    return {
        flow.STATUS: KeptTopic(take=take_status),
        flow.DELIVERIES: KeptTopic(take=take_delivery),
        flow.DEAD_LETTERS: KeptTopic(take=take_letter(read.dead_letter), trim=trim_letters),
        flow.UNCONFIRMED: KeptTopic(take=take_unconfirmed, trim=trim_unconfirmed),
        flow.AUDIT: KeptTopic(take=take_audit(read.audit), trim=trim_audit),
        flow.CONTROL: KeptTopic(take=take_order, of_keys=(keys.ORDER,)),
        flow.SUPPRESSIONS: KeptTopic(
            take=take_entry(read.suppression), of_keys=(keys.ENTRY, keys.ENTRY_OFFSET, keys.ENTRY_OF)
        ),
        flow.LANES: KeptTopic(take=take_lane, of_keys=(keys.LANE,)),
    }
