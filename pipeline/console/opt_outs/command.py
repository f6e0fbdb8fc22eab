"""`faust -A pipeline opt-outs list|resolve`: the commands; `work` reads and resolves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import click
from faust.cli.base import argument, cli, option

from pipeline.console.command import DONE, FAILED, Subcommand, complain
from pipeline.console.operator import BY_OPTION, NOTE_OPTION, operator
from pipeline.console.opt_outs.work import pending_opt_outs_of, resolve_opt_out
from pipeline.console.order.work import current_orders
from pipeline.console.status.view import time_of
from pipeline.console.typed_address import typed_address
from pipeline.domain.address_hash import AddressKind, address_hash

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


@cli.group("opt-outs")
def _opt_outs() -> None:
    """Show opt-outs by WhatsApp whose number WAHA does not tell, and resolve them by hand.

    Each is resolved by itself once its number is learnt. Until then its person can still be written to.

    \b
    Examples:
      faust -A pipeline opt-outs list
      faust -A pipeline opt-outs resolve 3EB0C7 --address +12125550001 --note "found in the chat"
    """  # noqa: D301 - \b is click's


class _OptOutsCommand(Subcommand):
    abstract: ClassVar[bool] = True
    group = _opt_outs

    def check_on(self, context: CommandContext) -> None:
        """Raise UsageError while no sender's callbacks are on."""
        if context.callback_partitions is None:
            raise click.UsageError("no sender has webhook_secrets, so there are no opt-outs to resolve", self.ctx)


class ListOptOuts(_OptOutsCommand):
    """Show a line per pending opt-out: id, time, sender.

    `faust -A pipeline --json opt-outs list` prints a JSON object per opt-out: `id`, `at` (epoch milliseconds), `sender`.

    \b
    Example:
      faust -A pipeline opt-outs list

    \b
    Exit codes:
      0  shown
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "list"
    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Show the lines."""
        self.check_on(context)
        for each in await pending_opt_outs_of(context, complain):
            click.echo(json.dumps(each.shown()) if self.json else f"{each.id}  {time_of(each.at_ms)}  {each.sender}")
        return DONE


class ResolveOptOut(_OptOutsCommand):
    """Resolve a pending opt-out: suppress the number that you have found, or take it off the list with --dismiss.

    \b
    Examples:
      faust -A pipeline opt-outs resolve 3EB0C7 --address +12125550001 --note "found in the chat"
      faust -A pipeline opt-outs resolve 3EB0C7 --dismiss --note "a test of ours"

    \b
    Exit codes:
      0  resolved
      1  there is no such pending opt-out, or Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "resolve"
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("opt_out_id", metavar="ID"),
        option("--address", default=None, callback=typed_address, metavar="ADDRESS", help="The person's number."),
        option("--dismiss", "is_dismissed", is_flag=True, help="It is no opt-out: suppress nobody."),
        NOTE_OPTION,
        BY_OPTION,
    ]

    async def serve(
        self,
        context: CommandContext,
        opt_out_id: str,
        *,
        address: tuple[AddressKind, str] | None,
        is_dismissed: bool,
        note: str | None,
        by: str | None,
    ) -> int:
        """Resolve it."""
        self.check_on(context)
        if (address is None) is not is_dismissed:
            raise click.UsageError("exactly one of --address and --dismiss is needed", self.ctx)
        if address is not None and address[0] is not AddressKind.PHONE:
            raise click.UsageError("--address must be a phone number", self.ctx)
        if note is None:
            raise click.UsageError("--note is needed", self.ctx)
        await current_orders(context, complain)  # raises when privacy.key is not the one in use
        found = {each.id: each for each in await pending_opt_outs_of(context, complain)}
        if opt_out_id not in found:
            complain(f"there is no pending opt-out {opt_out_id}")
            return FAILED
        whom = None if address is None else address_hash(*address, context.privacy_key)
        await resolve_opt_out(context, found[opt_out_id], whom, operator(by), note=note)
        click.echo(f"{opt_out_id} is {'dismissed' if whom is None else 'resolved: the number is suppressed'}")
        return DONE
