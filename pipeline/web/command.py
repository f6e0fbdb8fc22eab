"""`faust -A pipeline web`: the command; `process` runs the listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import option

from pipeline.console.command import Command
from pipeline.console.command_line import check_log_file, typed_level
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.web import PRIVATE_LISTEN, PUBLIC_LISTEN, unsafe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.console.command_context import CommandContext
    from pipeline.settings.schema import Scalar
    from pipeline.settings.web import Listen
    from pipeline.web.process import WebDeps

_makers: list[Callable[[], WebDeps]] = []


def install_web(make_deps: Callable[[], WebDeps]) -> None:
    """Set the factory of what the web process needs; it is called when the command runs."""
    _makers[:] = [make_deps]


def _typed(kind: Scalar[Any]) -> Callable[[click.Context, click.Parameter, str | None], Listen | str | None]:
    def parse(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Listen | str | None:
        if not value:
            return value
        try:
            found: Listen = kind.parse(value)
        except InvalidValue as invalid:
            more = f" ({invalid})" if str(invalid) else ""
            raise click.BadParameter(f"{value!r}; allowed: {kind.allowed}{more}") from None
        return found

    return parse


class web(Command):  # noqa: N801 - faust names the command after the class
    """Take providers' callbacks and one-click unsubscribes, and answer people, in a process of its own beside the workers.

    It serves the API, /live, /ready and /metrics where --listen says, and what providers and mail programs call where
    --public-listen says. Start as many as you need, on one host each with ports of its own. While Kafka is away it
    answers 503 and goes on by itself; providers come again. On SIGTERM it answers what it has begun and exits with 0;
    on SIGHUP it reads the certificate again.

    \b
    Examples:
      faust -A pipeline web
      faust -A pipeline web --listen 127.0.0.1:6081 --public-listen 0.0.0.0:6443

    \b
    Exit codes:
      0  stopped by SIGTERM or Ctrl-C
      1  a port or the folder of the copy cannot be used, or privacy.key is another one than that of the workers
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        option(
            "--listen",
            default=None,
            callback=_typed(PRIVATE_LISTEN),
            metavar="HOST:PORT",
            help="Where to serve the API, /live, /ready and /metrics; by default web.listen.",
        ),
        option(
            "--public-listen",
            default=None,
            callback=_typed(PUBLIC_LISTEN),
            metavar="HOST:PORT",
            help='Where providers and mail programs call; by default web.public_listen. "": nowhere.',
        ),
        option(
            "--copy-dir",
            default=None,
            metavar="DIR",
            help="Folder of the look-up copy, a folder per process; by default web.copy_dir.",
        ),
    ]

    async def serve(
        self,
        context: CommandContext,
        *,
        listen: Listen | str | None,
        public_listen: Listen | str | None,
        copy_dir: str | None,
    ) -> int:
        """Serve until a signal ends it."""
        from pipeline.web.process import WebProcess, log_to  # noqa: PLC0415 - a worker never loads it

        del context
        deps = _makers[0]().listening(listen, public_listen, copy_dir)
        if why := unsafe(deps.settings.web):
            raise click.UsageError(f"--listen: {why}", self.ctx)
        check_log_file(self.logfile, self.ctx)
        log_to(self.logfile, typed_level(), deps.settings.log_format)
        return await WebProcess(deps).run()
