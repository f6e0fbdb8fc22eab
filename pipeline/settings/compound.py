"""The kinds of values that hold keys or items of their own: tables, arrays of tables, tables by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pipeline.domain.work import Channel
from pipeline.settings.key_path import InlineTable, InvalidKey, InvalidValue, KeyPath
from pipeline.settings.schema import Kind, keys_of, read_table

T = TypeVar("T")
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Nested(Generic[T]):
    """A table of keys, made into a value by `build`, which may raise InvalidValue; or `word`, which means None."""

    table: type[Any]
    build: Callable[[Any, Channel | None], T]
    word: str | None = None
    channel: Channel | None = None
    """The channel whose keys and defaults apply inside."""
    short: str | None = None
    """The key that a bare text is the value of."""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        shape = "{ " + ", ".join(f"{declared.name} = …" for declared in keys_of(self.table)) + " }"
        shape = f"text, {shape}" if self.short else shape
        return f'{shape} or "{self.word}"' if self.word else shape

    def read(self, value: object, path: KeyPath, *, secret: bool) -> T | None:
        """Return the built value. Raises InvalidKey after noting every error in the table."""
        if self.word is not None and value == self.word:
            return None
        if self.short is not None and isinstance(value, str):
            value = {self.short: value}
        if not isinstance(value, dict):
            raise path.refuse(value, self.allowed, secret=secret)
        keys = read_table(self.table, value, path if self.channel is None else replace(path, channel=self.channel))
        try:
            return self.build(keys, path.channel)
        except InvalidValue as invalid:
            raise path.refuse(InlineTable(value), str(invalid)) from None


@dataclass(frozen=True, slots=True)
class OneOrArray(Generic[T, ItemT]):
    """What `one` allows; or an array of `item`, made into a value by `build`, which may raise InvalidValue."""

    one: Nested[T]
    item: Nested[ItemT]
    build: Callable[[tuple[ItemT, ...]], T]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return f"{self.one.allowed}, or an array of {self.item.allowed}"

    def read(self, value: object, path: KeyPath, *, secret: bool) -> T | None:
        """Return the built value. Raises InvalidKey after noting every error in any item."""
        if not isinstance(value, list):
            if value == self.one.word or isinstance(value, dict):
                return self.one.read(value, path, secret=secret)
            raise path.refuse(value, self.allowed, secret=secret)
        items = _read_items(value, path, lambda item, here: self.item.read(item, here, secret=secret))
        try:
            return self.build(tuple(item for item in items if item is not None))
        except InvalidValue as invalid:
            raise path.refuse(value, str(invalid)) from None


@dataclass(frozen=True, slots=True)
class ByName(Generic[T]):
    """A table whose keys are free names, each with a value of `kind`."""

    kind: Kind[T]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return f"{{ NAME = {self.kind.allowed} }}"

    def read(self, value: object, path: KeyPath, *, secret: bool) -> dict[str, T]:
        """Return the values by name. Raises InvalidKey after noting the errors of the first invalid one."""
        if not isinstance(value, dict):
            raise path.refuse(value, self.allowed, secret=secret)
        return {name: self.kind.read(each, path.at(name), secret=secret) for name, each in value.items()}


@dataclass(frozen=True, slots=True)
class ArrayOf(Generic[T]):
    """An array of tables."""

    table: type[T]
    allowed: str = "an array of tables, [[…]]"

    def read(self, value: object, path: KeyPath, *, secret: bool) -> tuple[T, ...]:
        """Return the tables. Raises InvalidKey after noting every error in any of them."""
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise path.refuse(value, self.allowed, secret=secret)
        return _read_items(value, path, lambda item, here: read_table(self.table, item, here))


def _read_items(items: list[Any], path: KeyPath, read: Callable[[Any, KeyPath], T]) -> tuple[T, ...]:
    """Return what `read` makes of each item. Raises InvalidKey when any is invalid, after reading them all."""
    found: list[T] = []
    for index, item in enumerate(items):
        with suppress(InvalidKey):
            found.append(read(item, path.item(index)))
    if len(found) < len(items):
        raise InvalidKey
    return tuple(found)
