from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from pipeline.web.pages.columns import MOST_COLUMNS, Column, by_hour, gathered
from pipeline.web.pages.pictures import LifeMark, Opening, life, pace, shares, week
from pipeline.web.pages.svg import compact, rounded_up
from pipeline.web.pages.times import DAY_MS, HOUR_MS, MINUTE_MS

NOW = 1_795_749_127_000
FIRST = NOW // HOUR_MS * HOUR_MS
HOSTILE = "<script>\"'&"


def drawn(svg) -> ET.Element:
    """Return the picture, which must be well-formed, named, without style, and within its bounds."""
    root = ET.fromstring(str(svg))
    assert root.get("role") == "img"
    assert root.get("aria-label")
    for each in root.iter():
        assert "style" not in each.attrib
        assert not any(name.startswith("on") for name in each.attrib)
        assert "NaN" not in "".join(each.attrib.values())
        x, width = each.get("x", "0%"), each.get("width", "0%")
        if each.tag == "rect":
            assert float(x.rstrip("%")) >= -0.01
            assert float(x.rstrip("%")) + float(width.rstrip("%")) <= 100.01
            assert 0 <= float(each.get("height")) <= float(root.get("height"))
    return root


def words(root: ET.Element) -> list[str]:
    return [each.text for each in root.iter("text")]


def rects(root: ET.Element, look: str) -> list[ET.Element]:
    return [each for each in root.iter("rect") if each.get("class") == look]


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0"), (999, "999"), (1_000, "1k"), (12_345, "12.3k"), (1_000_000, "1M"), (2.5e9, "2.5G")]
)
def test_a_count_is_as_short_as_a_label(number, said):
    assert compact(number) == said


@pytest.mark.parametrize(
    ("number", "top"), [(0, 1), (1, 1), (3, 5), (5, 5), (6, 10), (11, 20), (999_999, 1_000_000), (1_000_001, 2_000_000)]
)
def test_a_scale_ends_at_a_round_number_that_is_not_below(number, top):
    assert rounded_up(number) == top


def test_nothing_is_drawn_of_nothing():
    assert not life([])
    assert not by_hour([], ["sent"])
    assert not shares({}, ["sent"])
    assert not shares({"sent": 0}, ["sent"])


def test_a_life_of_one_record_is_one_mark_with_its_word():
    root = drawn(life([LifeMark(NOW, "failed", "failed")]))
    assert len(list(root.iter("circle"))) == 1
    assert words(root) == ["failed"]


def test_a_life_keeps_the_order_of_time_and_says_how_long_each_stretch_was():
    marks = [
        LifeMark(NOW + 9 * HOUR_MS, "sent", "sent"),
        LifeMark(NOW, "accepted", "waiting"),
        LifeMark(NOW + 400, "deferred", "waiting"),
    ]
    root = drawn(life(marks))
    places = [float(each.get("cx").rstrip("%")) for each in root.iter("circle")]
    assert places == sorted(places)
    assert places[-1] == pytest.approx(94)
    assert [each.find("title").text.split(",")[0] for each in root.iter("circle")] == ["accepted", "deferred", "sent"]
    assert "8 h 59 min" in " ".join(words(root))


def test_a_life_that_goes_on_has_now_and_the_next_try_ahead():
    root = drawn(life([LifeMark(NOW, "accepted", "waiting")], now_ms=NOW + 60_000, next_ms=NOW + HOUR_MS))
    assert words(root)[-2:] == ["now", "next"]
    assert [each.get("class") for each in root.iter("line")] == ["ahead", "ahead"]


def test_a_next_try_that_is_over_is_not_ahead():
    root = drawn(life([LifeMark(NOW, "accepted", "waiting")], now_ms=NOW + 60_000, next_ms=NOW + 1))
    assert words(root)[-1] == "now"


def test_words_of_a_life_do_not_overlap_however_many_there_are():
    root = drawn(life([LifeMark(NOW + at * 1000, f"step{at}", "trying") for at in range(300)]))
    assert len(list(root.iter("circle"))) == 300
    shown = [float(each.get("x").rstrip("%")) for each in root.iter("text") if "mark" in each.get("class")]
    assert len(shown) <= 7
    assert shown == sorted(shown)


