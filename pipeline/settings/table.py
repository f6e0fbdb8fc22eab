"""A table of keys, declared as a dataclass, and how it is read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Final, Generic, Protocol, TypeVar

from pipeline.domain.work import Channel
from pipeline.secret import Secret
from pipeline.settings.place import MISSING_VARIABLE, FromEnvironment, Inline, Place, Spoilt, Wrong, shown

T = TypeVar("T")
StepT = TypeVar("StepT")
T_co = TypeVar("T_co", covariant=True)

REQUIRED: Final = object()
"""The key has no default."""
ABSENT: Final = object()
"""The key may be left out, and is None then."""
_UNIT = re.compile(r"(_ms|_s|_)$")
"""What a field's name has and its key has not: the unit, or the underscore of a reserved word."""


@dataclass(frozen=True, slots=True)
class ByChannel:
    """A default that differs between channels, as it would stand in TOML."""

    whatsapp: object
    email: object
    sms: object


class Kind(Protocol[T_co]):
    """What a key's value may be."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""

    def read(self, value: object, place: Place, *, secret: bool) -> T_co:
        """Return the value; raise Spoilt after noting what is wrong."""


@dataclass(frozen=True, slots=True)
class Scalar(Generic[T]):
    """A value without keys of its own; `parse` raises Wrong."""

    allowed: str
    parse: Callable[[object], T]

    def read(self, value: object, place: Place, *, secret: bool) -> T:
        """Return the value; raise Spoilt after noting what is wrong."""
        try:
            return self.parse(value)
        except Wrong as wrong:
            more = f" ({wrong})" if str(wrong) else ""
            raise place.refuse(value, self.allowed + more, secret=secret) from None


@dataclass(frozen=True, slots=True)
class Nested(Generic[T]):
    """A table of keys, made into a value by `build`, which may raise Wrong; or `word`, which means None."""

    table: type[Any]
    build: Callable[[Any, Channel | None], T]
    word: str | None = None
    channel: Channel | None = None
    """Whose keys and defaults hold inside."""
    short: str | None = None
    """The key that a bare text stands for."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        shape = "{ " + ", ".join(f"{declared.name} = …" for declared in keys_of(self.table)) + " }"
        shape = f"text, {shape}" if self.short else shape
        return f'{shape} or "{self.word}"' if self.word else shape

    def read(self, value: object, place: Place, *, secret: bool) -> T | None:
        """Return the value; raise Spoilt after noting what is wrong."""
        if self.word is not None and value == self.word:
            return None
        if self.short is not None and isinstance(value, str):
            value = {self.short: value}
        if not isinstance(value, dict):
            raise place.refuse(value, self.allowed, secret=secret)
        keys = read_table(self.table, value, place if self.channel is None else replace(place, channel=self.channel))
        try:
            return self.build(keys, place.channel)
        except Wrong as wrong:
            raise place.refuse(Inline(value), str(wrong)) from None


@dataclass(frozen=True, slots=True)
class OneOrSteps(Generic[T, StepT]):
    """What `one` allows; or an array of steps, made into a value by `build`, which may raise Wrong."""

    one: Nested[T]
    step: Nested[StepT]
    build: Callable[[tuple[StepT, ...]], T]

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"{self.one.allowed}, or an array of {self.step.allowed}"

    def read(self, value: object, place: Place, *, secret: bool) -> T | None:
        """Return the value; raise Spoilt after noting what is wrong in it, or in any of its steps."""
        if not isinstance(value, list):
            if value == self.one.word or isinstance(value, dict):
                return self.one.read(value, place, secret=secret)
            raise place.refuse(value, self.allowed, secret=secret)
        steps = _each(value, place, lambda item, here: self.step.read(item, here, secret=secret))
        try:
            return self.build(tuple(step for step in steps if step is not None))
        except Wrong as wrong:
            raise place.refuse(value, str(wrong)) from None


@dataclass(frozen=True, slots=True)
class ByName(Generic[T]):
    """A table whose keys are names of the user's, each with a value of `kind`."""

    kind: Kind[T]

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"{{ NAME = {self.kind.allowed} }}"

    def read(self, value: object, place: Place, *, secret: bool) -> dict[str, T]:
        """Return the values by name; raise Spoilt after noting what is wrong in one of them."""
        if not isinstance(value, dict):
            raise place.refuse(value, self.allowed, secret=secret)
        return {name: self.kind.read(each, place.at(name), secret=secret) for name, each in value.items()}


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """An array of tables."""

    table: type[T]
    allowed: str = "an array of tables, [[…]]"

    def read(self, value: object, place: Place, *, secret: bool) -> tuple[T, ...]:
        """Return the tables; raise Spoilt after noting what is wrong in any of them."""
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise place.refuse(value, self.allowed, secret=secret)
        return _each(value, place, lambda item, here: read_table(self.table, item, here))


