"""Values that are also records: written and read by msgspec, ten to thirty times cheaper than dictionaries through Avro."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

__all__ = ["Value", "replace"]


class Value(Struct, frozen=True, array_like=True, gc=False):
    """An immutable value whose record is the list of its fields: a new field comes last and has a default.

    No value can be part of a cycle, so the garbage collector need not look at it.
    """

    hidden: ClassVar[frozenset[str]] = frozenset()
    """Fields that no repr shows: addresses and texts."""

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in self.hidden)
        return f"{type(self).__name__}({', '.join(shown)})"
