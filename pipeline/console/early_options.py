"""Command-line options that are needed before faust parses them."""

from __future__ import annotations

from collections.abc import Sequence


def typed(arguments: Sequence[str], long: str, short: str) -> str | None:
    """Return the value of an option as click reads it (the last one counts), or None: `--x V`, `--x=V`, `-x V`, `-xV`."""
    found = None
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument in (long, short):
            found = arguments[at + 1] if at + 1 < len(arguments) else found
        elif argument.startswith(f"{long}="):
            found = argument.partition("=")[2]
        elif argument.startswith(short) and not argument.startswith("--"):
            found = argument.removeprefix(short).removeprefix("=")
    return found
