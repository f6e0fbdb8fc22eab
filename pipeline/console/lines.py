"""A file as lines: NDJSON or CSV, in UTF-8 or UTF-16, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.kafka.delivery import LARGEST_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from typing import BinaryIO

    Stream = BinaryIO | FileIO

LONGEST_LINE = 4 * LARGEST_VALUE
"""Bytes kept of one line: what is longer is cut, and then too large as a value."""
CHUNK = 1024 * 1024
BOM = b"\xef\xbb\xbf"


class Form(StrEnum):
    """How a file is written."""

    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Broken:
    """One line that cannot be used."""

    line: int
    why: str


class UnreadableInput(Exception):
    """The file as a whole cannot be read; the message says why."""


def lines_of(stream: Stream, before_read: Callable[[], None]) -> Iterator[bytes]:
    """Yield lines with their ends, without the BOM; of one longer than LONGEST_LINE the rest is left out."""
    read = getattr(stream, "read1", stream.read)  # read1: what is there, so that a pipe's touches go at once
    rest, is_first = b"", True
    for chunk in _chunks(read, before_read):
        *whole, rest_of_chunk = chunk.split(b"\n")
        for line in whole:
            full, rest = rest + line, b""
            yield (full.removeprefix(BOM) if is_first else full)[:LONGEST_LINE] + b"\n"
            is_first = False
        rest = (rest + rest_of_chunk)[: LONGEST_LINE + 1]
    if rest:
        yield rest.removeprefix(BOM) if is_first else rest


def _chunks(read: Callable[[int], bytes], before_read: Callable[[], None]) -> Iterator[bytes]:
    """Yield what is read, as UTF-8."""
    start = _read(read, before_read)
    if len(start) == 1:  # half of a mark, perhaps
        start += _read(read, before_read)
    as_utf8, chunk = _decoder(start), start
    while chunk:
        yield as_utf8(chunk)
        chunk = _read(read, before_read)


def _decoder(start: bytes) -> Callable[[bytes], bytes]:
    """Return what makes UTF-8 of the file's bytes: "Unicode text" of a spreadsheet is UTF-16, told by its mark."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if start.startswith(mark):
            decoder = codecs.getincrementaldecoder(name)(errors="replace")
            return lambda chunk: decoder.decode(chunk).encode()
    return lambda chunk: chunk


def _read(read: Callable[[int], bytes], before_read: Callable[[], None]) -> bytes:
    before_read()
    return read(CHUNK)


class CsvHead:
    """What stands before the rows: blank lines, Excel's `sep=;`, the header, by which the delimiter is known."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        csv.field_size_limit(LONGEST_LINE)
        self.number, delimiter = 0, ""
        while True:
            self.number += 1
            line = next(lines, None)
            self.header = text_of(line or b"")
            if (told := _SEPARATOR.fullmatch(self.header)) is not None:
                delimiter = told[1]
            elif line is None or self.header.strip():
                break
        self.delimiter = delimiter or max(",;\t|", key=self.header.count)

    def rows(self, lines: Iterator[bytes]) -> Iterator[tuple[int, list[str] | Broken]]:
        """Yield the number of each row behind the header that is not blank, and its cells."""
        reader = csv.reader(map(text_of, lines), delimiter=self.delimiter, strict=True)
        while True:
            number = reader.line_num + self.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, Broken(number, f"no CSV: {error}")
                continue
            if any(cell.strip() for cell in cells):
                yield number, cells


_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)


def text_of(line: bytes) -> str:
    """Return a line as text."""
    return line.decode("utf-8", "surrogateescape")  # found again, and named, when the row is written as JSON
