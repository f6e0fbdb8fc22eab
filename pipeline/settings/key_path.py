"""The path of a key in the configuration, and the errors noted there: one line each, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time
from typing import Final

from pipeline.domain.work import Channel
from pipeline.secret import without_secrets

MISSING_VARIABLE: Final = object()
"""Stands for the value of an environment variable that is named and not set; the error has been noted."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 80


class InvalidValue(ValueError):
    """A value that is not allowed; the message, if any, adds to what the kind of value says."""


class InvalidKey(Exception):
    """A key has no usable value; the error has been noted."""


class EnvironmentText(str):
    """Text that is the value of an environment variable."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def read(cls, variable: str, text: str) -> EnvironmentText:
        """Return `text`, marked as the value of `variable`."""
        made = cls(text)
        made.variable = variable
        return made


@dataclass(frozen=True, slots=True)
class KeyPath:
    """Where in the configuration a value stands, such as `channels.sms.senders[0].from`."""

    path: str
    channel: Channel | None
    """The channel whose keys and defaults apply here."""
    notes: list[str]
    """The errors found so far, shared by all paths of one configuration."""
    names: Mapping[str, str]
    """What to show in place of a path: without a file, the environment variable."""
    renamed: list[tuple[str, str]] = field(default_factory=list)
    """Keys that were read under a former name, as (path in the file, present name); shared like `notes`."""

    def at(self, name: str) -> KeyPath:
        """Return the path of key `name` of the table here."""
        bare = name if _BARE_KEY.fullmatch(name) else json.dumps(name)
        return replace(self, path=f"{self.path}.{bare}" if self.path else bare)

    def item(self, index: int) -> KeyPath:
        """Return the path of item `index` of the array here."""
        return replace(self, path=f"{self.path}[{index}]")

    def note(self, found: str, allowed: str) -> None:
        """Add an error at this path, on one line."""
        self.notes.append(f"{self.names.get(self.path, self.path)}: found {found}; allowed: {allowed}")

    def refuse(self, value: object, allowed: str, *, secret: bool = False) -> InvalidKey:
        """Add the error that `value` is not allowed here; return the exception to raise."""
        found = "a value that is not shown here" if secret else to_toml(value)
        if isinstance(value, EnvironmentText) and self.path not in self.names:
            found += f" in the environment variable {value.variable}"
        self.note(found, allowed)
        return InvalidKey()


@dataclass(frozen=True, slots=True)
class InlineTable:
    """A table without secrets, which an error shows in full."""

    table: dict[str, object]


def to_toml(value: object) -> str:
    """Return `value` as TOML on one line of at most 80 characters; tables and arrays only by their kind."""
    if isinstance(value, InlineTable):
        return "{ " + ", ".join(f"{name} = {to_toml(each)}" for name, each in value.table.items()) + " }"
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
