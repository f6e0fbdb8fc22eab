"""`faust -A pipeline pause|resume|cancel`: the commands; `work` gives the order, `view` shows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import click
from faust.cli.base import option

from pipeline.console.command import DONE, FAILED, Command, complain, remark
from pipeline.console.operator import BY_OPTION, NOTE_OPTION, WAIT_OPTIONS, operator, patience_s, until_ms
from pipeline.console.order.target import TARGET_OPTIONS, TypedTarget, check_sender, lanes_of, target_of
from pipeline.console.order.view import ShownOrder, done_line, json_of, named_line
from pipeline.console.order.work import Giving, current_orders, end_of, forgotten, give, holding, is_paused, pauses
from pipeline.console.progress import ProgressReport, telling
from pipeline.domain.audit import Acted
from pipeline.domain.order import Action, Order

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext
    from pipeline.domain.order import Target
    from pipeline.kafka.control import ControlLog

COUNT_S = 0.5
"""How much longer than until it is in force the line waits for the number of touches; JSON has it if it can be had."""
OPTIONS: list[Any] = [
    *TARGET_OPTIONS,
    NOTE_OPTION,
    option("--until", default=None, metavar="WHEN", help='"2h" (from now), or 2026-11-24T09:00:00Z.'),
    BY_OPTION,
    *WAIT_OPTIONS,
    option(
        "--dry-run", "is_dry", is_flag=True, help="Show what would be ordered, and for how many touches; write nothing."
    ),
]


class TypedOrder(TypedTarget):
    """The options of an order."""

    note: str | None
    until: str | None
    by: str | None
    wait_s: float | None
    is_hasty: bool
    is_dry: bool


class _OrderCommand(Command):
    abstract: ClassVar[bool] = True
    action: ClassVar[Action]
    acted: ClassVar[Acted]

    async def serve(self, context: CommandContext, **typed: Unpack[TypedOrder]) -> int:
        """Give the order, and say what became of it."""
        patience = patience_s(self.ctx, typed["wait_s"], is_hasty=typed["is_hasty"])
        target = target_of(typed, self.ctx)
        if typed["note"] is None:
            raise click.UsageError("--note TEXT is needed: why", self.ctx)
        now_ms, who = context.now_ms(), operator(typed["by"])
        order = Order(
            self.action,
            target,
            note=typed["note"],
            by=who.name,
            at_ms=now_ms,
            until_ms=self.until(context, target, typed["until"], now_ms),
        )
        log = await self.check(context, order)
        if log is None:
            return FAILED
        how = Giving(
            patience_s=patience,
            is_dry=typed["is_dry"],
            forgotten=forgotten(log, order, context.dedup_for_ms),
            who=who,
            acted=self.acted,
            is_counted=True,
            count_s=None if self.json or typed["is_dry"] else COUNT_S,
        )
        shown = await _give(context, order, how)
        return await self.tell(context, shown, is_waited_for=patience is not None and not typed["is_dry"])

    def until(self, context: CommandContext, target: Target, text: str | None, now_ms: int) -> int | None:
        """Return the order's `until`. Raises UsageError."""
        try:
            said_ms = None if text is None else until_ms(text, now_ms)
            return end_of(self.acted, target, said_ms, now_ms, context.dedup_for_ms)
        except ValueError as error:
            raise click.UsageError(f"--until: {error}", self.ctx) from None

    async def check(self, context: CommandContext, order: Order) -> ControlLog | None:
        """Return the present orders if this one may be given; None, and say why not. Raises UsageError, CommandFailed."""
        check_sender(order.target, context.policies, self.ctx)
        return await current_orders(context, complain)

    async def tell(self, context: CommandContext, shown: ShownOrder, *, is_waited_for: bool) -> int:
        """Say what became of it; return the exit code."""
        if self.json:
            click.echo(json_of(shown))
        else:
            click.echo(done_line(shown, _what(context, shown)))
        if is_waited_for and not shown.is_in_force:
            complain(f"the order stands, but these lanes do not obey yet: {', '.join(shown.missing)}")
            return FAILED
        return DONE


def _what(context: CommandContext, shown: ShownOrder) -> str:
    if shown.offset is None:
        return (
            f"would be ordered; lanes concerned: {', '.join(lanes_of(shown.order.target, context.policies)) or 'none'}"
        )
    return "is in force" if shown.is_in_force else "is committed, not in force yet"


