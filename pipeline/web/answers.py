"""What is told: one method per GET of the API. Each returns the answer's JSON as a dict; the pages show the same dicts."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from pipeline.console.opt_outs.work import pending_opt_outs_of
from pipeline.console.order.view import ShownOrder, members_of
from pipeline.console.orders.work import OrderState, missing_lanes, state_of
from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import address_hash, read_address
from pipeline.domain.audit import Acted, Role, Who
from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.story import State
from pipeline.flow import AUDIT, DEAD_LETTERS, UNCONFIRMED
from pipeline.lookup.queries import BadCursor
from pipeline.web.problem import Code, Problem, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.order import PlacedOrder
    from pipeline.lookup.queries import LookupCopy, Page
    from pipeline.records.lane_report import LaneReport
    from pipeline.web.rights import Rights

log = logging.getLogger(__name__)

LONGEST_PAGE: Final = 100
"""Most rows of a list."""
MOST_LOOKS: Final = 100
"""A page for which more had to be left out is shorter, and has a next one."""
_HASH_DIGITS: Final = 32
_DIGITS: Final = 18
"""Of an offset, at most."""


class WaitsFor(Protocol):
    """Says why a touch has not gone yet."""

    def __call__(
        self, touch: Mapping[str, Any], orders: list[PlacedOrder], lanes: Mapping[str, LaneReport]
    ) -> dict[str, Any] | None:
        """Return `why`, `until`, `orders`; None for a touch that has ended."""


class Answers:
    """Reads the look-up copy.

    Every method raises Problem: `not_found`; `bad_request` for an `after` or a value that cannot be; `kafka_away`.
    Lists take `limit` (1 to 100) and `after` (the `next` of the page before), are newest first, and give `next`, which
    is null at the end.
    """

    def __init__(self, copy: LookupCopy, context: CommandContext, rights: Rights, waits_for: WaitsFor) -> None:
        self._copy, self._context, self._rights, self._waits_for = copy, context, rights, waits_for

    async def touch(self, touch_id: str) -> dict[str, Any]:
        """Return a touch: `touch_id` `campaign_id` `lead_id` `channel` `sender` `recipient` `state` `reason` `outcome` `waits` `statuses` `deliveries` `as_of`."""
        found = self._copy.touch(touch_id)
        if found is None:
            raise Problem(Code.NOT_FOUND, "no touch with this id is known")
        waits = self._waits_for(found, self._copy.orders(), self._copy.lanes())
        return {**_without(found, "occurred_at"), "waits": waits, "as_of": self._copy.as_of_ms}

    async def touches(
        self,
        *,
        lead: str | None = None,
        campaign: str | None = None,
        address: str | None = None,
        message: str | None = None,
        state: str | None = None,
        limit: int = LONGEST_PAGE,
        after: str | None = None,
    ) -> dict[str, Any]:
        """Return `touches` (up to `outcome`, and `occurred_at`), `next`, `as_of`; exactly one of the first four is given."""
        if sum(each is not None for each in (lead, campaign, address, message)) != 1:
            raise Problem(Code.BAD_REQUEST, "one of lead, campaign, address and message is needed")
        if state is not None and state not in set(State):
            raise Problem(Code.BAD_REQUEST, f"state is one of {', '.join(State)}")
        recipient = None if address is None else self._hashed(address)
        return self._list(
            "touches",
            lambda: self._copy.touches(
                lead=lead,
                campaign=campaign,
                recipient=recipient,
                message=message,
                state=state,
                limit=limit,
                after=after,
            ),
        )

    async def campaigns(self, *, limit: int = LONGEST_PAGE, after: str | None = None) -> dict[str, Any]:
        """Return `campaigns` (`campaign_id`, `touches`), `next`, `as_of`."""
        listed = self._list("campaigns", lambda: self._copy.campaigns(limit, after))
        return {**listed, "campaigns": [_only(row, "campaign_id", "touches") for row in listed["campaigns"]]}

    async def campaign(self, campaign_id: str) -> dict[str, Any]:
        """Return `campaign_id` `states` `kinds` `hours` `as_of`."""
        found = self._copy.campaign(campaign_id)
        if found is None:
            raise Problem(Code.NOT_FOUND, "no touch of this campaign is known")
        return {**_only(found, "campaign_id", "states", "kinds", "hours"), "as_of": self._copy.as_of_ms}

    async def lanes(self, *, limit: int = LONGEST_PAGE, after: str | None = None) -> dict[str, Any]:
        """Return `lanes` (what each said of itself last, by channel and sender), `next`."""
        reports = self._copy.lanes()
        keys = [key for key in sorted(reports) if after is None or key > after]
        following = keys[limit - 1] if len(keys) > limit else None
        shown = [reports[key].shown() for key in keys[:limit]]
        return {"lanes": shown, "next": following, "as_of": self._copy.as_of_ms}

    async def orders(
        self, *, state: str | None = None, limit: int = LONGEST_PAGE, after: str | None = None
    ) -> dict[str, Any]:
        """Return `orders` (as `orders --json`), `next`. `state`: `pending`, `in_force` or `ended`; None: the first two."""
        if state is not None and state not in set(OrderState):
            raise Problem(Code.BAD_REQUEST, f"state is one of {', '.join(OrderState)}")
        wanted = {OrderState.PENDING, OrderState.IN_FORCE} if state is None else {OrderState(state)}
        reports, before = self._copy.lanes(), _offset_of(after)
        older = [each for each in self._copy.orders() if before is None or each.offset < before]
        found = [told for told in (self._stated(each, reports) for each in older) if told["state"] in wanted]
        page, rest = found[:limit], found[limit:]
        return {"orders": page, "next": str(page[-1]["offset"]) if rest else None, "as_of": self._copy.as_of_ms}

    async def order(self, key: str) -> dict[str, Any]:
        """Return `order` (as `orders` has it, whatever its state; None: there is none under `key`) and `as_of`."""
        placed = self._copy.order(key)
        found = None if placed is None else self._stated(placed, self._copy.lanes())
        return {"order": found, "as_of": self._copy.as_of_ms}

    def _stated(self, placed: PlacedOrder, reports: Mapping[str, LaneReport]) -> dict[str, Any]:
        missing = missing_lanes(self._context, placed, reports)
        shown = ShownOrder(order=placed.order, offset=placed.offset, missing=missing, touches=None)
        return {**members_of(shown), "state": state_of(self._context, placed, missing).value}

    async def suppressions(
        self,
        *,
        address: str | None = None,
        hashed: str | None = None,
        lead: str | None = None,
        limit: int = LONGEST_PAGE,
        after: str | None = None,
    ) -> dict[str, Any]:
        """Return `suppressions` (Suppression, with `key`), `next`; at most one of the first three is given."""
        if sum(each is not None for each in (lead, hashed, address)) > 1:
            raise Problem(Code.BAD_REQUEST, "one of address, hash and lead")
        if hashed is not None and (len(hashed) != _HASH_DIGITS or set(hashed) - set("0123456789abcdef")):
            raise Problem(Code.BAD_REQUEST, "hash is 32 lower-case hexadecimal digits")
        whom = self._hashed(address) if address is not None else hashed
        return self._list(
            "suppressions", lambda: self._copy.suppressions(recipient=whom, lead=lead, limit=limit, after=after)
        )

    @told
    async def dead_letters(
        self,
        *,
        reason: str | None = None,
        limit: int = LONGEST_PAGE,
        after: str | None = None,
        unmasked_for: Who | None = None,
    ) -> dict[str, Any]:
        """Return `dead_letters` (DeadLetter, with `partition` and `offset`), `next`.

        `key`, `value` (bytes as base64) and `headers` are null, unless they are unmasked for an admin, which is recorded before.
        """
        if reason is not None and reason not in set(DeadReason):
            raise Problem(Code.BAD_REQUEST, f"reason is one of {', '.join(DeadReason)}")
        is_unmasked = await self._unmasks(unmasked_for, DEAD_LETTERS)
        return self._list(
            "dead_letters",
            lambda: self._copy.dead_letters(reason=reason, limit=limit, after=after, is_unmasked=is_unmasked),
        )

    @told
    async def dead_letter(self, partition: int, offset: int, *, unmasked_for: Who | None = None) -> dict[str, Any]:
        """Return the dead letter at this place, with the members it has in `dead_letters`, and `as_of`."""
        masked = self._letter(partition, offset, is_unmasked=False)
        is_unmasked = await self._unmasks(unmasked_for, DEAD_LETTERS)
        found = self._letter(partition, offset, is_unmasked=True) if is_unmasked else masked
        return {**found, "as_of": self._copy.as_of_ms}

    def _letter(self, partition: int, offset: int, *, is_unmasked: bool) -> dict[str, Any]:
        found = self._copy.dead_letter(partition, offset, is_unmasked=is_unmasked)
        if found is None:
            raise Problem(Code.NOT_FOUND, f"there is no dead letter at {partition}/{offset}")
        return found

    @told
    async def unconfirmed(
        self,
        *,
        limit: int = LONGEST_PAGE,
        after: str | None = None,
        unmasked_for: Who | None = None,
        is_all: bool = True,
    ) -> dict[str, Any]:
        """Return `unconfirmed` (as `unconfirmed list` with `--json`; `to` is null unless unmasked), `next`.

        Without `is_all` only those that are not resolved.
        """
        is_unmasked = await self._unmasks(unmasked_for, UNCONFIRMED)
        return self._list("unconfirmed", lambda: self._left(limit, after, is_unmasked=is_unmasked, is_all=is_all))

    def _left(self, limit: int, after: str | None, *, is_unmasked: bool, is_all: bool) -> Page:
        rows: list[dict[str, Any]] = []
        for _ in range(MOST_LOOKS):
            found, after = self._copy.unconfirmed(limit - len(rows), after, is_unmasked=is_unmasked)
            rows += [row for row in found if is_all or row["resolution"] is None]
            if after is None or len(rows) == limit:
                break
        return rows, after

    @told
    async def opt_outs(self, *, limit: int = LONGEST_PAGE, after: str | None = None) -> dict[str, Any]:
        """Return `opt_outs` (`id`, `at`, `sender`) that are pending, and `next`. They are read from Kafka: there are few."""
        asked_ms, context = self._context.now_ms(), self._context
        pending = [] if context.callback_partitions is None else await pending_opt_outs_of(context, log.warning)
        rows = [each.shown() for each in reversed(pending)]
        begin = 0
        if after is not None:
            begin = 1 + next((at for at, row in enumerate(rows) if row["id"] == after), len(rows))
        shown = rows[begin : begin + limit]
        following = shown[-1]["id"] if begin + limit < len(rows) else None
        return {"opt_outs": shown, "next": following, "as_of": asked_ms}

    async def audit(self, *, limit: int = LONGEST_PAGE, after: str | None = None) -> dict[str, Any]:
        """Return `audit` (Audit), `next`. That the role allows it is checked before, with `may_audit`."""
        return self._list("audit", lambda: self._copy.audit(limit, after))

    @told
    async def may_audit(self, who: Who) -> None:
        """Return for an admin. Raises Problem `forbidden`, which is recorded as an unmasking of the audit's topic."""
        await self._rights.demand(who, Role.ADMIN, Acted.UNMASK, AUDIT)

    async def _unmasks(self, who: Who | None, topic: str) -> bool:
        if who is None:
            return False
        await self._rights.unmasked(who, Role.ADMIN, topic)
        return True

    def _list(self, name: str, ask: Callable[[], Page]) -> dict[str, Any]:
        try:
            rows, following = ask()
        except BadCursor:
            raise Problem(Code.BAD_REQUEST, "after is none that this list gave") from None
        return {name: rows, "next": following, "as_of": self._copy.as_of_ms}

    def _hashed(self, address: str) -> str:
        try:
            # In a query a bare + is a space.
            return address_hash(*read_address(re.sub(r"^ (?=\d)", "+", address)), self._context.privacy_key)
        except BadAddress as error:
            raise Problem(Code.BAD_REQUEST, f"address: {error}") from None


def _only(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _offset_of(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdecimal() and len(after) <= _DIGITS):
        raise Problem(Code.BAD_REQUEST, "after is none that this list gave")
    return int(after)
