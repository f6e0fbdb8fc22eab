"""The base of every command: exit codes, signals, and one line for an error."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click
from faust.cli.base import AppCommand, cli

from pipeline.kafka.cluster import CommandFailed
from pipeline.records.registry import RegistryAway
from pipeline.secret import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pipeline.console.command_context import CommandContext

DONE, FAILED = 0, 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_desks: list[Callable[[], CommandContext]] = []


def install(make_context: Callable[[], CommandContext]) -> None:
    """Set the factory of the command context; it is called when a command runs."""
    _desks[:] = [make_context]


class Command(AppCommand):
    """A command that returns its exit code and runs without faust's services."""

    abstract: ClassVar[bool] = True
    interrupted: ClassVar[int] = FAILED
    """Exit code after Ctrl-C."""

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command and end the process with its exit code."""
        # The client's log lines would mix with the output: what matters comes back as an exception.
        for talker in ("aiokafka", "asyncio"):  # asyncio logs futures that aiokafka leaves behind
            logging.getLogger(talker).setLevel(logging.CRITICAL)
        raise SystemExit(_run(self.serve(_desks[0](), *self.args, *args, **self.kwargs, **kwargs), self.interrupted))

    async def serve(self, context: CommandContext, *args: Any, **kwargs: Any) -> int:
        """Run the command and return its exit code."""
        raise NotImplementedError


class Subcommand(Command):
    """A command in a group, such as `dead-letters list`."""

    abstract: ClassVar[bool] = True
    group: ClassVar[click.Group]
    verb: ClassVar[str]

    @classmethod
    def as_click_command(cls) -> Any:
        """Move the command that faust creates into its group."""
        command: Any = super().as_click_command()
        del cli.commands[command.name]
        cls.group.add_command(command, cls.verb)
        return command


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    return await task


def _run(work: Coroutine[Any, Any, int], interrupted: int) -> int:
    try:
        return asyncio.run(_interruptible(work))
    except asyncio.CancelledError:
        return interrupted
    except (CommandFailed, RegistryAway) as error:
        complain(str(error))
        return FAILED
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        _leave_output()  # its reader has enough
        return DONE
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _leave_output()
        complain(f"standard output cannot be written to: {error.strerror}")
        return FAILED


def _leave_output() -> None:
    """Flushing what Python still holds for standard output must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark(line: str) -> None:
    """Write one line to standard error that is no error."""
    click.echo(without_secrets(line), err=True)


def complain(line: str) -> None:
    """Write one line to standard error."""
    line = without_secrets(line)
    click.secho(f"error: {line}" if sys.stderr.isatty() else line, err=True, fg="red")
