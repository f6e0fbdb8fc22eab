"""`faust -A pipeline status`: the command; `work` reads, `view` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click
from faust.cli.base import argument, option

from pipeline.console.command import DONE, FAILED, Command, complain, remark
from pipeline.console.operator import typed_timeout_s
from pipeline.console.order.view import named_line
from pipeline.console.order.work import current_orders, orders_that_hold
from pipeline.console.status import work
from pipeline.console.status.view import COLOURS, delivery_line, json_of, line_of
from pipeline.console.typed_address import typed_address
from pipeline.domain.address_hash import address_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.address_hash import AddressKind


def _is_about(context: CommandContext, about: About) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether a record is about the campaign, the lead or the address that was typed."""
    address = about["address"]
    recipient = None if address is None else address_hash(*address, context.privacy_key)
    wanted = {"campaign_id": about["campaign"], "lead_id": about["lead"], "recipient": recipient}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    return lambda told: all(told.get(name) == value for name, value in chosen.items())


class About(TypedDict):
    """The options that choose records by what they have in common."""

    campaign: str | None
    lead: str | None
    address: tuple[AddressKind, str] | None


class status(Command):  # noqa: N801
    """Show status records, one line each: time, touch_id, state, reason, and details.

    Without --follow it shows the records that exist now. With --follow it also shows new ones: with a TOUCH_ID until
    that touch has ended, otherwise until --timeout or Ctrl-C. `faust -A pipeline --json status` prints one JSON object
    per record. Behind the records of a TOUCH_ID, without --follow, come its deliveries: what the provider told after
    it was sent, as time, touch_id, kind, `-`, and details. --campaign, --lead and --address choose the records of a campaign, a person or an address; a touch that
    has not ended is followed, on standard error, by each order that holds it.

    \b
    Examples:
      faust -A pipeline status
      faust -A pipeline status t-1001
      faust -A pipeline status --campaign spring
      faust -A pipeline status --address +12125550001
      faust -A pipeline status --follow --timeout 30s t-1001

    \b
    Exit codes:
      0  shown; interrupted; with --follow TOUCH_ID: the touch has reached a terminal state
      1  the TOUCH_ID, campaign, lead or address has no record, or the touch has not ended in time; Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    interrupted = DONE
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("touch_id", required=False),
        option("--campaign", default=None, metavar="ID", help="Only records of this campaign."),
        option("--lead", default=None, metavar="ID", help="Only records of this person."),
        option(
            "--address",
            default=None,
            callback=typed_address,
            metavar="ADDRESS",
            help="Only records of this phone number (with +) or e-mail address.",
        ),
        option("--follow", "-f", is_flag=True, help="Keep showing new records."),
        option(
            "--timeout",
            "timeout_s",
            default=None,
            callback=typed_timeout_s,
            metavar="DURATION",
            help="Stop after this time (with --follow).",
        ),
    ]

    async def serve(
        self,
        context: CommandContext,
        touch_id: str | None,
        *,
        follow: bool,
        timeout_s: float | None,
        **about: Unpack[About],
    ) -> int:
        """Show the records."""
        chosen = [name for name, value in about.items() if value is not None]
        if timeout_s is not None and not follow:
            raise click.UsageError("--timeout goes with --follow", self.ctx)
        if len(chosen) + (touch_id is not None) > 1:
            raise click.UsageError("one of TOUCH_ID, --campaign, --lead and --address", self.ctx)
        if about["address"] is not None:
            await current_orders(context, complain)  # a hash with another privacy.key would find nothing

        def show(told: Mapping[str, Any]) -> None:
            click.secho(
                json_of(told) if self.json else line_of(told), fg=None if self.json else COLOURS.get(told["state"])
            )

        seen = await work.status(
            context.cluster,
            context.read_status,
            show=show,
            complain=complain,
            touch_id=touch_id,
            is_wanted=_is_about(context, about),
            follow=follow,
            timeout_s=timeout_s,
        )
        if chosen:
            return _some(chosen[0], seen)
        if touch_id is None:
            return DONE
        if not follow:
            await self._show_deliveries(context, touch_id)
        return await _ended(context, touch_id, seen, is_followed=follow)

    async def _show_deliveries(self, context: CommandContext, touch_id: str) -> None:
        def show(told: Mapping[str, Any]) -> None:
            line = json_of(told) if self.json else delivery_line(told)
            click.secho(line, fg=None if self.json else COLOURS.get(told["kind"]))

        await work.show_deliveries(
            context.cluster, context.read_delivery, show=show, complain=complain, touch_id=touch_id
        )


def _some(chosen: str, seen: work.Seen) -> int:
    if not seen.records:
        complain(f"this {chosen} has no status record")
    return DONE if seen.records else FAILED


async def _ended(context: CommandContext, touch_id: str, seen: work.Seen, *, is_followed: bool) -> int:
    """Return the exit code for one touch; name the orders that hold it if it has not ended."""
    code = DONE if seen.records and (seen.ended or not is_followed) else FAILED
    if code is FAILED:
        complain(f"{touch_id} has not ended in time" if seen.records else f"{touch_id} has no status record")
    if seen.latest is not None and not seen.ended:
        for order in await orders_that_hold(context, seen.latest):
            remark(f"held by {named_line(order)}")
    return code
