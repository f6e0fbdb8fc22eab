"""The form of a log line: text as faust writes it, or one JSON object a line for programs that collect logs; and how often one comes."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from pipeline.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LINE_MS: Final = 60_000
"""Least time between two lines of SpacedLines about one subject."""


class LogFormat(StrEnum):
    """How a process writes its log."""

    TEXT = "text"
    JSON = "json"


class SpacedLines:
    """Warnings that a flood of records may give reason for: one a minute about each subject."""

    def __init__(self, log: logging.Logger, now_ms: Callable[[], int]) -> None:
        self._log, self._now_ms = log, now_ms
        self._told_ms: dict[str, int] = {}

    def warn(self, subject: str, line: str, *args: object) -> None:
        """Log `line` (with `args`, as a logger takes them), unless there was one about `subject` within the last minute."""
        now_ms = self._now_ms()
        if now_ms >= self._told_ms.get(subject, 0) + LINE_MS:
            self._told_ms[subject] = now_ms
            self._log.warning(line, *args)


class JsonLines(logging.Formatter):
    """Writes a record as an object with `time` (ISO 8601, UTC), `level`, `logger`, `message`, and `exception` if there is one.

    Message and exception are masked as in text: by the record itself (`masking.MaskedRecord`).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = line_of(record.levelname, record.name, record.getMessage(), at_s=record.created)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = masked(record.stack_info)
        return as_text(line)


def line_of(level: str, logger: str, message: str, *, at_s: float) -> dict[str, Any]:
    """Return the members of a line; `at_s` is epoch seconds."""
    time = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": time, "level": level, "logger": logger, "message": message}


def as_text(line: dict[str, Any]) -> str:
    """Return a line as JSON, without the line break. A lone surrogate is written as `?`."""
    try:
        return orjson.dumps(line).decode()
    except TypeError:
        return orjson.dumps({name: text.encode(errors="replace").decode() for name, text in line.items()}).decode()


def logging_config(how: LogFormat) -> dict[str, Any] | None:
    """Return what mode's and faust's `logging_config` wants: None leaves lines as faust writes them."""
    if how is LogFormat.TEXT:
        return None
    formatter = {"()": JsonLines}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "merge": True,
        "formatters": {"default": formatter, "colored": formatter},
    }


def use(how: LogFormat) -> None:
    """Let lines that come before a handler is set up, and errors that end the process, have this form as well."""
    if how is LogFormat.TEXT:
        return
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(JsonLines())
    sys.excepthook = _write_error
    threading.excepthook = lambda ended: _write_error(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _write_error(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    told = "" if error is None else f": {error}"
    text = "".join(traceback.format_exception(kind, error, where))
    record = logging.makeLogRecord({"name": "pipeline", "levelname": "CRITICAL", "exc_text": masked(text)})
    record.msg = masked(f"{kind.__name__}{told}")
    sys.stderr.write(JsonLines().format(record) + "\n")
