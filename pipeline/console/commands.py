"""`faust -A pipeline produce|status|check`: thin shells; what they do is in the module of the same name."""

from __future__ import annotations

import asyncio
import os
import sys
from io import FileIO
from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import argument, option

from pipeline.console import check as checking
from pipeline.console import produce as producing
from pipeline.console import status as telling
from pipeline.console.report import Counting
from pipeline.console.rows import Form
from pipeline.console.shell import DONE, FAILED, Shell, complain
from pipeline.console.story import COLOURS, json_of, line_of
from pipeline.settings.kinds import duration_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.console.command_context import CommandContext


def _open(_ctx: click.Context, _param: click.Parameter, path: str) -> FileIO:
    # Unbuffered: Python's own sys.stdin would be locked, at exit, by the thread that waits for input.
    return FileIO(sys.stdin.fileno(), closefd=False) if path == "-" else FileIO(path)


class produce(Shell):  # noqa: N801 - faust names the command after the class
    """Produce the touches of FILE to Kafka, keyed by touch_id; "-" reads standard input.

    NDJSON: one JSON object per line. CSV: a header names the members of a touch; maps as variables.NAME,
    metadata.NAME, headers.NAME; an empty cell is absent. A broken line is named on standard error and skipped. Whether
    a touch is valid is judged by the pipeline; producing a file again is safe, repeats are dropped.

    \b
    Examples:
      faust -A pipeline produce touches.ndjson
      faust -A pipeline produce leads.csv
      generate-touches | faust -A pipeline produce -

    \b
    Exit codes:
      0  every line is in Kafka
      1  a line was skipped, Kafka refused, or it was interrupted
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("file", type=click.Path(dir_okay=False, exists=True, readable=True, allow_dash=True), callback=_open),
        option(
            "--format",
            "form",
            type=click.Choice([form.value for form in Form]),
            default=None,
            help="How FILE is written; by default CSV if its name ends in .csv, else NDJSON.",
        ),
    ]

    async def serve(self, context: CommandContext, file: FileIO, form: str | None) -> int:
        """Produce the file."""
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        how = Form(form) if form else Form.CSV if str(file.name).lower().endswith(".csv") else Form.NDJSON
        with file:
            return await _produce(context, file, how, size)


async def _produce(context: CommandContext, stream: FileIO, form: Form, size: int | None) -> int:
    with Counting("touches produced", lambda: stream.tell() / size if size else None) as counting:
        try:
            produced = await producing.produce(
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


def _timeout(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return duration_ms(value) / 1000
    except ValueError:
        raise click.BadParameter(f'{value!r} is no duration such as "250ms", "30s" or "10m"') from None


class status(Shell):  # noqa: N801
    """Show the status records: a line each with time, touch_id, state, reason, and what else is known.

    Without --follow it shows what is there now. With --follow it goes on: with a TOUCH_ID until that touch has ended,
    else until --timeout or Ctrl-C. `faust -A pipeline --json status` prints a JSON object per record.

    \b
    Examples:
      faust -A pipeline status
      faust -A pipeline status t-1001
      faust -A pipeline status --follow --timeout 30s t-1001

    \b
    Exit codes:
      0  shown; with --follow TOUCH_ID: the touch has ended, however; interrupted
      1  the TOUCH_ID has no record, or has not ended in time; Kafka is away
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    interrupted = DONE
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("touch_id", required=False),
        option("--follow", "-f", is_flag=True, help="Go on with what comes."),
        option(
            "--timeout",
            "timeout_s",
            default=None,
            callback=_timeout,
            metavar="DURATION",
            help="End after so long (with --follow).",
        ),
    ]

    async def serve(
        self, context: CommandContext, touch_id: str | None, *, follow: bool, timeout_s: float | None
    ) -> int:
        """Show the records."""
        if timeout_s is not None and not follow:
            raise click.UsageError("--timeout goes with --follow", self.ctx)
        form = json_of if self.json else line_of

        def show(told: Mapping[str, Any]) -> None:
            line = form(told)
            click.secho(line, fg=None if self.json else COLOURS.get(told["state"]))

        seen = await telling.status(
            context.cluster,
            context.read_status,
            show=show,
            complain=complain,
            touch_id=touch_id,
            follow=follow,
            timeout_s=timeout_s,
        )
        if touch_id is None or (seen.records and (seen.ended or not follow)):
            return DONE
        complain(f"{touch_id} has not ended in time" if seen.records else f"{touch_id} has no status record")
        return FAILED


class check(Shell):  # noqa: N801
    """Look whether all is in place: configuration, Kafka, topics, schema registry, credentials, clock. Sends nothing.

    A line per item, "ok" or "failed" with its fix.

    \b
    Example:
      PIPELINE_CONFIG=pipeline.toml faust -A pipeline check

    \b
    Exit codes:
      0  all is well
      1  something failed
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Look at everything."""
        code = DONE
        async for found in checking.check(context.cluster, context.desired(), context.now_s):
            word = click.style("ok    ", fg="green") if found.is_ok else click.style("failed", fg="red")
            click.echo(f"{word}  {found.item}: {found.what}")
            code = code if found.is_ok else FAILED
        return code
