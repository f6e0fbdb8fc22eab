"""The log as objects: one a line, with nothing in it that text would not have."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from mode.utils.logging import setup_logging

from pipeline import log_lines, masking
from pipeline.log_lines import LINE_MS, JsonLines, LogFormat, SpacedLines, logging_config
from pipeline.masking import MaskedRecord
from pipeline.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHONE, MAIL, KEY, TEXT = "+12125550123", "planted.person@example.com", "Bearer planted-key-0001", "Zebra crossings wait"


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger whose lines are objects, made as a worker makes it, and what it writes."""
    before, root = logging.getLogRecordFactory(), logging.getLogger()
    kept = root.handlers[:], root.level
    logging.setLogRecordFactory(MaskedRecord)
    out = io.StringIO()
    setup_logging(loglevel="DEBUG", logfile=out, logging_config=logging_config(LogFormat.JSON))
    root.handlers[0].stream = out
    yield logging.getLogger("planted"), out
    logging.setLogRecordFactory(before)
    root.handlers[:], root.level = kept


def lines(out: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_an_object_with_time_level_logger_and_message(written):
    log, out = written
    log.warning('%d wait\nin two lines, and a "quote"', 3)
    [line] = lines(out)
    assert list(line) == ["time", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == (
        "WARNING",
        "planted",
        '3 wait\nin two lines, and a "quote"',
    )
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-27T12:00:00.000Z")


def test_nothing_planted_is_in_message_or_exception(written):
    log, out = written
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        log.log(level, "to %s and %s with %s and %r", PHONE, MAIL, KEY, TEXT.encode())
    log.debug("a value: %r", {"body": TEXT})
    try:
        raise ValueError(f"{PHONE} is no number of {MAIL}, {TEXT.encode()!r}")  # noqa: TRY301
    except ValueError:
        log.exception("it broke")
    assert len(lines(out)) == 5
    assert "ValueError" in lines(out)[-1]["exception"]
    assert "***" in lines(out)[-1]["exception"]
    for planted in (PHONE, PHONE[1:], MAIL, KEY.split()[1], TEXT):
        assert planted not in out.getvalue()


def test_arguments_that_do_not_fit_and_a_lone_surrogate_are_still_an_object(written):
    log, out = written
    log.info("%d of %d", "one")  # noqa: PLE1206 - so it is
    log.info("half a \ud800 pair")
    assert [line["level"] for line in lines(out)] == ["INFO", "INFO"]
    assert lines(out)[1]["message"] == "half a ? pair"


def test_text_leaves_the_lines_as_they_are():
    assert logging_config(LogFormat.TEXT) is None
    hook = sys.excepthook
    log_lines.use(LogFormat.TEXT)
    assert sys.excepthook is hook


def test_an_error_that_ends_the_process_is_an_object_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())
    log_lines.use(LogFormat.JSON)
    sys.excepthook(ValueError, ValueError(f"no {PHONE}"), None)
    assert isinstance(logging.lastResort.formatter, JsonLines)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("CRITICAL", f"ValueError: no {masking.MASK}")
    assert PHONE not in line["exception"]


def test_the_key_is_at_the_top_of_the_file(tmp_path: Path):
    file = tmp_path / "pipeline.toml"
    file.write_text('log_format = "json"\n')
    assert load({"PIPELINE_CONFIG": str(file)}, tmp_path).log_format is LogFormat.JSON
    file.write_text("")
    assert load({"PIPELINE_CONFIG": str(file)}, tmp_path).log_format is LogFormat.TEXT


def test_a_warning_comes_once_a_minute_about_each_subject(caplog: pytest.LogCaptureFixture):
    now_ms = 10**12
    lines = SpacedLines(logging.getLogger("pipeline.test"), lambda: now_ms)
    for after_ms in (0, 1, LINE_MS - 1, LINE_MS):
        now_ms = 10**12 + after_ms
        for subject in ("a", "b"):
            lines.warn(subject, "%s after %d", subject, after_ms)
    assert caplog.messages == ["a after 0", "b after 0", f"a after {LINE_MS}", f"b after {LINE_MS}"]
