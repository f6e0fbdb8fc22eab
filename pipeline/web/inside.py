"""What the private listener tells and does, put together: the look-up copy, the API over it, and the forecast."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.domain.address_hash import key_fingerprint
from pipeline.domain.hours import own_hours
from pipeline.domain.work import Channel
from pipeline.engine.data_folder import FolderInUse
from pipeline.engine.store import StoreFailed
from pipeline.kafka.cluster import CommandFailed
from pipeline.kafka.control import read_control
from pipeline.lookup.keepers import CopyReaders
from pipeline.lookup.opened import OpenedCopy, open_copy
from pipeline.lookup.waits import waits
from pipeline.web.actions import Actions
from pipeline.web.answers import Answers
from pipeline.web.api import Api
from pipeline.web.foresight import Foreseer, ask_command
from pipeline.web.rights import Rights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.order import PlacedOrder
    from pipeline.domain.policy import ChannelPolicy
    from pipeline.lookup.queries import LookupCopy
    from pipeline.records.lane_report import LaneReport
    from pipeline.settings.web import WebKeys

AGAIN_S: Final = 1.0
"""Seconds between two attempts to reach Kafka."""

log = logging.getLogger(__name__)


class Inside:
    """The copy of this process, its answers and its actions."""

    def __init__(self, context: CommandContext, keys: WebKeys, now_ms: Callable[[], int]) -> None:
        """Open the copy. Raises CommandFailed with a line when its folder cannot be used."""
        self._context = context
        self._ready_lag_ms = keys.ready_lag_ms
        self._copy = _opened(context, keys, now_ms)
        copy, rights = self._copy.lookup, Rights(context)
        self.answers = Answers(copy, context, rights, WaitsNow(context.policies, now_ms))
        self.actions = Actions(context, copy, rights)
        self.api = Api(self.answers, self.actions)
        self.foreseer = Foreseer(ask_command, now_ms)

    @property
    def lookup(self) -> LookupCopy:
        """The copy."""
        return self._copy.lookup

    async def run(self) -> None:
        """Keep the copy up to date, and make forecasts, until it is cancelled.

        Raises CommandFailed when its folder cannot be used any more, or `privacy.key` is not the one in use.
        """
        tasks = [asyncio.create_task(each) for each in (self._check_key(), self._follow(), self.foreseer.run())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _follow(self) -> None:
        try:
            await self._copy.projector.run()
        except (StoreFailed, OSError) as error:
            raise CommandFailed(f"the look-up copy cannot be written any more: {error}") from error

    async def _check_key(self) -> None:
        """Return once Kafka could be asked. Raises CommandFailed when the addresses are hashed with another `privacy.key`."""
        while True:
            try:
                known = await read_control(self._context.cluster, lambda _: None)
            except CommandFailed as error:
                log.debug("the look-up copy waits for Kafka: %s", error)
                await asyncio.sleep(AGAIN_S)
            else:
                known.check_key(key_fingerprint(self._context.privacy_key))
                return

    @property
    def not_ready(self) -> str | None:
        """Why the copy is not good enough to answer from, or None."""
        copy = self.lookup
        if not copy.as_of_ms:
            return "the look-up copy is being made"
        if copy.lag_s * 1000 <= self._ready_lag_ms:
            return None
        return f"the look-up copy is {copy.lag_s:.0f} s behind"

    def close(self) -> None:
        """Close the copy."""
        self._copy.close()


def _opened(context: CommandContext, keys: WebKeys, now_ms: Callable[[], int]) -> OpenedCopy:
    read = CopyReaders(
        status=context.read_status,
        delivery=context.read_delivery,
        dead_letter=context.read_dead_letter,
        suppression=context.read_suppression,
        audit=context.read_audit,
    )
    folder = Path(keys.copy_dir)
    try:
        return open_copy(folder, context.cluster, read, keep_ms=keys.keep_ms, now_ms=now_ms)
    except FolderInUse:
        raise CommandFailed(
            f"the look-up copy in {folder} is in use by another web process; give each its own with --copy-dir"
        ) from None
    except (StoreFailed, OSError) as error:
        raise CommandFailed(
            f"the look-up copy in {folder} cannot be used: {error}; choose another folder with --copy-dir"
        ) from None


class WaitsNow:
    """Says why a touch has not gone yet, by the clock and the hours of its channel."""

    def __init__(self, policies: Mapping[Channel, ChannelPolicy], now_ms: Callable[[], int]) -> None:
        self._policies, self._now_ms = policies, now_ms

    def __call__(
        self, touch: Mapping[str, Any], orders: list[PlacedOrder], lanes: Mapping[str, LaneReport]
    ) -> dict[str, Any] | None:
        """Return `why`, `until`, `orders`; None for a touch that has ended."""
        now_ms = self._now_ms()
        is_known = touch["channel"] in set(Channel)
        policy = self._policies[Channel(touch["channel"])] if is_known else None
        hours = None if policy is None else own_hours(policy.window, policy.calendar, now_ms)
        return waits(touch, orders, lanes.get(f"{touch['channel']}/{touch['sender']}"), hours, now_ms)
