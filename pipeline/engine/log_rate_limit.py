"""Limits the log lines of Kafka libraries: while a broker is down, aiokafka would write thousands."""

from __future__ import annotations

import logging
import time

from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
)

STARTUP_S = 60.0
COORDINATOR_MESSAGES = ("Group Coordinator Request failed: %s", "FindCoordinator Request failed: %s")
COORDINATOR_STARTING = (GroupCoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorForGroupError)
LINES = 5
PER_S = 30.0


class LogRateLimit(logging.Filter):
    """Passes the first LINES lines of each message per PER_S seconds; the next line says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line."""
        key = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        since, count = self._seen.get(key, (now, 0))
        if now - since > PER_S:
            if count > LINES:
                record.msg = f"{record.msg} [{count - LINES} more like it dropped]"
            since, count = now, 0
        self._seen[key] = (since, count + 1)
        return count < LINES


class StartupErrors(logging.Filter):
    """Lowers aiokafka's errors to INFO while a new cluster still creates its internal topics: aiokafka retries."""

    def __init__(self) -> None:
        super().__init__()
        self._until = time.monotonic() + STARTUP_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line; after STARTUP_S seconds, errors stay errors."""
        if record.levelno <= logging.INFO or time.monotonic() > self._until or not _is_expected(record):
            return True
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return record.levelno >= logging.getLogger().getEffectiveLevel()  # the logger has checked the level of an error


def _is_expected(record: logging.LogRecord) -> bool:
    if record.msg in (
        "Topic %s not found in cluster metadata",
        "Topic %s is not available during auto-create initialization",
    ):
        return True
    found = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return record.msg in COORDINATOR_MESSAGES and isinstance(found, COORDINATOR_STARTING)


class OneLineTraceback(logging.Filter):
    """Shortens tracebacks of libraries to one line; the worker itself logs the error that ends it, with its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record, and return True."""
        if record.exc_info and record.name.partition(".")[0] in ("faust", "mode", "aiokafka"):
            error = record.exc_info[1]
            if error is not None:
                record.msg, record.args = (
                    f"{record.getMessage()}: {type(error).__name__}: {error}".replace("\n", " "),
                    (),
                )
            record.exc_info = record.exc_text = None
        return True


def limit_library_logs() -> None:
    """Add the filters to the loggers of aiokafka and of faust's driver; above level DEBUG, libraries write no tracebacks."""
    root = logging.getLogger()
    if root.getEffectiveLevel() > logging.DEBUG:
        for handler in root.handlers:
            handler.addFilter(OneLineTraceback())
    expected, limit = StartupErrors(), LogRateLimit()
    for name in ("aiokafka", "faust.transport.drivers.aiokafka"):
        for logger in [logging.getLogger(name), *_children(name)]:
            logger.addFilter(expected)
            logger.addFilter(limit)


def _children(name: str) -> list[logging.Logger]:
    import aiokafka  # noqa: F401, PLC0415 - its loggers must exist before they can be limited

    known = logging.Logger.manager.loggerDict
    return [each for key, each in known.items() if key.startswith(f"{name}.") and isinstance(each, logging.Logger)]
