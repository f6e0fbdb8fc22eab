"""Keeps the log readable while a broker is away: aiokafka alone would write thousands of lines."""

from __future__ import annotations

import logging
import time

from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
)

YOUNG_S = 60.0
COORDINATOR_LOOKED_UP = ("Group Coordinator Request failed: %s", "FindCoordinator Request failed: %s")
COORDINATOR_NOT_YET = (GroupCoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorForGroupError)
LINES = 5
PER_S = 30.0


class LogRateLimit(logging.Filter):
    """Lets through the first few lines of each message per half minute; says how many it kept back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line."""
        key = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        since, count = self._seen.get(key, (now, 0))
        if now - since > PER_S:
            if count > LINES:
                record.msg = f"{record.msg} [{count - LINES} more like it kept back]"
            since, count = now, 0
        self._seen[key] = (since, count + 1)
        return count < LINES


class StartupErrors(logging.Filter):
    """Lowers to INFO what aiokafka calls an error while a young cluster still makes its own topics: it tries again."""

    def __init__(self) -> None:
        super().__init__()
        self._until = time.monotonic() + YOUNG_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line; after a minute an error is an error."""
        if record.levelno <= logging.INFO or time.monotonic() > self._until or not _is_expected(record):
            return True
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return record.levelno >= logging.getLogger().getEffectiveLevel()  # the logger has let it through as an error


def _is_expected(record: logging.LogRecord) -> bool:
    if record.msg in (
        "Topic %s not found in cluster metadata",
        "Topic %s is not available during auto-create initialization",
    ):
        return True
    found = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return record.msg in COORDINATOR_LOOKED_UP and isinstance(found, COORDINATOR_NOT_YET)


class OneLineTraceback(logging.Filter):
    """CommitSlots the tracebacks of libraries into one line each: what ends a worker is told by the worker, with its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten one line."""
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
    """Limit the loggers of aiokafka and of faust's driver; below the level DEBUG no library writes tracebacks."""
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
