"""Every command of the pipeline. faust finds a command by its class, so importing this module registers them all."""

from pipeline.console.check.command import check
from pipeline.console.dead_letters.command import ListLetters, ReplayLetters, ShowLetter
from pipeline.console.forecast.command import forecast
from pipeline.console.hash.command import hash  # noqa: A004 - the command's name
from pipeline.console.opt_outs.command import ListOptOuts, ResolveOptOut
from pipeline.console.order.command import cancel, pause, resume
from pipeline.console.orders.command import orders
from pipeline.console.produce.command import produce
from pipeline.console.repartition.command import repartition
from pipeline.console.status.command import status
from pipeline.console.suppressions.command import (
    AddSuppression,
    ExportSuppressions,
    ImportSuppressions,
    ListSuppressions,
    RemoveSuppression,
)
from pipeline.console.token.command import token
from pipeline.console.unconfirmed.command import ListUnconfirmed, ResolveUnconfirmed

__all__ = [
    "AddSuppression",
    "ExportSuppressions",
    "ImportSuppressions",
    "ListLetters",
    "ListOptOuts",
    "ListSuppressions",
    "ListUnconfirmed",
    "RemoveSuppression",
    "ReplayLetters",
    "ResolveOptOut",
    "ResolveUnconfirmed",
    "ShowLetter",
    "cancel",
    "check",
    "forecast",
    "hash",
    "orders",
    "pause",
    "produce",
    "repartition",
    "resume",
    "status",
    "token",
]