async def _give(context: CommandContext, order: Order, how: Giving) -> ShownOrder:
    total = len(lanes_of(order.target, context.policies))
    with ProgressReport(f"of {total} lanes obey", lambda: counting.count / total if total else None) as counting:
        try:
            async with telling(counting):
                return await give(context, order, how, progress=counting, complain=counting.say)
        except asyncio.CancelledError:
            counting.say("interrupted; see whether the order stands with: faust -A pipeline orders")
            raise


class pause(_OrderCommand):  # noqa: N801 - faust names the command after the class
    """Pause touches: from the moment this command ends with 0, no call for the target begins until it is resumed.

    The target is what all given options name. --all, --channel and --sender hold whole lanes; the others park each
    touch they meet, which is told `deferred`, `paused`. A call under way ends. `expires_at` runs on.

    \b
    Examples:
      faust -A pipeline pause --campaign spring --note "wrong price"
      faust -A pipeline pause --channel sms --sender main --until 2h --note "carrier works"
      faust -A pipeline pause --all --note "stop everything"

    \b
    Exit codes:
      0  in force; with --no-wait: committed; with --dry-run: nothing is written
      1  not in force within --timeout (the order stands); Kafka cannot be reached; interrupted
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    action = Action.PAUSE
    acted = Acted.PAUSE
    options: list[Any] = OPTIONS


class resume(_OrderCommand):  # noqa: N801
    """End a pause: its touches go on as if they had just arrived, in their old order. Limits and windows hold.

    The target must be the very one of the pause; `faust -A pipeline orders` shows it. Pauses of other targets that
    still hold some of the touches are named on standard error. A cancel cannot be undone. With --until the pause
    goes on, and ends then.

    \b
    Examples:
      faust -A pipeline resume --campaign spring --note "price corrected"
      faust -A pipeline resume --all --note "go on"

    \b
    Exit codes:
      0  in force; with --no-wait: committed; with --dry-run: nothing is written
      1  the target is not paused; not in force within --timeout (the order stands); Kafka cannot be reached; interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    action = Action.PAUSE
    acted = Acted.RESUME
    options: list[Any] = OPTIONS

    async def check(self, context: CommandContext, order: Order) -> ControlLog | None:
        """Return the present orders if the target is paused; print what is, if not."""
        log = await current_orders(context, complain)
        if is_paused(log, order.target, order.at_ms):
            return log
        paused = pauses(log, order.at_ms)
        check_sender(order.target, context.policies, self.ctx)
        complain(f"{order.target.written} is not paused; {'paused are:' if paused else 'nothing is'}")
        for placed in paused:
            remark(named_line(placed.order))
        return None

    async def tell(self, context: CommandContext, shown: ShownOrder, *, is_waited_for: bool) -> int:
        """Say what became of it, and which other pauses hold touches of its target."""
        code = await super().tell(context, shown, is_waited_for=is_waited_for)
        log = await current_orders(context, lambda _: None)
        for placed in holding(log, shown.order.target, context.now_ms()):
            remark(f"still held by {named_line(placed.order)}")
        return code


class cancel(_OrderCommand):  # noqa: N801
    """Cancel touches: each one of the target that was accepted up to --until ends `cancelled`, or `sent` if its call is under way.

    From the moment this command ends with 0, no call for the target begins; the statuses follow. It cannot be undone.
    By default --until is dedup_for from now for a campaign or a touch, and 5 minutes from now otherwise. A cancel of
    the same target replaces it: with --until now, later touches go again, and what was cancelled stays so.

    \b
    Examples:
      faust -A pipeline cancel --campaign spring --note "wrong list" --dry-run
      faust -A pipeline cancel --campaign spring --note "wrong list"
      faust -A pipeline cancel --lead ann --channel sms --until now --note "asked us to"

    \b
    Exit codes:
      0  in force; with --no-wait: committed; with --dry-run: nothing is written
      1  not in force within --timeout (the order stands); Kafka cannot be reached; interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    action = Action.CANCEL
    acted = Acted.CANCEL
    options: list[Any] = OPTIONS

    def until(self, context: CommandContext, target: Target, text: str | None, now_ms: int) -> int | None:
        """Return up to when touches are taken. Raises UsageError."""
        if target.is_all:
            raise click.UsageError("--all goes with pause and resume; cancel a channel, or a campaign", self.ctx)
        return super().until(context, target, text, now_ms)
