"""The limit: never more than `rate` in any window at the provider, nearly all of what is allowed, time moved by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.limit import Limit, PastCall, WarmUp, WarmUpStep, calls_to_remember, next_start_ms

MINUTE = 60_000
LONGEST_MS = 5_000
LIMITS = st.builds(
    Limit, rate=st.integers(1, 40), per_ms=st.sampled_from([100, 1_000, 1_001, 7_777, MINUTE]), burst=st.integers(1, 40)
)
Latency = Callable[[], int]


def calls_made(limit_of: Callable[[int], Limit], latency: Latency, count: int, keep: int) -> list[PastCall]:
    """Make `count` calls, each as soon as allowed by the `keep` remembered; one without an answer counts as long as it can."""
    now, made, kept = 0, list[PastCall](), list[PastCall]()

    def known(call: PastCall) -> PastCall:
        return call if call.end_ms <= now else PastCall(call.start_ms, call.start_ms + 2 * LONGEST_MS)

    while len(made) < count:
        due = next_start_ms(limit_of(now), [known(call) for call in kept], now)
        if due == now:
            made.append(PastCall(now, now + latency()))
            kept.append(made[-1])
            if len(kept) > keep:
                kept.remove(min(kept, key=lambda call: known(call).end_ms))
            continue
        answers = (call.end_ms for call in kept if call.end_ms > now)
        now = min(due, min(answers, default=due))
    return made


def most_in_a_window(arrivals: list[int], per_ms: int) -> int:
    """Return the most arrivals in any half-open window of `per_ms`."""
    arrivals = sorted(arrivals)
    return max(sum(1 for other in arrivals if at <= other < at + per_ms) for at in arrivals)


@settings(max_examples=150, deadline=None)
@given(LIMITS, st.integers(0, 2**32), st.sampled_from([0, 10, 300, LONGEST_MS]), st.booleans())
def test_no_window_at_the_provider_holds_more_than_the_rate(limit: Limit, seed: int, longest: int, edges: bool) -> None:
    dice = random.Random(seed)
    made = calls_made(lambda _: limit, lambda: dice.randint(0, longest), 3 * limit.rate + 5, limit.rate)
    arrivals = [dice.choice(call) if edges else dice.randint(*call) for call in made]
    assert most_in_a_window(arrivals, limit.per_ms) <= limit.rate


@settings(max_examples=50, deadline=None)
@given(LIMITS, LIMITS, st.integers(0, 2**32))
def test_a_limit_that_gets_stricter_holds_for_every_call_from_then_on(wide: Limit, tight: Limit, seed: int) -> None:
    dice = random.Random(seed)
    latency = lambda: dice.randint(0, 2_000)  # noqa: E731
    before = calls_made(lambda _: wide, latency, 2 * wide.rate, wide.rate)
    changed_ms = before[-1].end_ms
    made = list(before)
    for _ in range(2 * tight.rate):
        start = next_start_ms(tight, made, max(changed_ms, made[-1].end_ms))
        made.append(PastCall(start, start + latency()))
    arrivals = [dice.choice(call) for call in made]
    for late in range(len(before), len(made)):
        window = [at for at in arrivals[: late + 1] if arrivals[late] - tight.per_ms < at <= arrivals[late]]
        assert len(window) <= tight.rate


@pytest.mark.parametrize(
    "limit",
    [Limit(30, MINUTE), Limit(10, MINUTE), Limit(10, 1_000), Limit(7, 1_000), Limit(300, 1_000), Limit(1, 1_000)],
    ids=lambda limit: f"{limit.rate}-per-{limit.per_ms}ms",
)
@pytest.mark.parametrize("late_ms", [0, 2], ids=["on-time", "two-ms-late"])
def test_at_least_98_percent_of_the_rate_is_used(limit: Limit, late_ms: int) -> None:
    latency_ms = min(10, limit.per_ms // 200)
    made, now = list[PastCall](), 0
    count = 10 * limit.rate
    while len(made) <= count:
        now = next_start_ms(limit, made[-limit.rate :], now)
        started = now + (late_ms if limit.rate <= 30 else 0)
        made.append(PastCall(started, started + latency_ms))
    spent_ms = made[-1].start_ms - made[0].start_ms
    deducted_ms = 10 * (latency_ms + late_ms)  # one latency, and one late start, per `per`: the price of exactness
    assert count * limit.per_ms / limit.rate >= 0.98 * (spent_ms - deducted_ms)


BUSY = [Limit(30, MINUTE), Limit(10, MINUTE), Limit(30, 6_000), Limit(10, 6_000), Limit(10, 1_000)]


@pytest.mark.parametrize("limit", BUSY, ids=lambda limit: f"{limit.rate}-per-{limit.per_ms}ms")
def test_a_process_that_often_wakes_late_loses_hardly_anything(limit: Limit) -> None:
    dice, made, now, costs_ms = random.Random(1), list[PastCall](), 0, 0
    periods = 100
    count = periods * limit.rate
    while len(made) <= count:
        late_ms, latency_ms = int(dice.expovariate(1 / 15)), int(dice.expovariate(1 / 30))
        now = next_start_ms(limit, made[-limit.rate :], now) + late_ms
        made.append(PastCall(now, now + latency_ms))
        costs_ms += late_ms + latency_ms
    deducted_ms = periods * costs_ms / count
    assert count * limit.per_ms / limit.rate >= 0.98 * (made[-1].start_ms - made[0].start_ms - deducted_ms)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.sampled_from([1_001, 7_777, MINUTE]), st.integers(0, 2**32))
def test_no_call_comes_closer_to_the_one_before_than_half_the_spacing(rate: int, per_ms: int, seed: int) -> None:
    dice, made, now = random.Random(seed), list[PastCall](), 0
    spacing_ms = per_ms / rate
    while len(made) < 2 * rate:
        now = next_start_ms(Limit(rate, per_ms), made[-rate:], now) + int(dice.expovariate(1 / spacing_ms))
        made.append(PastCall(now, now))
    assert all(late.start_ms - early.start_ms >= spacing_ms / 2 - 1 for early, late in pairwise(made))


def starts(limit: Limit, count: int) -> Iterator[int]:
    made = list[PastCall]()
    for _ in range(count):
        start = next_start_ms(limit, made, 1_000_000)
        made.append(PastCall(start, start))
        yield start - 1_000_000


def test_the_first_call_ever_goes_at_once_and_the_next_are_evenly_spaced() -> None:
    assert list(starts(Limit(30, MINUTE), 4)) == [0, 2_000, 4_000, 6_000]


def test_spacing_that_is_no_whole_millisecond_is_rounded_up_without_drift() -> None:
    assert list(starts(Limit(7, 1_000), 8)) == [0, 143, 286, 429, 572, 715, 858, 1000]


def test_a_burst_goes_at_once_and_the_rate_still_holds() -> None:
    assert list(starts(Limit(4, 1_000, burst=3), 8)) == [0, 0, 0, 250, 1_000, 1_000, 1_000, 1_250]


def test_a_burst_is_saved_up_while_idle() -> None:
    limit, calls = Limit(30, MINUTE, burst=2), [PastCall(0, 0), PastCall(0, 0)]
    assert next_start_ms(limit, calls, 0) == 2_000
    assert next_start_ms(limit, [*calls, PastCall(10_000, 10_000)], 10_000) == 10_000


def test_the_edge_is_exact_to_the_millisecond() -> None:
    limit, calls = Limit(1, 1_000), [PastCall(0, 40)]
    assert next_start_ms(limit, calls, 1_039) == 1_040
    assert next_start_ms(limit, calls, 1_040) == 1_040
    assert next_start_ms(limit, calls, 1_041) == 1_041


def test_an_answer_that_is_long_in_coming_costs_its_own_place_only() -> None:
    limit, slow = Limit(2, 1_000), PastCall(0, 4_000)
    assert next_start_ms(limit, [slow], 0) == 500
    assert next_start_ms(limit, [slow, PastCall(500, 510)], 510) == 1_510
    assert next_start_ms(limit, [slow, PastCall(3_700, 3_710)], 3_710) == 4_710
    assert next_start_ms(Limit(1, 1_000), [slow], 0) == 5_000


def test_slow_answers_cost_no_more_than_their_own_time() -> None:
    """One in thirty takes 200 ms longer: in a strict order each would hold back all after it, once in every turn of ten."""
    dice, limit, periods = random.Random(1), Limit(10, 1_000), 100
    latency = lambda: 15 + int(dice.expovariate(1 / 15)) + (dice.random() < 1 / 30) * 200  # noqa: E731
    made = calls_made(lambda _: limit, latency, periods * limit.rate + 1, limit.rate)
    costs_ms = sum(call.end_ms - call.start_ms for call in made) / len(made)
    assert periods * (limit.per_ms + costs_ms) >= 0.98 * (made[-1].start_ms - made[0].start_ms)


DAY = 86_400_000
SLOW, MIDDLING, FULL = Limit(10, MINUTE), Limit(20, MINUTE), Limit(30, MINUTE)
WARM = WarmUp((WarmUpStep(SLOW, 7 * DAY), WarmUpStep(MIDDLING, 14 * DAY)))


@pytest.mark.parametrize(
    ("started_ms", "now_ms", "limit"),
    [
        (None, 0, SLOW),
        (1_000, 0, SLOW),
        (1_000, 1_000 + 7 * DAY - 1, SLOW),
        (1_000, 1_000 + 7 * DAY, MIDDLING),
        (1_000, 1_000 + 14 * DAY - 1, MIDDLING),
        (1_000, 1_000 + 14 * DAY, None),
    ],
    ids=["before-the-first-send", "before-its-start", "last-millisecond", "next-step", "its-last-millisecond", "warm"],
)
def test_a_step_lasts_until_the_sender_is_as_old_as_it_says(
    started_ms: int | None, now_ms: int, limit: Limit | None
) -> None:
    step = WARM.step_at(started_ms, now_ms)
    assert (step.limit if step else None) == limit


@pytest.mark.parametrize("ages", [[], [5, 5], [5, 4]])
def test_steps_that_do_not_ascend_are_refused(ages: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        WarmUp(tuple(WarmUpStep(SLOW, age) for age in ages))


def test_enough_calls_are_remembered_for_every_limit() -> None:
    assert calls_to_remember(FULL, WARM) == calls_to_remember(FULL, None) == 30
    assert calls_to_remember(None, WARM) == 20
    assert calls_to_remember(None, None) == 0


RATES = st.builds(Limit, rate=st.integers(1, 12), per_ms=st.sampled_from([1_000, 7_777, MINUTE]))


@settings(max_examples=80, deadline=None)
@given(st.lists(RATES, min_size=2, max_size=4), st.integers(0, 2**32))
def test_across_the_steps_no_window_holds_more_than_the_rate_of_the_step_it_ends_in(
    limits: list[Limit], seed: int
) -> None:
    """Whatever the order of the rates: the limit of the instant at which a call starts holds for every window ending with it."""
    dice = random.Random(seed)
    *young, grown = limits
    ages = [sum(2 * limit.per_ms for limit in young[: n + 1]) for n in range(len(young))]
    warm_up = WarmUp(tuple(WarmUpStep(limit, age) for limit, age in zip(young, ages, strict=True)))

    def limit_of(now_ms: int) -> Limit:
        step = warm_up.step_at(0, now_ms)
        return grown if step is None else step.limit

    made = calls_made(
        limit_of,
        lambda: dice.randint(0, 300),
        3 * sum(limit.rate for limit in limits),
        max(limit.rate for limit in limits),
    )
    arrivals = [dice.choice(call) for call in made]
    for late, call in enumerate(made):
        limit = limit_of(call.start_ms)
        window = [at for at in arrivals[: late + 1] if arrivals[late] - limit.per_ms < at <= arrivals[late]]
        assert len(window) <= limit.rate
