"""The Avro schemas, today's and every published one, each known by its fingerprint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from avro import schema as avro_schema
from fastavro import parse_schema
from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form


@dataclass(frozen=True, slots=True)
class Known:
    """One version of one schema."""

    name: str
    """`touch`, `status`, `work` …"""
    text: str
    parsed: Any
    """Parsed for fastavro."""
    fingerprint: bytes
    """CRC-64-AVRO of the parsing canonical form, little-endian."""


def folder() -> Path:
    """Return the folder of the schemas: in the checkout, or packed into the wheel."""
    packed = Path(__file__).parents[1] / "_data" / "schemas"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "schemas"


@cache
def current(name: str) -> Known:
    """Return today's schema called `name`; of one that is written no more, the last."""
    path = folder() / f"{name}.avsc"
    return _read(path, name) if path.exists() else list(published(name).values())[-1]


@cache
def published(name: str) -> dict[bytes, Known]:
    """Return every version of schema `name` ever published, by fingerprint."""
    versions = [_read(path, name) for path in sorted((folder() / "history").glob(f"{name}.*.avsc"))]
    return {known.fingerprint: known for known in versions}


def name_of(fingerprint: bytes) -> str | None:
    """Return the name of the schema that has a version with this fingerprint, or None."""
    return _published().get(fingerprint)


@cache
def _published() -> dict[bytes, str]:
    names = {path.name.partition(".")[0] for path in (folder() / "history").glob("*.avsc")}
    return {fingerprint: name for name in names for fingerprint in published(name)}


def parse(text: str) -> Any:
    """Return a foreign schema, parsed for fastavro. Raises if it is not valid Avro."""
    avro_schema.parse(text)
    return parse_schema(json.loads(text))


def fingerprint(text: str) -> bytes:
    """Return the CRC-64-AVRO of a schema's parsing canonical form, 8 bytes, little-endian (Avro specification)."""
    return bytes.fromhex(fastavro_fingerprint(to_parsing_canonical_form(json.loads(text)), "CRC-64-AVRO"))


def _read(path: Path, name: str) -> Known:
    text = path.read_text(encoding="utf-8")
    return Known(name, text, parse(text), fingerprint(text))
