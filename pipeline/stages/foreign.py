"""Internal topics carry what we wrote; what somebody else wrote into them is named in the log and passed over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pipeline.log import Record
from pipeline.records import UnknownVersion

log = logging.getLogger(__name__)

T = TypeVar("T")


def own_record(decode: Callable[[bytes], T], record: Record) -> T | None:
    """Return the decoded record, or None for one that is none of ours. Raises UnknownVersion, which says where."""
    try:
        return decode(record.value or b"")
    except UnknownVersion as newer:
        raise UnknownVersion(newer.what, f"{record.topic}[{record.partition}]@{record.offset}") from None
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it must not end its partition for ever
        log.error("%s[%d]@%d is none of ours and passed over: %r", record.topic, record.partition, record.offset, error)  # noqa: TRY400
        return None
