"""What is done: one method per POST and DELETE of the API. Each writes its audit record in the transaction of its effect."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from pipeline.console.dead_letters.replay import replay
from pipeline.console.dead_letters.work import DeadLetters
from pipeline.console.operator import until_ms
from pipeline.console.opt_outs.work import pending_opt_outs_of, resolve_opt_out
from pipeline.console.order.target import checked_target, sender_fault
from pipeline.console.order.view import members_of
from pipeline.console.order.work import Giving, current_orders, end_of, forgotten, give, is_paused
from pipeline.console.suppressions.rows import ImportDefaults, entry_of
from pipeline.console.suppressions.work import add, lift, missing_lanes
from pipeline.console.unconfirmed.work import OperatorAnswer, record
from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import AddressKind, address_hash, read_address
from pipeline.domain.audit import Acted, Role, Who
from pipeline.domain.instant import FARTHEST_MS, instant_ms
from pipeline.domain.order import ALL, Action, Order, Target
from pipeline.domain.rules import is_touch_id
from pipeline.domain.suppression import SuppressionReason
from pipeline.domain.unconfirmed import Resolved
from pipeline.domain.unconfirmed import members_of as resolved_members
from pipeline.flow import CONTROL, SUPPRESSIONS
from pipeline.kafka.cluster import Conflicting, NothingSuch
from pipeline.kafka.topic import RecordPosition
from pipeline.records.control import LONGEST_NOTE, suppression_datum, suppression_of
from pipeline.web.counting import count_in_copy
from pipeline.web.problem import Code, Problem, told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.suppression import Suppression
    from pipeline.lookup.queries import LookupCopy
    from pipeline.web.rights import Rights

log = logging.getLogger(__name__)

CATCHES_UP_S: Final = 10.0
"""How long the copy may take to show what was written before it is asked."""
_LOOKS_S: Final = 0.05


class Actions:
    """Does what users ask, if their role allows it: a refusal is recorded.

    Every method returns the answer's JSON as a dict and raises Problem: `bad_request`, `forbidden`, `not_found`,
    `conflict`, `kafka_away`. `wait_s` (0 to 60) is how long to wait until it is in force; `in_force` says whether it is.
    """

    def __init__(self, context: CommandContext, copy: LookupCopy, rights: Rights) -> None:
        self._context, self._copy, self._rights = context, copy, rights

    @told
    async def order(
        self,
        who: Who,
        *,
        action: str,
        target: Mapping[str, str] | str,
        note: str,
        until: str | int | None = None,
        wait_s: float = 0,
        is_dry: bool = False,
    ) -> dict[str, Any]:
        """Give an order: `pause`, `resume` or `cancel`; `target` is an object or "all".

        Returns `key` `action` `target` `note` `by` `at` `until` `offset` `in_force` `missing` `touches`. With `is_dry`
        nothing is written. Raises Problem `conflict` for a resume of what is not paused.
        """
        acted = _acted(action)
        async with self.asking(who, acted, CONTROL):
            meant = _target(target)
        await self._rights.demand(who, Role.OPERATOR, acted, _key(acted, meant), note)
        context = await self._rights.context()
        now_ms = context.now_ms()
        order = Order(
            Action.CANCEL if acted is Acted.CANCEL else Action.PAUSE,
            meant,
            note=_note(note),
            by=who.name,
            at_ms=now_ms,
            until_ms=_end(until, acted, meant, now_ms, context.dedup_for_ms),
        )
        if fault := sender_fault(meant, context.policies):
            raise Problem(Code.BAD_REQUEST, fault)
        present = await current_orders(context, log.warning)
        if acted is Acted.RESUME and not is_paused(present, meant, order.at_ms):
            raise Problem(Code.CONFLICT, f"{meant.written} is not paused")
        counted = count_in_copy(self._copy, meant)
        how = Giving(
            patience_s=wait_s or None,
            is_dry=is_dry,
            forgotten=forgotten(present, order, context.dedup_for_ms),
            is_counted=counted is None,
            who=who,
            acted=acted,
        )
        given = members_of(await give(context, order, how, progress=_nobody, complain=log.warning))
        return given if counted is None else {**given, "touches": counted}

    @told
    async def suppress(self, who: Who, entry: Mapping[str, Any], *, wait_s: float = 0) -> dict[str, Any]:
        """Add an entry (members as a line of an import); returns it with `key` `offset` `in_force` `missing`."""
        context = await self._rights.context()
        defaults = ImportDefaults(by=who.name, at_ms=context.now_ms(), privacy_key=context.privacy_key)
        async with self.asking(who, Acted.SUPPRESS, SUPPRESSIONS):
            meant = _entry(entry, defaults)
        await self._rights.demand(who, Role.OPERATOR, Acted.SUPPRESS, meant.key, meant.note)
        offset = await add(context, meant, who)
        return await self._in_force(context, meant, offset, wait_s)

    @told
    async def lift(self, who: Who, key: str, *, note: str | None = None, wait_s: float = 0) -> dict[str, Any]:
        """Lift the entry called `key`; returns it as `suppress` does. Raises Problem `not_found`, `forbidden` (a complaint, no admin)."""
        is_complaint = key.rpartition(":")[2] == SuppressionReason.COMPLAINED
        needed = Role.ADMIN if is_complaint else Role.OPERATOR
        await self._rights.demand(who, needed, Acted.LIFT, key, note)
        context = await self._rights.context()
        await self._catch_up()
        found = self._copy.suppression(key)
        if found is None:
            raise Problem(Code.NOT_FOUND, "there is no such entry")
        entry = suppression_of(found, at_ms=found["at"])
        offset = await lift(context, [entry], who, note=None if note is None else _note(note))
        return await self._in_force(context, entry, offset, wait_s)

    @told
    async def replay(self, who: Who, partition: int, offset: int, *, new_id: str | None = None) -> dict[str, Any]:
        """Replay a dead letter; returns `replayed_to` (`partition`, `offset`)."""
        place = RecordPosition(partition, offset)
        await self._rights.demand(who, Role.OPERATOR, Acted.REPLAY, str(place))
        if new_id is not None and not is_touch_id(new_id):
            raise Problem(Code.BAD_REQUEST, "new_id is what a touch_id can end with: A-Z a-z 0-9 . _ : -")
        context = await self._rights.context()
        letters = DeadLetters(context.cluster, context.read_dead_letter, log.warning)
        async with aclosing(letters.at([place])) as found:
            if await anext(found, None) is None:
                raise Problem(Code.NOT_FOUND, f"there is no dead letter at {place}")
        refused: list[str] = []
        done = await replay(
            context,
            letters.at([place]),
            who,
            new_id=new_id,
            refuse=lambda _, why: refused.append(why),
            progress=_nobody,
        )
        if not done:
            raise Problem(Code.CONFLICT, refused[0] if refused else f"there is no dead letter at {place} any more")
        return {"replayed_to": {"partition": done[0].partition, "offset": done[0].offset}}

    @told
    async def resolve(
        self, who: Who, touch_id: str, *, resolution: str, provider_message_id: str | None = None
    ) -> dict[str, Any]:
        """Record what became of an unconfirmed touch (`sent` or `not_sent`); returns it as `Answers.unconfirmed` does."""
        await self._rights.demand(who, Role.OPERATOR, Acted.RESOLVE, touch_id)
        if resolution not in set(Resolved):
            raise Problem(Code.BAD_REQUEST, f"resolution is one of {', '.join(Resolved)}")
        answer = OperatorAnswer(Resolved(resolution), provider_message_id)
        if provider_message_id is not None and (
            answer.resolution is not Resolved.SENT or not provider_message_id.strip()
        ):
            raise Problem(Code.BAD_REQUEST, "provider_message_id goes with sent, and is not empty")
        context = await self._rights.context()
        try:
            left, _ = await record(context, touch_id, answer, who, log.warning)
        except NothingSuch:
            raise Problem(Code.NOT_FOUND, "no touch with this id ended unconfirmed") from None
        except Conflicting as error:
            raise Problem(Code.CONFLICT, str(error)) from None
        return {**resolved_members(left), "to": None}

    @told
    async def resolve_opt_out(
        self, who: Who, opt_out_id: str, *, note: str, address: str | None = None, is_dismissed: bool = False
    ) -> dict[str, Any]:
        """Resolve a pending opt-out by its number, or take it off the list; returns it as `Answers.opt_outs` does."""
        await self._rights.demand(who, Role.OPERATOR, Acted.RESOLVE, opt_out_id, note)
        if (address is None) is not is_dismissed:
            raise Problem(Code.BAD_REQUEST, "exactly one of address and dismiss is needed")
        context = await self._rights.context()
        whom = None if address is None else _phone_hash(address, context.privacy_key)
        known = [] if context.callback_partitions is None else await pending_opt_outs_of(context, log.warning)
        found = next((each for each in known if each.id == opt_out_id), None)
        if found is None:
            raise Problem(Code.NOT_FOUND, "there is no such pending opt-out")
        await resolve_opt_out(context, found, whom, who, note=_note(note))
        return found.shown()

    def asking(self, who: Who, acted: Acted, target: str) -> AbstractAsyncContextManager[None]:
        """Read inside what is asked for: what cannot be read is refused, to a role that may not act as that."""
        return self._rights.asking(who, Role.OPERATOR, acted, target)

    async def _in_force(
        self, context: CommandContext, entry: Suppression, offset: int, wait_s: float
    ) -> dict[str, Any]:
        missing = await missing_lanes(
            context, {entry.scope}, offset, patience_s=wait_s or None, progress=_nobody, complain=log.warning
        )
        return {
            "key": entry.key,
            **suppression_datum(entry),
            "offset": offset,
            "in_force": not missing,
            "missing": missing,
        }

    async def _catch_up(self) -> None:
        """Wait until the copy has what was committed before now. Raises Problem `kafka_away`."""
        asked_ms = self._context.now_ms()
        try:
            async with asyncio.timeout(CATCHES_UP_S):
                while self._copy.as_of_ms < asked_ms:  # noqa: ASYNC110 - the copy tells nobody
                    await asyncio.sleep(_LOOKS_S)
        except TimeoutError:
            raise Problem(Code.KAFKA_AWAY, "what was written last cannot be read now") from None


def _phone_hash(address: str, privacy_key: bytes) -> str:
    try:
        kind, number = read_address(address)
    except BadAddress as error:
        raise Problem(Code.BAD_REQUEST, f"address: {error}") from None
    if kind is not AddressKind.PHONE:
        raise Problem(Code.BAD_REQUEST, "address must be a phone number")
    return address_hash(kind, number, privacy_key)


def _entry(entry: Mapping[str, Any], defaults: ImportDefaults) -> Suppression:
    try:
        return entry_of(entry, defaults)
    except ValueError as error:
        raise Problem(Code.BAD_REQUEST, str(error)) from None


def _nobody(_: int) -> None:
    """Nobody watches the progress."""


def _acted(action: str) -> Acted:
    if action not in {Acted.PAUSE, Acted.RESUME, Acted.CANCEL}:
        raise Problem(Code.BAD_REQUEST, "action is one of pause, resume, cancel")
    return Acted(action)


def _target(target: Mapping[str, str] | str) -> Target:
    if isinstance(target, str) and target != ALL:
        raise Problem(Code.BAD_REQUEST, 'target is an object, or "all"')
    try:
        return checked_target({} if isinstance(target, str) else target, is_all=isinstance(target, str))
    except ValueError as error:
        raise Problem(Code.BAD_REQUEST, f"target: {error}") from None


def _key(acted: Acted, target: Target) -> str:
    action = Action.CANCEL if acted is Acted.CANCEL else Action.PAUSE
    return f"{action}:{target.written}"


def _note(note: str) -> str:
    if not note.strip() or len(note) > LONGEST_NOTE:
        raise Problem(Code.BAD_REQUEST, f"note has 1 to {LONGEST_NOTE} characters, not all blank")
    return note


def _instant_ms(until: str | int | None, now_ms: int) -> int | None:
    if isinstance(until, str):
        return until_ms(until, now_ms)
    return None if until is None else instant_ms(until, latest_ms=FARTHEST_MS)


def _end(until: str | int | None, acted: Acted, target: Target, now_ms: int, remembered_ms: int) -> int | None:
    try:
        return end_of(acted, target, _instant_ms(until, now_ms), now_ms, remembered_ms)
    except ValueError as error:
        raise Problem(Code.BAD_REQUEST, f"until: {error}") from None
