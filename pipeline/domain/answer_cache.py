"""A bounded cache of answers that hold for a span of time, such as "open until 20:00"."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
AnswerT = TypeVar("AnswerT")


class AnswerCache(Generic[KeyT, AnswerT]):
    """The last answer by key, with the span [from_ms, until_ms) in which it holds; emptied when it is full."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._spans: dict[KeyT, tuple[int, int, AnswerT]] = {}

    def find(self, key: KeyT, now_ms: int) -> AnswerT | None:
        """Return the answer that holds at `now_ms`, or None."""
        span = self._spans.get(key)
        return span[2] if span is not None and span[0] <= now_ms < span[1] else None

    def keep(self, key: KeyT, from_ms: int, until_ms: int, answer: AnswerT) -> AnswerT:
        """Keep `answer`, which holds from `from_ms` until `until_ms`, and return it."""
        if len(self._spans) >= self._capacity:
            self._spans.clear()
        self._spans[key] = from_ms, until_ms, answer
        return answer

    def clear(self) -> None:
        """Forget all answers."""
        self._spans.clear()
