"""`faust -A pipeline suppressions add|remove|list|export|import`: the commands; `work` writes, `view` shows."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import click
from faust.cli.base import argument, cli

from pipeline.console.command import DONE, FAILED, Subcommand, complain
from pipeline.console.file_argument import open_file
from pipeline.console.operator import BY_OPTION, NOTE_OPTION, WAIT_OPTIONS, operator, patience_s
from pipeline.console.order.work import current_orders
from pipeline.console.progress import ProgressReport, telling
from pipeline.console.suppressions.rows import ImportDefaults
from pipeline.console.suppressions.target import (
    WHAT_OPTIONS,
    WHOM_OPTIONS,
    Recipient,
    TypedRecipient,
    lanes_of_scopes,
    recipient_of,
)
from pipeline.console.suppressions.view import imported_json, imported_line, json_of, line_of
from pipeline.console.suppressions.work import Imported, add, import_file, lift, missing_lanes
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.kafka.suppressions import SuppressionLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from io import FileIO

    from pipeline.console.command_context import CommandContext
    from pipeline.kafka.suppressions import PlacedEntry


@cli.group("suppressions")
def _suppressions() -> None:
    """Say who must not be written to: each entry names an address or a person, the channels, and a reason.

    From the moment `add` ends with 0, no call for that recipient begins. An entry is kept until it is removed.

    \b
    Examples:
      faust -A pipeline suppressions add --address +12125550001 --reason opt_out --note "said so by phone"
      faust -A pipeline suppressions list --address +12125550001
      faust -A pipeline suppressions import optouts.csv
    """  # noqa: D301 - \b is click's


class TypedEntry(TypedRecipient):
    """The options of an entry."""

    scope: str | None
    reason: str | None
    note: str | None
    by: str | None
    wait_s: float | None
    is_hasty: bool


class _SuppressionsCommand(Subcommand):
    abstract: ClassVar[bool] = True
    group = _suppressions

    async def whom(self, context: CommandContext, typed: TypedRecipient) -> Recipient | None:
        """Return whom the options name. Raises UsageError, and CommandFailed if privacy.key is not the one in use."""
        found = recipient_of(typed, context.privacy_key, self.ctx)
        await current_orders(context, complain)
        return found

    def scope(self, recipient: Recipient, typed: str | None) -> Scope:
        """Return the scope of an entry. Raises UsageError."""
        try:
            return recipient.scope(typed)
        except ValueError as error:
            raise click.UsageError(f"--scope: {error}", self.ctx) from None

    async def in_force(
        self, context: CommandContext, scopes: set[Scope], offset: int, patience: float | None
    ) -> list[str]:
        """Wait until the entry at `offset` is in force; return the lanes that do not obey yet."""
        total = len(lanes_of_scopes(scopes, context.policies))
        with ProgressReport(f"of {total} lanes obey", lambda: counting.count / total if total else None) as counting:
            try:
                async with telling(counting):
                    return await missing_lanes(
                        context, scopes, offset, patience_s=patience, progress=counting, complain=counting.say
                    )
            except asyncio.CancelledError:
                counting.say("interrupted; what was written stands")
                raise


def _code(missing: list[str], patience: float | None) -> int:
    """Return the exit code; say which lanes do not obey yet."""
    if not missing or patience is None:
        return DONE
    complain(f"what was written stands, but these lanes do not obey yet: {', '.join(missing)}")
    return FAILED


def _entries(context: CommandContext, whom: Recipient | None) -> AsyncGenerator[PlacedEntry, None]:
    part = None if whom is None else whom.key_part
    return SuppressionLog(context.cluster, context.read_suppression, complain, part).entries()


ENTRY_OPTIONS: Final[list[Any]] = [*WHOM_OPTIONS, *WHAT_OPTIONS, NOTE_OPTION, BY_OPTION, *WAIT_OPTIONS]


class AddSuppression(_SuppressionsCommand):
    """Add an entry: its recipient is not written to any more.

    By default the scope is email or phone (WhatsApp and SMS) as the address says, and * for a person; the reason is
    manual. unsubscribed concerns marketing touches only, every other reason all. Adding an entry again replaces its note.

    \b
    Examples:
      faust -A pipeline suppressions add --address +12125550001 --reason opt_out --note "said so by phone"
      faust -A pipeline suppressions add --lead ann
      faust -A pipeline suppressions add --hash 0123456789abcdef0123456789abcdef --scope sms --reason unreachable

    \b
    Exit codes:
      0  in force; with --no-wait: committed
      1  not in force within --timeout (the entry stands); Kafka cannot be reached; interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "add"
    options: list[Any] = ENTRY_OPTIONS

    async def serve(self, context: CommandContext, **typed: Unpack[TypedEntry]) -> int:
        """Add it."""
        patience = patience_s(self.ctx, typed["wait_s"], is_hasty=typed["is_hasty"])
        whom = recipient_of(typed, context.privacy_key, self.ctx)
        if whom is None:
            raise click.UsageError("--address, --hash or --lead is needed", self.ctx)
        who = operator(typed["by"])
        entry = Suppression(
            self.scope(whom, typed["scope"]),
            address_hash=whom.hashed,
            lead_id=whom.lead,
            reason=SuppressionReason(typed["reason"] or SuppressionReason.MANUAL),
            note=typed["note"],
            by=who.name,
            at_ms=context.now_ms(),
        )
        await current_orders(context, complain)
        offset = await add(context, entry, who)
        missing = await self.in_force(context, {entry.scope}, offset, patience)
        if self.json:
            click.echo(json_of(entry, offset=offset, in_force=not missing, missing=missing))
        else:
            click.echo(f"{entry.key} {'is committed, not in force yet' if missing else 'is in force'}")
        return _code(missing, patience)


