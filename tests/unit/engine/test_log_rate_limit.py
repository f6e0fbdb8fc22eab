"""The log of the client library: what is expected while a cluster is young is no error, what is not stays one."""

from __future__ import annotations

import logging

import pytest
from aiokafka import errors

from pipeline.engine import log_rate_limit

LOOKED_UP = "Group Coordinator Request failed: %s"


@pytest.fixture
def logger(caplog):
    found = logging.getLogger("aiokafka.a-test")
    expected = log_rate_limit.StartupErrors()
    found.addFilter(expected)
    caplog.set_level(logging.INFO)
    yield found
    found.removeFilter(expected)


@pytest.mark.parametrize(
    ("message", "argument", "level"),
    [
        (LOOKED_UP, errors.GroupCoordinatorNotAvailableError(), logging.INFO),
        (LOOKED_UP, errors.NotCoordinatorForGroupError(), logging.INFO),
        ("FindCoordinator Request failed: %s", errors.GroupCoordinatorNotAvailableError(), logging.INFO),
        ("Topic %s not found in cluster metadata", "touches", logging.INFO),
        (LOOKED_UP, errors.GroupAuthorizationFailedError("g"), logging.ERROR),
        (LOOKED_UP, errors.KafkaConnectionError("away"), logging.ERROR),
        ("Unable connect to node with id %s", 1, logging.ERROR),
        ("Topic %s is not authorized for this client", "touches", logging.ERROR),
    ],
)
def test_an_expected_state_is_no_error_and_everything_else_stays_one(logger, caplog, message, argument, level):
    logger.error(message, argument)
    assert [record.levelno for record in caplog.records] == [level]


def test_after_a_minute_an_error_is_an_error(logger, caplog, monkeypatch):
    monkeypatch.setattr(log_rate_limit.time, "monotonic", lambda: 10.0**12)
    logger.error(LOOKED_UP, errors.GroupCoordinatorNotAvailableError())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_what_is_lowered_is_not_written_where_info_is_not(logger, caplog):
    caplog.set_level(logging.WARNING)
    logger.setLevel(logging.INFO)
    logger.error(LOOKED_UP, errors.GroupCoordinatorNotAvailableError())
    assert caplog.records == []


def test_a_librarys_traceback_becomes_one_line():
    error = ValueError("one\ntwo")
    record = logging.LogRecord(
        "mode.x", logging.ERROR, "", 0, "Crashed reason=%r", (error,), (ValueError, error, error.__traceback__)
    )
    assert log_rate_limit.OneLineTraceback().filter(record)
    assert record.exc_info is None
    assert record.getMessage() == "Crashed reason=ValueError('one\\ntwo'): ValueError: one two"
