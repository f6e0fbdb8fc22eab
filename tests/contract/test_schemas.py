"""What others build on: every published schema is read for ever, and a change is a new version."""

from __future__ import annotations

import json
from io import BytesIO

import avro.io
import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from fastavro import schemaless_writer

from pipeline.domain.story import Event, State
from pipeline.records import schemas
from pipeline.records.single_object import decode
from pipeline.records.writing import single_object, status_value

NAMES = ["touch", "status", "dead_letter", "unconfirmed", "order", "suppression", "delivery", "audit"]
SAMPLES = {"string": "x", "long": 1_700_000_000_000, "int": 5, "boolean": True, "bytes": b"b"}


def sample(schema):
    """A datum of a schema with every field filled."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, list):
        return sample(kind[-1])
    if isinstance(kind, dict):
        return sample(kind)
    if kind == "record":
        return {field["name"]: sample(field["type"]) for field in schema["fields"]}
    if kind == "array":
        return [sample(schema["items"])]
    if kind == "map":
        return {"k": sample(schema["values"])}
    return SAMPLES[kind]


@pytest.mark.parametrize("name", NAMES)
def test_todays_schema_is_the_newest_one_published(name):
    newest = max((schemas.folder() / "history").glob(f"{name}.*.avsc"), key=lambda p: int(p.suffixes[-2][1:]))
    assert json.loads(newest.read_text()) == json.loads((schemas.folder() / f"{name}.avsc").read_text()), (
        f"schemas/{name}.avsc has changed: publish it as a new version in schemas/history/"
    )


@pytest.mark.parametrize("path", sorted((schemas.folder() / "history").glob("*.avsc")), ids=lambda p: p.name)
def test_every_published_version_can_be_read_by_todays(path):
    name = path.name.split(".")[0]
    writer, reader = avro.schema.parse(path.read_text()), avro.schema.parse(schemas.current(name).text)
    assert (
        ReaderWriterCompatibilityChecker().get_compatibility(reader, writer).compatibility
        is SchemaCompatibilityType.compatible
    )
    out = BytesIO()
    schemaless_writer(out, schemas.parse(path.read_text()), sample(json.loads(path.read_text())))
    value = b"\xc3\x01" + schemas.fingerprint(path.read_text()) + out.getvalue()
    assert decode(name, value)


@pytest.mark.parametrize(
    "name", ["touch", "status", "dead_letter", "unconfirmed", "order", "suppression", "delivery", "audit"]
)
def test_the_public_names_are_in_their_namespace_and_every_field_is_explained(name):
    schema = json.loads(schemas.current(name).text)
    assert schema["namespace"] == "pipeline.v1"
    assert all(field.get("doc") for field in schema["fields"])


def test_fingerprints_are_those_of_the_avro_library():
    for name in NAMES:
        text = schemas.current(name).text
        assert schemas.fingerprint(text) == avro.schema.parse(text).fingerprint("CRC-64-AVRO")


def test_another_avro_reads_what_we_write():
    value = status_value(
        single_object, Event("t", "c", "l", "sms", State.SENT, 1_700_000_000_123, provider_message_id="SM1"), 4
    )
    schema = avro.schema.parse(schemas.current("status").text)
    datum = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(BytesIO(value[10:])))
    assert (datum["touch_id"], datum["sequence"], datum["provider_message_id"]) == ("t", 4, "SM1")
