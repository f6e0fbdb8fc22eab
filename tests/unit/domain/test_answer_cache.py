"""A cached answer is given only while it holds, and the cache stays bounded."""

from __future__ import annotations

from pipeline.domain.answer_cache import AnswerCache


def test_an_answer_is_found_from_its_first_instant_to_before_its_last():
    cache: AnswerCache[str, str] = AnswerCache(capacity=2)
    cache.keep("zone", 10, 20, "open")
    assert [cache.find("zone", now_ms) for now_ms in (9, 10, 19, 20)] == [None, "open", "open", None]
    assert cache.find("other", 15) is None


def test_a_later_answer_replaces_the_earlier_one():
    cache: AnswerCache[str, str] = AnswerCache(capacity=2)
    cache.keep("zone", 10, 20, "open")
    assert cache.keep("zone", 20, 30, "closed") == "closed"
    assert [cache.find("zone", now_ms) for now_ms in (15, 25)] == [None, "closed"]


def test_a_full_cache_is_emptied_before_it_keeps_one_more():
    cache: AnswerCache[int, str] = AnswerCache(capacity=3)
    for key in range(4):
        cache.keep(key, 0, 10, str(key))
    assert [cache.find(key, 5) for key in range(4)] == [None, None, None, "3"]
