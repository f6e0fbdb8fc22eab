"""Declares the keys of a configuration table as a dataclass, and reads a table against that declaration."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Final, Generic, Protocol, TypeVar

from pipeline.domain.work import Channel
from pipeline.secret import Secret
from pipeline.settings.key_path import MISSING_VARIABLE, EnvironmentText, InvalidKey, InvalidValue, KeyPath

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

REQUIRED: Final = object()
"""The key has no default."""
ABSENT: Final = object()
"""The key may be left out, and is None then."""
_UNIT = re.compile(r"(_ms|_s|_)$")
"""The part of a field's name that its key lacks: the unit, or the underscore of a reserved word."""


@dataclass(frozen=True, slots=True)
class ByChannel:
    """A default that differs between channels, written as in TOML."""

    whatsapp: object
    email: object
    sms: object


class Kind(Protocol[T_co]):
    """The kind of value that a key takes."""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""

    def read(self, value: object, path: KeyPath, *, secret: bool) -> T_co:
        """Return the parsed value. Raises InvalidKey after noting the errors."""


@dataclass(frozen=True, slots=True)
class Scalar(Generic[T]):
    """A value without keys of its own; `parse` raises InvalidValue."""

    allowed: str
    parse: Callable[[object], T]

    def read(self, value: object, path: KeyPath, *, secret: bool) -> T:
        """Return the parsed value. Raises InvalidKey after noting the error."""
        try:
            return self.parse(value)
        except InvalidValue as invalid:
            more = f" ({invalid})" if str(invalid) else ""
            raise path.refuse(value, self.allowed + more, secret=secret) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One declared key."""

    field: str
    """Name of the dataclass field."""
    name: str
    """Name in TOML."""
    kind: Kind[object]
    default: object
    """The default as written in TOML; or a ByChannel, REQUIRED or ABSENT."""
    about: str
    """The meaning, for docs/configuration.md."""
    secret: bool
    variable: str | None
    """The environment variable that sets the key when there is no file."""
    formerly: str | None
    """A former name, which is still read, with a warning."""
    only: Channel | None
    """The one channel that has the key; None: all."""
    otherwise: object
    """The value on the other channels."""

    def default_on(self, channel: Channel | None) -> object:
        """Return the default of `channel`, as written in TOML."""
        if isinstance(self.default, ByChannel) and channel is not None:
            return getattr(self.default, channel.value)
        return self.default

    def read(self, value: object, path: KeyPath) -> object:
        """Return the parsed value. Raises InvalidKey after noting the errors."""
        if value is MISSING_VARIABLE:
            raise InvalidKey
        if isinstance(value, EnvironmentText):
            value = self._from_environment(value, path)
        found = self.kind.read(value, path, secret=self.secret)
        return Secret(found) if self.secret and isinstance(found, str) else found

    def _from_environment(self, text: EnvironmentText, path: KeyPath) -> object:
        """Return `text` if the key takes text; else the TOML value that `text` spells, if the key takes that."""
        for candidate in (text, _parse_toml(text)):
            try:
                self.kind.read(candidate, replace(path, notes=[]), secret=True)
            except InvalidKey:
                continue
            return candidate
        return text


def key(
    kind: Kind[Any],
    default: object,
    about: str,
    *,
    secret: bool = False,
    variable: str | None = None,
    only: Channel | None = None,
    otherwise: object = None,
    formerly: str | None = None,
) -> Any:
    """Declare a key as a dataclass field; the parameters are those of `Key`."""
    metadata = {
        "kind": kind,
        "default": default,
        "about": about,
        "variable": variable,
        "only": only,
        "formerly": formerly,
        "otherwise": otherwise,
        "secret": secret,
    }
    return field(repr=not secret, metadata=metadata)


def keys_of(table: type[Any], channel: Channel | None = None) -> list[Key]:
    """Return the keys declared in `table`, in order; with `channel` only those that it has."""
    declared = [_declared(each) for each in fields(table) if each.metadata]
    return [each for each in declared if channel is None or each.only in (None, channel)]


def read_table(table: type[T], raw: dict[str, Any], path: KeyPath) -> T:
    """Return `raw` as an instance of `table`. Raises InvalidKey after noting every error in it."""
    known = {each.name: each for each in keys_of(table, path.channel)}
    former = {each.formerly for each in known.values()}
    is_invalid = False
    for name in [name for name in raw if name not in known and name not in former]:
        path.at(name).note("an unknown key", _one_of(name, list(known)))
        is_invalid = True
    values: dict[str, object] = {}
    for each in known.values():
        try:
            values[each.field] = _read_key(each, raw, path)
        except InvalidKey:
            is_invalid = True
    if is_invalid:
        raise InvalidKey
    absent = {each.field: each.otherwise for each in keys_of(table) if each.name not in known}
    return table(**values, **absent)


def _declared(each: Field[Any]) -> Key:
    return Key(field=each.name, name=_UNIT.sub("", each.name), **each.metadata)


def _read_key(each: Key, raw: dict[str, Any], path: KeyPath) -> object:
    here = path.at(each.name)
    if each.formerly in raw:
        return _read_former_name(each, each.formerly, raw, path)
    if each.name in raw:
        return each.read(raw[each.name], here)
    default = each.default_on(path.channel)
    if default is REQUIRED:
        here.note("nothing", each.kind.allowed)
        raise InvalidKey
    return None if default is ABSENT else each.read(default, here)


def _read_former_name(each: Key, formerly: str, raw: dict[str, Any], path: KeyPath) -> object:
    """Return the value of a key written under its former name. Raises InvalidKey if both names are there."""
    if each.name in raw:
        path.at(each.name).note(f"both `{each.name}` and its former name `{formerly}`", f"`{each.name}` alone")
        raise InvalidKey
    path.renamed.append((path.at(formerly).path, each.name))
    return each.read(raw[formerly], path.at(formerly))


def _one_of(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return ", ".join(known) + (f' (did you mean "{close[0]}"?)' if close else "")


def _parse_toml(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
