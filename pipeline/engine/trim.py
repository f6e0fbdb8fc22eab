"""Deletes applied records of the internal topics, so that these need no retention time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pipeline.engine.stop_client import stop_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from pipeline.engine.app_protocol import AppProtocol

log = logging.getLogger(__name__)

TRIM_EVERY_S = 300.0
LEAST_RECORDS = 1_000
"""Fewer applied records than this are kept: a deletion is a write on every replica."""


async def trim_regularly(app: AppProtocol, connection: Mapping[str, Any]) -> None:
    """Delete applied records of the owned internal partitions every TRIM_EVERY_S seconds."""
    trimmed: dict[TopicPartition, int] = {}
    while not app.should_stop:
        await asyncio.sleep(TRIM_EVERY_S)
        due = {
            tp: offset
            for tp, offset in app.ownership.trimmable().items()
            if offset - trimmed.get(tp, 0) >= LEAST_RECORDS
        }
        if due:
            try:
                await trim(connection, due)
            except Exception as error:  # noqa: BLE001 - the next round retries; only disk space depends on it
                log.warning("deleting applied records of internal topics failed, next try in five minutes: %r", error)
            else:
                trimmed.update(due)


async def trim(connection: Mapping[str, Any], behind: Mapping[TopicPartition, int]) -> None:
    """Delete the records below these offsets. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset) for tp, offset in behind.items()})
    finally:
        await stop_client(admin.close())