def test_counts_by_hour_stack_to_their_total_on_a_round_scale():
    root = drawn(
        by_hour(
            [Column(FIRST, {"sent": 3, "waiting": 1}), Column(FIRST + 2 * HOUR_MS, {"sent": 4})], ["sent", "waiting"]
        )
    )
    tall = {look: [float(each.get("height")) for each in rects(root, look)] for look in ("sent", "waiting")}
    assert tall["sent"] == pytest.approx([96 * 3 / 5, 96 * 4 / 5], abs=0.01)
    assert tall["waiting"] == pytest.approx([96 / 5], abs=0.01)
    assert words(root)[0] == "5 touches per hour"
    assert "8 touches" in root.get("aria-label")


def test_a_single_hour_is_a_picture():
    root = drawn(by_hour([Column(FIRST, {"sent": 1})], ["sent"]))
    assert len(rects(root, "sent")) == 1


def test_a_million_touches_over_a_month_are_few_columns_without_a_lost_touch():
    columns = [Column(FIRST + at * HOUR_MS, {"sent": 1_400}) for at in range(720)]
    seen, width = gathered(columns)
    assert len(seen) <= MOST_COLUMNS
    assert width % HOUR_MS == 0
    assert sum(each.counts.get("sent", 0) for each in seen) == 720 * 1_400
    root = drawn(by_hour(columns, ["sent"]))
    assert len(str(root)) < 50_000
    assert f"{720 * 1_400:,} touches" in root.get("aria-label")


def test_hours_years_apart_are_still_few_columns():
    seen, _ = gathered([Column(0, {"sent": 1}), Column(60 * 365 * DAY_MS, {"sent": 2})])
    assert len(seen) <= MOST_COLUMNS + 1
    assert sum(each.counts.get("sent", 0) for each in seen) == 3


def test_shares_fill_the_bar_and_the_smallest_is_seen():
    root = drawn(shares({"sent": 999_999, "failed": 1}, ["sent", "failed"]))
    widths = [float(each.get("width").rstrip("%")) for each in root.iter("rect")]
    assert sum(widths) == pytest.approx(100, abs=0.01)
    assert min(widths) > 0.4
    assert root.get("aria-label") == "999,999 sent, 1 failed"


def test_a_week_has_a_row_a_day_and_an_opening_over_midnight_is_on_both_days():
    start = NOW // DAY_MS * DAY_MS
    root = drawn(week([Opening(start + 22 * HOUR_MS, start + DAY_MS + 2 * HOUR_MS)], NOW))
    assert len(rects(root, "closed")) == 7
    opened = rects(root, "open")
    assert [float(each.get("width").rstrip("%")) for each in opened] == pytest.approx(
        [81 * 2 / 24, 81 * 2 / 24], abs=0.01
    )
    assert opened[0].get("y") != opened[1].get("y")
    assert "Fri 27 Nov 22:00 to Sat 28 Nov 02:00" in root.get("aria-label")


def test_a_week_that_never_opens_says_so():
    assert "it is not open" in drawn(week([], NOW)).get("aria-label")


def test_the_pace_is_drawn_against_the_limit_on_one_scale():
    last = NOW // MINUTE_MS
    root = drawn(pace({last: 30, last - 1: 15, last - 99: 1_000}, 30, NOW))
    tall = [float(each.get("height")) for each in rects(root, "sent")]
    assert tall == pytest.approx([44 * 15 / 50, 44 * 30 / 50], abs=0.01)
    line = next(each for each in root.iter("line") if each.get("class") == "limit")
    assert float(line.get("y1")) == pytest.approx(14 + 44 - 44 * 30 / 50, abs=0.1)
    assert "limit 30 a minute" in words(root)


def test_the_pace_without_limit_and_without_sends_is_a_picture():
    root = drawn(pace({}, None, NOW))
    assert "no limit" in root.get("aria-label")
    assert not rects(root, "sent")


def test_no_text_can_leave_its_place():
    root = drawn(life([LifeMark(NOW, HOSTILE, "waiting")]))
    assert HOSTILE in words(root)
    assert "<script" not in str(by_hour([Column(FIRST, {"sent": 1})], ["sent"], what=HOSTILE))
    assert not re.search(r"on\w+=", str(life([LifeMark(NOW, 'x" onload="y', "waiting")])).replace("onload=&#34;", ""))
