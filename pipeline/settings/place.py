"""Where in the configuration we are, and how what is wrong there is told: one line, with no secret in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, time
from typing import Final

from pipeline.domain.work import Channel
from pipeline.secret import without_secrets

MISSING_VARIABLE: Final = object()
"""Stands where an environment variable was named that is not set (which has been noted)."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 80


class Wrong(ValueError):
    """A value that is not allowed; the message, if any, says more than the kind of value does."""


class Spoilt(Exception):
    """Something was wrong, and has been noted."""


class FromEnvironment(str):
    """Text that came from an environment variable."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def read(cls, variable: str, text: str) -> FromEnvironment:
        """Return `text`, remembering that it is the value of `variable`."""
        made = cls(text)
        made.variable = variable
        return made


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the configuration we are."""

    path: str
    channel: Channel | None
    notes: list[str]
    names: Mapping[str, str]
    """What to call a path instead: without a file, its environment variable."""

    def at(self, name: str) -> Place:
        """Return the place of key `name` below."""
        shown = name if _BARE_KEY.fullmatch(name) else json.dumps(name)
        return replace(self, path=f"{self.path}.{shown}" if self.path else shown)

    def item(self, index: int) -> Place:
        """Return the place of the array's item `index`."""
        return replace(self, path=f"{self.path}[{index}]")

    def note(self, found: str, allowed: str) -> None:
        """Note what is wrong here, on one line."""
        self.notes.append(f"{self.names.get(self.path, self.path)}: found {found}; allowed: {allowed}")

    def refuse(self, value: object, allowed: str, *, secret: bool = False) -> Spoilt:
        """Note that `value` is not allowed here; return the exception to raise."""
        found = "a value that is not shown here" if secret else shown(value)
        if isinstance(value, FromEnvironment) and self.path not in self.names:
            found += f" in the environment variable {value.variable}"
        self.note(found, allowed)
        return Spoilt()


@dataclass(frozen=True, slots=True)
class Inline:
    """A table without secrets, to be shown in full."""

    table: dict[str, object]


def shown(value: object) -> str:
    """Return `value` as it would stand in TOML, on one line, cut short; of tables and arrays only that they are one."""
    if isinstance(value, Inline):
        return "{ " + ", ".join(f"{name} = {shown(each)}" for name, each in value.table.items()) + " }"
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        return "an array" if value else "an empty array"
    if value is MISSING_VARIABLE:
        return "nothing"
    text = value.isoformat() if isinstance(value, date | time) else json.dumps(value, ensure_ascii=False, default=str)
    text = without_secrets(text)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
