"""Every command of the pipeline. faust finds a command by its class, so importing this module registers them all."""

from pipeline.console.check.command import check
from pipeline.console.dead_letters.command import ListLetters, ReplayLetters, ShowLetter
from pipeline.console.forecast.command import forecast
from pipeline.console.hash.command import hash  # noqa: A004 - the command's name
from pipeline.console.produce.command import produce
from pipeline.console.status.command import status
from pipeline.console.unconfirmed.command import ListUnconfirmed, ResolveUnconfirmed

__all__ = [
    "ListLetters",
    "ListUnconfirmed",
    "ReplayLetters",
    "ResolveUnconfirmed",
    "ShowLetter",
    "check",
    "forecast",
    "hash",
    "produce",
    "status",
]
