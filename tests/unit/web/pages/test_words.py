from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.fact import FactKind
from pipeline.domain.held_by import HeldBy
from pipeline.domain.story import TERMINAL, State
from pipeline.web.pages import words
from pipeline.web.pages.explained import EXPLAINED
from pipeline.web.pages.times import instant, seen_from, span
from tests.harness.told import NOW, TOUCHES

DOCS = Path(__file__).parents[4] / "docs"


def plain(text: str) -> str:
    text = re.sub(r" \(\[[^\]]*\]\([^)]*\)\)", "", text)  # a link beside the sentence
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("*", "").strip()


def test_each_reason_is_explained_by_the_sentence_of_the_documents():
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (.*?) \| (.*?) ?\|$", (DOCS / "reasons.md").read_text(), re.MULTILINE
    )
    told = {(state, reason or None): (plain(happened), plain(to_do)) for state, reason, happened, to_do in rows}
    assert {key: tuple(value) for key, value in EXPLAINED.items()} == told


def test_every_state_reason_fact_and_hold_has_words():
    assert set(words.LOOKS) == {str(each) for each in State}
    assert set(words.ENDS) == {str(each) for each in TERMINAL}
    assert set(words._HEADLINES) == set(EXPLAINED)
    assert set(words.KINDS) == {str(each) for each in FactKind} == set(words._OUTCOMES)
    assert set(words.HELD) == {str(each) for each in HeldBy}
    assert set(words.WAITS) == set(words._NOW)
    assert set(words.DEAD) >= {str(each) for each in DeadReason}
    assert set(words.SIGNS) == set(words.LOOKS.values()) == set(words.LOOK_WORDS) == set(words.ORDER_OF_LOOKS)


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: touch["touch_id"])
def test_where_a_touch_stands_is_a_sentence(touch):
    story = words.story_of(touch)
    assert story.headline.startswith(("Sent", "Not sent", "It may"))
    assert bool(story.waits) == (touch["state"] not in words.ENDS)


def test_what_is_true_now_wins_over_what_was_told_last():
    touch = {"state": "deferred", "reason": "window", "waits": {"why": "limit", "until": NOW, "orders": []}}
    assert words.story_of(touch).headline == "Not sent yet: its sender's limit is reached"


def test_words_of_a_newer_version_are_shown_as_they_are():
    story = words.story_of({"state": "parked_again", "reason": "moon", "waits": {"why": "tide", "until": None}})
    assert "tide" in story.headline
    assert story.look == "unknown"


def test_a_touch_whose_statuses_are_older_than_their_topic_keeps_them_is_told():
    assert words.story_of({"state": None, "reason": None, "outcome": "read"}).headline == "Sent and read"


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 s"),
        (400, "0.4 s"),
        (9_990, "10 s"),
        (12_000, "12 s"),
        (200_000, "3 min 20 s"),
        (7_800_000, "2 h 10 min"),
        (187_200_000, "2 d 4 h"),
        (86_400_000 * 4000, "4,000 d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(ms, said):
    assert span(ms) == said


def test_an_instant_says_its_day_and_year_when_they_are_others():
    assert instant(NOW, NOW) == "03:12:07 UTC"
    assert instant(NOW - 86_400_000, NOW) == "Thu 26 Nov, 03:12:07 UTC"
    assert instant(NOW + 86_400_000 * 365, NOW) == "Sat 27 Nov 2027, 03:12:07 UTC"
    assert seen_from(NOW + 5 * 3_600_000, NOW) == "in 5 h"
    assert instant(10**18, NOW).startswith("Fri 31 Dec 9999")


@pytest.mark.parametrize(
    ("held", "is_open", "said"),
    [
        (["window"], False, "hours closed"),
        (["window"], None, "hours closed"),
        (["limit", "window"], True, "limit reached, some people's hours closed"),
        (["order", "new"], True, "stopped by an order, new"),
    ],
)
def test_a_lane_whose_hours_are_open_is_not_called_closed_because_some_people_sleep(held, is_open, said):
    assert words.held_words(held, is_open=is_open) == said
