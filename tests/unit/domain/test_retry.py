"""Back-off: the whole schedule as a table, and its bounds proved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.retry import Retry, backoff_bounds_ms, backoff_ms

RETRIES = st.builds(Retry, first_ms=st.integers(1, 10_000), most_ms=st.integers(10_000, 86_400_000))
REFUSALS = st.integers(1, 10_000)
DRAWS = st.floats(0, 1, exclude_max=True)

SCHEDULE = """
refusal  at most  draw 0.5
      1       2s       1s
      2       4s       2s
      3       8s       4s
      4      16s       8s
      5      32s      16s
      6      64s      32s
      7     128s      64s
      8     256s     128s
      9     512s     256s
     10     900s     450s
     11     900s     450s
"""


def test_the_schedule_doubles_up_to_its_cap(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["", "refusal  at most  draw 0.5"]
    for refusals in range(1, 12):
        most_s = backoff_bounds_ms(Retry(), refusals)[1] // 1000
        half_s = backoff_ms(Retry(), refusals, 0.5) // 1000
        lines.append(f"{refusals:7}{most_s:8}s{half_s:8}s")
    table = "\n".join([*lines, ""])
    with capsys.disabled():
        print(table)
    assert table == SCHEDULE


@given(RETRIES, REFUSALS, DRAWS)
def test_a_wait_lies_within_its_bounds(retry: Retry, refusals: int, draw: float) -> None:
    low, high = backoff_bounds_ms(retry, refusals)
    assert 0 <= low <= backoff_ms(retry, refusals, draw) <= high <= retry.most_ms


@given(RETRIES, REFUSALS)
def test_the_bound_doubles_or_is_the_cap(retry: Retry, refusals: int) -> None:
    now, after = backoff_bounds_ms(retry, refusals)[1], backoff_bounds_ms(retry, refusals + 1)[1]
    assert after == min(2 * now, retry.most_ms)


@given(RETRIES, REFUSALS)
def test_jitter_is_full(retry: Retry, refusals: int) -> None:
    low, high = backoff_bounds_ms(retry, refusals)
    assert low == 0
    assert backoff_ms(retry, refusals, 0.0) == 0
    assert backoff_ms(retry, refusals, 1 - 2**-53) == high


def test_before_any_refusal_the_first_wait_counts() -> None:
    assert backoff_bounds_ms(Retry(), 0) == backoff_bounds_ms(Retry(), 1) == (0, 2_000)