def _each(items: list[Any], place: Place, read: Callable[[Any, Place], T]) -> tuple[T, ...]:
    """Return what `read` makes of each item; raise Spoilt when any of them is wrong, after reading them all."""
    found: list[T] = []
    for index, item in enumerate(items):
        with suppress(Spoilt):
            found.append(read(item, place.item(index)))
    if len(found) < len(items):
        raise Spoilt
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Key:
    """One declared key."""

    field: str
    name: str
    kind: Kind[object]
    default: object
    about: str
    secret: bool
    variable: str | None
    only: Channel | None

    def default_on(self, channel: Channel | None) -> object:
        """Return the default as it would stand in TOML."""
        if isinstance(self.default, ByChannel) and channel is not None:
            return getattr(self.default, channel.value)
        return self.default

    def read(self, value: object, place: Place) -> object:
        """Return the value of this key; raise Spoilt after noting what is wrong."""
        if value is MISSING_VARIABLE:
            raise Spoilt
        if isinstance(value, FromEnvironment):
            value = self._plainest(value, place)
        found = self.kind.read(value, place, secret=self.secret)
        return Secret(found) if self.secret and isinstance(found, str) else found

    def _plainest(self, text: FromEnvironment, place: Place) -> object:
        """Return `text` itself where text is wanted, else what it would be in a TOML file, if that is right."""
        for candidate in (text, _as_toml(text)):
            try:
                self.kind.read(candidate, replace(place, notes=[]), secret=True)
            except Spoilt:
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
) -> Any:
    """Declare a key: its default as it would stand in TOML, and the environment variable that counts without a file."""
    metadata = {"kind": kind, "default": default, "about": about, "variable": variable, "only": only, "secret": secret}
    return field(repr=not secret, metadata=metadata)


def keys_of(table: type[Any], channel: Channel | None = None) -> list[Key]:
    """Return the keys declared in `table`, in order; with `channel` only those that it has."""
    declared = [_declared(each) for each in fields(table) if each.metadata]
    return [each for each in declared if channel is None or each.only in (None, channel)]


def read_table(table: type[T], raw: dict[str, Any], place: Place) -> T:
    """Return `raw` as an instance of `table`; raise Spoilt after noting all that is wrong in it."""
    known = {each.name: each for each in keys_of(table, place.channel)}
    spoilt = False
    for name in [name for name in raw if name not in known]:
        place.at(name).note("an unknown key", _one_of(name, list(known)))
        spoilt = True
    values: dict[str, object] = {}
    for each in known.values():
        try:
            values[each.field] = _read_key(each, raw, place)
        except Spoilt:
            spoilt = True
    if spoilt:
        raise Spoilt
    absent = {each.field: None for each in keys_of(table) if each.name not in known}
    return table(**values, **absent)


def fill_in(raw: object, environ: Mapping[str, str], place: Place) -> object:
    """Return `raw` with each `{ env = "NAME" }` replaced by that variable's value; note those that are not set."""
    if isinstance(raw, list):
        return [fill_in(item, environ, place.item(i)) for i, item in enumerate(raw)]
    if not isinstance(raw, dict):
        return raw
    if raw.keys() == {"env"} and isinstance(raw["env"], str):
        variable = raw["env"]
        if text := environ.get(variable):
            return FromEnvironment.read(variable, text)
        place.note(f"no environment variable {shown(variable)}", "the name of one that is set, and not empty")
        return MISSING_VARIABLE
    return {name: fill_in(value, environ, place.at(name)) for name, value in raw.items()}


def _declared(each: Field[Any]) -> Key:
    return Key(field=each.name, name=_UNIT.sub("", each.name), **each.metadata)


def _read_key(each: Key, raw: dict[str, Any], place: Place) -> object:
    here = place.at(each.name)
    if each.name in raw:
        return each.read(raw[each.name], here)
    default = each.default_on(place.channel)
    if default is REQUIRED:
        here.note("nothing", each.kind.allowed)
        raise Spoilt
    return None if default is ABSENT else each.read(default, here)


def _one_of(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return ", ".join(known) + (f' (did you mean "{close[0]}"?)' if close else "")


def _as_toml(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
