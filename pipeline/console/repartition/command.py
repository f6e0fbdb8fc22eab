"""`faust -A pipeline repartition`: the command; `engine/repartition.py` adds the partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.console.command import DONE, Command

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


class repartition(Command):  # noqa: N801 - faust names the command after the class
    """Add partitions to `touches` and to every topic that has as many, as configured.

    First set kafka.partitions to the new number and kafka.partitions_before to the present one, everywhere, and stop all
    workers: this refuses while one runs. Producers may go on. Then start the workers again. Touches that were accepted
    before are recognised, so that none is sent twice; keep kafka.partitions_before for `dedup_for`. Can be run again.

    \b
    Example:
      PIPELINE_CONFIG=pipeline.toml faust -A pipeline repartition

    \b
    Exit codes:
      0  every topic has the configured number of partitions
      1  a worker runs, or Kafka cannot do it
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Add the partitions, one line for each topic."""
        if context.add_partitions is None:
            raise click.UsageError(
                "kafka.partitions_before is not set: set it to the present number of partitions, and kafka.partitions to the new one"
            )
        async for line in context.add_partitions():
            click.echo(line)
        return DONE
