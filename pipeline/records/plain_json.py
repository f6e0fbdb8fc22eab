"""Reads touches in JSON: checks bounds first, and keeps the text of numbers in maps."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any, Never

import orjson

from pipeline.domain.nesting import is_deeper_than
from pipeline.domain.rules import MOST_ENTRIES
from pipeline.records.undecodable import Undecodable

BOM = b"\xef\xbb\xbf"
DEEPEST = 20
"""Most levels of nesting. A touch has two."""
MOST_CONTAINERS = 20_000
"""Most lists and objects in a value. A touch has a few; each costs more to create than its two bytes cost to send."""
MAPS = ("variables", "metadata", "headers")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
INFINITY = "infinity"
"""orjson's error for a number that no float can hold."""


def read_json(value: bytes) -> dict[str, Any]:
    """Return the object; numbers in `variables`, `metadata` and `headers` have their own text. Raises Undecodable."""
    text = value.removeprefix(BOM)
    _bound(text)
    try:
        datum = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if INFINITY not in str(error):
            raise Undecodable(f"neither Avro nor JSON: {error}") from None
        datum = _exactly(text)
    if not isinstance(datum, dict):
        raise Undecodable("the JSON is not an object" + (_twice(datum) if isinstance(datum, str) else ""))
    if is_deeper_than(DEEPEST, datum, text):
        raise Undecodable(f"the JSON is nested deeper than {DEEPEST} levels")
    return _with_numbers_as_written(datum, text)


def _bound(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") <= MOST_CONTAINERS:
        return
    bare = _STRING.sub(b"", text)
    if bare.count(b"[") + bare.count(b"{") > MOST_CONTAINERS:
        raise Undecodable(f"the JSON has more than {MOST_CONTAINERS} lists and objects")


def _with_numbers_as_written(datum: dict[str, Any], text: bytes) -> dict[str, Any]:
    """Return `datum` with the text of each number in its maps: 1.10 is not 1.1, and a long id not 1.2e+23."""
    maps = [found for name in MAPS if isinstance(found := datum.get(name), dict) and len(found) <= MOST_ENTRIES]
    if not any(
        type(each) is float or (type(each) is int and not each and b"-0" in text)
        for each in chain(*(m.values() for m in maps))
    ):
        return datum
    exact = _exactly(text)
    return {**datum, **{name: exact[name] for name in MAPS if isinstance(datum.get(name), dict)}}


def _exactly(text: bytes) -> Any:
    """Return what orjson reads, with each number as its text; ten times slower."""
    try:
        datum = json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        if b"\\u" in text:
            json.dumps(datum, ensure_ascii=False).encode()  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"neither Avro nor JSON: {error}") from None
    return datum


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _twice(text: str) -> str:
    return ", but a string that holds one: it was encoded twice" if text.lstrip().startswith("{") else ""
