"""`faust -A pipeline hash`: the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import argument, option

from pipeline.console.command import DONE, Command, complain
from pipeline.console.typed_address import typed_address
from pipeline.domain.address_hash import address_hash, key_fingerprint
from pipeline.kafka.cluster import CommandFailed, reach
from pipeline.kafka.control import read_control, settle_fingerprint

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext
    from pipeline.domain.address_hash import AddressKind


class hash(Command):  # noqa: N801, A001 - faust names the command after the class
    """Print the hash under which ADDRESS, a phone number with its + or an e-mail address, stands in statuses and suppressions.

    The hash is made with privacy.key, which must not change: every worker and command compares its key with the one in
    use, and exits with 1 if they differ. --accept-key puts the configured key in use in its place. Suppressions of
    addresses that were made with the former key match nobody from then on: import them again, by address.

    \b
    Examples:
      faust -A pipeline hash +12125550001
      faust -A pipeline hash ann@example.com
      faust -A pipeline hash --accept-key

    \b
    Exit codes:
      0  printed, or accepted; without Kafka it is printed, too, and standard error says that the key was not compared
      1  privacy.key is not the one in use; with --accept-key: Kafka cannot be reached
      2  wrong usage or configuration; ADDRESS is none
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("address", required=False, callback=typed_address, metavar="[ADDRESS]"),
        option("--accept-key", "accepts_key", is_flag=True, help="Put the configured privacy.key in use."),
    ]

    async def serve(
        self, context: CommandContext, address: tuple[AddressKind, str] | None, *, accepts_key: bool
    ) -> int:
        """Print it."""
        if (address is None) is not accepts_key:
            raise click.UsageError("an ADDRESS is needed, or --accept-key", self.ctx)
        fingerprint = key_fingerprint(context.privacy_key)
        if address is None:
            await settle_fingerprint(context.cluster, fingerprint, complain, is_accepted=True)
            click.echo("the configured privacy.key is in use")
            return DONE
        await _compare_key(context, fingerprint)
        click.echo(address_hash(*address, context.privacy_key))
        return DONE


async def _compare_key(context: CommandContext, fingerprint: str) -> None:
    """Compare the key with the one in use. Raises CommandFailed if they differ; Kafka being away is only told."""
    try:
        await reach(context.cluster)
        log = await read_control(context.cluster, complain)
    except CommandFailed as error:
        complain(f"{error}; privacy.key was not compared with the one in use")
        return
    log.check_key(fingerprint)
