"""`faust -A pipeline produce`: the command; `work` produces."""

from __future__ import annotations

import asyncio
import os
from io import FileIO
from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import argument, option

from pipeline.console.command import DONE, FAILED, Command
from pipeline.console.file_argument import open_file
from pipeline.console.lines import Form
from pipeline.console.produce import work
from pipeline.console.progress import ProgressReport

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


class produce(Command):  # noqa: N801 - faust names the command after the class
    """Produce the touches of FILE to Kafka, keyed by touch_id; "-" reads standard input.

    NDJSON: one JSON object per line. CSV: the header row names the members of a touch; maps are written as
    variables.NAME, metadata.NAME, headers.NAME; an empty cell means that the member is absent. A line that cannot be
    read is named on standard error and skipped. The pipeline decides whether a touch is valid. Producing a file again
    is safe: repeats are dropped.

    \b
    Examples:
      faust -A pipeline produce touches.ndjson
      faust -A pipeline produce leads.csv
      generate-touches | faust -A pipeline produce -

    \b
    Exit codes:
      0  every line is in Kafka
      1  a line was skipped, Kafka refused a record, or the command was interrupted
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument(
            "file", type=click.Path(dir_okay=False, exists=True, readable=True, allow_dash=True), callback=open_file
        ),
        option(
            "--format",
            "form",
            type=click.Choice([form.value for form in Form]),
            default=None,
            help="Format of FILE; by default CSV if its name ends in .csv, else NDJSON.",
        ),
    ]

    async def serve(self, context: CommandContext, file: FileIO, form: str | None) -> int:
        """Produce the file."""
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        how = Form(form) if form else Form.CSV if str(file.name).lower().endswith(".csv") else Form.NDJSON
        with file:
            return await _produce(context, file, how, size)


async def _produce(context: CommandContext, stream: FileIO, form: Form, size: int | None) -> int:
    with ProgressReport("touches produced", lambda: stream.tell() / size if size else None) as counting:
        try:
            produced = await work.produce(
                context.cluster,
                stream,
                form,
                complain=counting.say,
                progress=counting,
                create_topics=context.create_topics,
            )
        except asyncio.CancelledError:
            counting.say(f"interrupted; {counting.count:,} touches are in; produce it again, repeats are dropped")
            raise
    skipped = f"; {produced.broken:,} lines skipped" if produced.broken else ""
    click.echo(f"{produced.touches:,} touches produced to {context.cluster.topic_name('touches')}{skipped}")
    return FAILED if produced.broken else DONE
