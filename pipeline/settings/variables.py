"""Which environment variables are read, and which of those that are set look as if they were meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from pipeline.settings.keys import KafkaSettings
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys
from pipeline.settings.table import keys_of

CONFIG_VARIABLE: Final = "PIPELINE_CONFIG"
WITHOUT_FILE: Final = tuple(
    each.variable
    for table in (KafkaSettings, WahaKeys, ResendKeys, TwilioKeys)
    for each in keys_of(table)
    if each.variable
)
"""What stands for keys where no file is named."""
ELSEWHERE: Final = ("PIPELINE_NOTICE", "F_DATADIR", "FAUST_DATADIR", "WEB_PORT", "WEB_BIND", "F_WEB_PORT", "F_WEB_BIND")
"""Read elsewhere: a line for the log, and faust's own."""
FAMILIES: Final = ("PIPELINE_", "KAFKA_", "SCHEMA_REGISTRY_", "WAHA_", "RESEND_", "TWILIO_")
_FOR_OTHERS: Final = ("KAFKA_", "WAHA_")
"""The servers of these names are configured by variables that begin so, too: one that resembles none of ours is theirs."""
_SLIPS: Final = 2
"""Letters added, left out, exchanged or swapped in a slip of the pen. TWILIO_API_KEY, which is Twilio's own, is three off."""
_ALIKE: Final = 0.8


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (found, meant) of each variable that is a slip of the pen away from one of ours that is not set."""
    known = (CONFIG_VARIABLE,) if environ.get(CONFIG_VARIABLE) else (CONFIG_VARIABLE, *WITHOUT_FILE)
    for name in _unknown(environ):
        meant = _nearest(name, known)
        if meant is not None and not environ.get(meant) and _is_slip(name.upper(), meant):
            yield name, meant


def unread(environ: Mapping[str, str]) -> list[str]:
    """Return a line about what is set in our name and not read, if there is any; values are not told."""
    if environ.get(CONFIG_VARIABLE):
        ignored = [name for name in WITHOUT_FILE if environ.get(name)]
        why = f"{CONFIG_VARIABLE} is set: these variables count only where that file names them: "
        return [why + ", ".join(ignored)] if ignored else []
    found = [_told(name) for name in _unknown(environ) if name.startswith(FAMILIES) and _concerns_us(name)]
    return [f"set in the environment and not read: {', '.join(sorted(found))}"] if found else []


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = {CONFIG_VARIABLE, *WITHOUT_FILE, *ELSEWHERE}
    return (name for name, value in environ.items() if value and name not in known)


def _concerns_us(name: str) -> bool:
    return not name.startswith(_FOR_OTHERS) or _nearest(name, WITHOUT_FILE) is not None


def _told(name: str) -> str:
    near = _nearest(name, WITHOUT_FILE)
    return name if near is None else f"{name} (did you mean {near}?)"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name.upper(), known, n=1, cutoff=_ALIKE)), None)


def _is_slip(name: str, meant: str) -> bool:
    return _distance(name, meant) <= _SLIPS


def _distance(one: str, other: str) -> int:
    """Return the optimal string alignment distance: letters added, left out, exchanged, or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, opposite in enumerate(other, 1):
            costs = [before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != opposite)]
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == opposite:
                costs.append(older[j - 2] + 1)
            row.append(min(costs))
    return row[-1]
