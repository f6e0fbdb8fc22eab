"""The whole command line: faust's options and commands are adapted, or removed where they fail or mislead."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from faust.cli import base, params
from faust.cli.base import cli, option
from faust.cli.worker import worker as faust_worker

from pipeline.console.command import DONE, Command
from pipeline.console.early_options import typed

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext

DEFAULT_LOGLEVEL: Final = "INFO"
DEFAULT_PORT: Final = 6066
_NOT_OURS = ("agents", "clean-versions", "completion", "livecheck", "model", "models", "reset", "send", "tables")
"""Faust's commands about its own models, tables and topics, of which there are none here."""
_WITHOUT_EFFECT = ("--console-port", "--blocking-timeout", "--debug", "--loop")
"""Options that faust's parser reads and this application ignores."""
_WELCOME = """\
Touches in, statuses out: WhatsApp, e-mail and SMS over Kafka.

\b
Start with:
  faust -A pipeline check
  faust -A pipeline worker

\b
Exit codes of every command:
  0  done
  1  failed
  2  wrong usage or configuration
"""
_HELP = {
    "--loglevel": "How much a worker or web process logs, from debug to crit; by default info.",
    "--logfile": "Where a worker or web process logs to, in place of standard error.",
    "--datadir": "Folder of this worker's tables; a folder per process. By default data_dir of the configuration.",
    "--workdir": "Folder to change to first: PIPELINE_CONFIG and other relative paths start there.",
    "--json": "Print JSON, a line per object (commands that show or change something).",
    "--quiet": "Print no banner (worker).",
    "--app": "Always pipeline.",
    "--version": "Show faust's version; `faust -A pipeline version` shows ours.",
}


def versions() -> str:
    """Return the version of the pipeline and of the libraries that matter."""
    below = ", ".join(f"{name} {metadata.version(name)}" for name in ("faust-streaming", "aiokafka"))
    return f"touch-pipeline {metadata.version('touch-pipeline')} ({below}, Python {sys.version.split()[0]})"


def typed_level() -> str:
    """Return the log level that was typed, or the default, as logging names it."""
    said = (typed(sys.argv[1:], "--loglevel", "-l") or DEFAULT_LOGLEVEL).upper()
    return "CRITICAL" if said == "CRIT" else said


def check_log_file(file: str | None, ctx: click.Context | None) -> None:
    """Raise BadParameter for a log that cannot be written to: logging says so with a traceback, and later."""
    folder = Path(os.path.abspath(file or "log")).parent  # noqa: PTH100 - what does not exist is not resolved
    if file is not None and not os.access(folder, os.W_OK | os.X_OK):
        why = f"{file!r}: its folder does not exist, or cannot be written to"
        raise click.BadParameter(why, ctx, param_hint="--logfile")


class version(Command):  # noqa: N801 - faust names the command after the class
    """Show the version.

    \b
    Example:
      faust -A pipeline version

    \b
    Exit codes:
      0  shown
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Show it."""
        del context
        click.echo(versions())
        return DONE


class worker(faust_worker):  # noqa: N801 - faust names the command after the class
    """Run a worker: it takes its share of the touches, sends them, and reports what became of each.

    Start as many workers as you need, each with its own --datadir. On SIGTERM a worker starts no new call, finishes
    the calls under way and exits with 0. It exits with 1 when it cannot be sure of its state any more: let a
    supervisor always restart it.

    \b
    Examples:
      faust -A pipeline worker
      faust -A pipeline worker --datadir /var/lib/pipeline/2 --web-port 6067
      faust -A pipeline worker --web-bind 0.0.0.0 --loglevel warn

    \b
    Exit codes:
      0  stopped by SIGTERM or Ctrl-C
      1  Kafka, the data folder or the port cannot be used; or the worker must be restarted
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        option("--datadir", "-D", expose_value=False, help=_HELP["--datadir"]),
        option("--with-web/--without-web", default=True, help="Serve /live, /ready and /metrics."),
        option(
            "--web-port",
            "-p",
            default=None,
            type=params.TCPPort(),
            help=f"Serve them on this port; by default {DEFAULT_PORT}, or the next one that is free.",
        ),
        option("--web-bind", "-b", default=None, help="Serve them on this address; by default 127.0.0.1."),
        option("--web-host", "-h", default=None, hidden=True),
        option(
            "--loglevel",
            "-l",
            default=DEFAULT_LOGLEVEL,
            expose_value=False,
            type=params.CaseInsensitiveChoice(base.LOGLEVELS),
            help="How much to log.",
        ),
        base.compat_option(
            "--logfile", "-f", state_key="logfile", default=None, type=params.WritableFilePath, help=_HELP["--logfile"]
        ),
    ]

    @property  # type: ignore[misc]
    def loglevel(self) -> str:
        """The log level given before or after `worker`: faust drops one that equals its own default."""
        return typed_level()

    def _init_worker_options(self, *args: Any, **kwargs: Any) -> None:
        try:
            check_log_file(self.logfile, self.ctx)
        except click.UsageError as error:  # faust would show a traceback of it
            error.show()
            raise SystemExit(error.exit_code) from None
        super()._init_worker_options(*args, web_transport=None, **kwargs)

    def on_worker_created(self, worker: Any) -> None:
        """Print the banner, unless each line is to be an object."""
        if not self.app.conf.logging_config:
            super().on_worker_created(worker)

    def _banner_title(self) -> str:
        return f"touch-pipeline {metadata.version('touch-pipeline')}"

    def _banner_data(self, worker: Any) -> list[tuple[str, str]]:
        conf = self.app.conf
        log = f"{worker.logfile or 'standard error'} ({self.loglevel.lower()})"
        kafka = ", ".join(str(each).removeprefix("kafka://") for each in conf.broker)
        return [
            ("Kafka", kafka),
            ("application", conf.id),
            ("data folder", str(conf.datadir.absolute())),
            ("log", log),
            ("process", str(os.getpid())),
        ]


def make_ours() -> None:
    """Remove from the command line and its help what does not apply to this program."""
    for name in _NOT_OURS:
        cli.commands.pop(name, None)
    cli.help = _WELCOME
    for each in cli.params:
        if isinstance(each, click.Option):
            _make_true(each)


def _make_true(each: click.Option) -> None:
    each.hidden = each.hidden or any(name in _WITHOUT_EFFECT for name in each.opts)
    for name in each.opts:
        if name in _HELP:
            each.help, each.show_default = _HELP[name], False