class RemoveSuppression(_SuppressionsCommand):
    """Remove entries: all of a recipient, or those with this scope or reason. Removing an opt-out leaves a bounce.

    \b
    Examples:
      faust -A pipeline suppressions remove --address +12125550001 --reason opt_out --note "asked to come back"
      faust -A pipeline suppressions remove --lead ann

    \b
    Exit codes:
      0  every lane knows; with --no-wait: committed
      1  there is no such entry; a lane does not know within --timeout; Kafka cannot be reached; interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "remove"
    options: list[Any] = ENTRY_OPTIONS

    async def serve(self, context: CommandContext, **typed: Unpack[TypedEntry]) -> int:
        """Remove them."""
        patience = patience_s(self.ctx, typed["wait_s"], is_hasty=typed["is_hasty"])
        whom = recipient_of(typed, context.privacy_key, self.ctx)
        if whom is None:
            raise click.UsageError("--address, --hash or --lead is needed", self.ctx)
        if typed["scope"] is not None:
            self.scope(whom, typed["scope"])
        await current_orders(context, complain)
        found = await self._found(context, whom, typed)
        if not found:
            complain("there is no such entry")
            return FAILED
        offset = await lift(context, found, operator(typed["by"]), note=typed["note"])
        missing = await self.in_force(context, {entry.scope for entry in found}, offset, patience)
        for entry in found:
            if self.json:
                click.echo(json_of(entry, offset=offset, in_force=not missing, missing=missing))
            else:
                click.echo(f"{entry.key} is removed")
        return _code(missing, patience)

    async def _found(self, context: CommandContext, whom: Recipient, typed: TypedEntry) -> list[Suppression]:
        async with aclosing(_entries(context, whom)) as entries:
            return [
                placed.entry
                async for placed in entries
                if typed["scope"] in {None, placed.entry.scope.value}
                and typed["reason"] in {None, placed.entry.reason.value}
            ]


class ListSuppressions(_SuppressionsCommand):
    """Show a line per entry: key, at, by, note (- for none).

    \b
    Examples:
      faust -A pipeline suppressions list
      faust -A pipeline suppressions list --address +12125550001

    \b
    Exit codes:
      0  shown
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "list"
    options: list[Any] = WHOM_OPTIONS

    async def serve(self, context: CommandContext, **typed: Unpack[TypedRecipient]) -> int:
        """Show the lines."""
        whom = recipient_of(typed, context.privacy_key, self.ctx)
        await current_orders(context, complain)
        async with aclosing(_entries(context, whom)) as entries:
            async for placed in entries:
                click.echo(json_of(placed.entry) if self.json else line_of(placed.entry))
        return DONE


class ExportSuppressions(_SuppressionsCommand):
    """Write every entry as a line of JSON, to be imported elsewhere. Addresses are there as hashes, made with privacy.key.

    \b
    Examples:
      faust -A pipeline suppressions export > suppressions.ndjson

    \b
    Exit codes:
      0  written
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "export"
    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Write the lines."""
        await current_orders(context, complain)
        async with aclosing(_entries(context, None)) as entries:
            async for placed in entries:
                click.echo(json_of(placed.entry))
        return DONE


class ImportSuppressions(_SuppressionsCommand):
    """Add the entries of FILE: NDJSON as `export` writes it, or CSV with a header; "-" reads standard input.

    The members, and columns, are those of schemas/suppression.avsc, or address in place of address_hash; one of
    address, address_hash and lead_id is needed, and a scope with address_hash. A line that cannot be used is named on
    standard error and skipped. Entries that are there already are not written again.

    \b
    Examples:
      faust -A pipeline suppressions import optouts.csv
      faust -A pipeline suppressions import --by "old system" - < suppressions.ndjson

    \b
    Exit codes:
      0  every entry is in force
      1  a line was skipped, not in force within 60 s, Kafka cannot be reached, or the command was interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "import"
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument(
            "file", type=click.Path(dir_okay=False, exists=True, readable=True, allow_dash=True), callback=open_file
        ),
        BY_OPTION,
    ]

    async def serve(self, context: CommandContext, file: FileIO, by: str | None) -> int:
        """Import them."""
        who = operator(by)
        defaults = ImportDefaults(by=who.name, at_ms=context.now_ms(), privacy_key=context.privacy_key)
        with ProgressReport("lines read", lambda: None) as counting:
            try:
                await current_orders(context, counting.say)
                done = await import_file(context, file, defaults, who, complain=counting.say, progress=counting)
            except asyncio.CancelledError:
                counting.say("interrupted; import again, what is there is not written again")
                raise
        return await self._tell(context, done)

    async def _tell(self, context: CommandContext, done: Imported) -> int:
        patience = patience_s(self.ctx, None, is_hasty=False)
        missing: list[str] = []
        if done.offset is not None:
            missing = await self.in_force(context, done.scopes, done.offset, patience)
        click.echo(imported_json(done, missing) if self.json else imported_line(done))
        code = _code(missing, patience)
        return FAILED if done.broken else code
