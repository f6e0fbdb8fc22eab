"""`faust -A pipeline orders`: the command; `work` finds the orders and their states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import option

from pipeline.console.command import DONE, Command, complain
from pipeline.console.order.view import json_of, list_line
from pipeline.console.orders.work import OrderState, listed_orders

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


class orders(Command):  # noqa: N801 - faust names the command after the class
    """Show a line per order: key, state, at, until or -, by, note. The state is `pending` (committed, not in force) or `in_force`.

    With --ended also those that are over: pauses that were resumed or have reached their end, cancels whose `until` was
    more than dedup_for ago. `faust -A pipeline --json orders` prints an object per order, with the lanes that are
    missing and the number of its touches that have not ended.

    \b
    Examples:
      faust -A pipeline orders
      faust -A pipeline orders --ended
      faust -A pipeline --json orders

    \b
    Exit codes:
      0  shown
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [option("--ended", "is_ended_too", is_flag=True, help="Also show orders that are over.")]  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext, *, is_ended_too: bool) -> int:
        """Show the lines."""
        found = await listed_orders(context, complain, is_ended_too=is_ended_too, is_counted=self.json)
        for shown, state in found:
            click.echo(json_of(shown, state=OrderState(state)) if self.json else list_line(shown.order, state))
        return DONE
