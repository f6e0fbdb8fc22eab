"""`faust -A pipeline check`: the command; `work` looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.console.check import work
from pipeline.console.command import DONE, FAILED, Command
from pipeline.console.status.view import printable

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


class check(Command):  # noqa: N801
    """Check configuration, Kafka, topics, schema registry, credentials and clock. Sends nothing.

    Prints one line per item: "ok", "warn" with what to look at, or "failed" with what to do. Each sender with
    webhook_secrets has a line of what is set at its provider for callbacks, and what should be.

    \b
    Example:
      PIPELINE_CONFIG=pipeline.toml faust -A pipeline check

    \b
    Exit codes:
      0  no item failed
      1  an item failed
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Check every item."""
        code = DONE
        async for found in work.check(context.cluster, context.desired(), context.now_s):
            click.echo(line_of(found))
            code = code if found.is_ok else FAILED
        return code


def line_of(found: work.Finding) -> str:
    """Return the line of an item; what a provider or a broker says in it steers no terminal."""
    return f"{_word(found)}  {found.item}: {printable(found.what)}"


def _word(found: work.Finding) -> str:
    if not found.is_ok:
        return click.style("failed", fg="red")
    return click.style("warn  ", fg="yellow") if found.is_warning else click.style("ok    ", fg="green")
