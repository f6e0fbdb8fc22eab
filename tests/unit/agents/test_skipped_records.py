"""Records of orders and suppressions that cannot be read: counted each, and told in one short line a minute."""

from __future__ import annotations

import pytest

from pipeline.agents.control import Orders, SkippedRecords
from pipeline.records.published import LONGEST_WHY
from pipeline.records.single_object import encode
from pipeline.stage_io import Record


@pytest.mark.parametrize(
    "target",
    ["x" * 1_000_000, "campaign=a;" * 50_000, "two\nlines\r\n[CRITICAL] worker ends", "\x1b[2J", "campaign=%FF"],
)
def test_an_order_that_is_none_is_one_short_line_whatever_is_in_it(target, caplog):
    counted: list[str] = []
    orders = Orders(SkippedRecords(counted.append, lambda: 10**12), lambda: 10**12, 0)
    datum = {"action": "pause", "target": target, "note": "n", "by": "b", "at": 10**12, "until": None}
    record = Record("touches.control", 0, 7, 10**12, b"pause:x", encode("order", datum))
    for offset in range(5):
        orders.apply([record._replace(offset=offset)], offset + 1)
    assert counted == ["touches.control"] * 5
    [line] = caplog.messages
    assert "the record at offset 0 is skipped: no order: " in line
    assert len(line) < LONGEST_WHY + 150
    assert line.isprintable()
