"""What holds a lane back besides its rate: the daily cap and the gap, through crashes, midnights and outages."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.limit import Gap, Limit
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.verdict import Absent, Paused, Refused, Rejected, Sent, Unbegun, Unknown, Verdict
from pipeline.domain.window import RECIPIENT, Window
from pipeline.domain.work import Channel
from pipeline.domain.zone import day_end_ms, local_day
from pipeline.stages.lane.lane import REST_MS
from tests.harness.lane_rig import FakeProvider, Rig, policy, work

HOUR, DAY = 3_600_000, 86_400_000
NEW_YORK = "America/New_York"
ROUND_THE_CLOCK = Window(0, 86_400, NEW_YORK)


def capped(cap: int | None, channel: Channel = Channel.SMS, **more: object) -> Rig:
    sender = SenderPolicy("default", 0, daily_cap=cap)
    replays = channel is Channel.EMAIL
    return Rig(policy(channel, senders=(sender,), **more), replays=replays, by_text=not replays)


def at(text: str, zone: str = NEW_YORK) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def send_all(rig: Rig) -> int:
    """Let every call succeed, in the same millisecond, until the lane rests; return how many messages went."""
    sent = 0
    while rig.calls:
        sent += len(rig.calls[0].works)
        rig.answer(Sent(tuple(w.touch_id for w in rig.calls[0].works)), took_ms=0)
        rig.step()
    return sent


class TestDailyCap:
    def test_the_lane_waits_for_the_next_day_without_a_word_or_an_attempt(self) -> None:
        rig = capped(3, window=ROUND_THE_CLOCK)
        rig.now_ms = at("2026-06-01T10:00")
        rig.step(*[work(f"t{n}") for n in range(10)])
        assert send_all(rig) == 3
        assert rig.last.wake_ms <= at("2026-06-02T00:00")
        rig.now_ms = at("2026-06-02T00:00") - 1
        rig.step()
        assert send_all(rig) == 0
        assert {state for state, _ in rig.states()} == {"sent"}
        rig.now_ms = rig.last.wake_ms
        rig.step()
        assert (rig.now_ms, send_all(rig)) == (at("2026-06-02T00:00"), 3)
        assert all(e.attempt == 1 for _, e in rig.events)

    def test_a_successor_counts_what_went_before_it(self) -> None:
        rig = capped(3)
        rig.step(*[work(f"t{n}") for n in range(2)])
        send_all(rig)
        rig.takeover()
        rig.step(*[work(f"u{n}") for n in range(2)])
        assert send_all(rig) == 1

    @pytest.mark.parametrize(
        "answer", [Unbegun(), Refused("x", "later"), Rejected("21211", "bad"), Paused("429", "slow down")], ids=repr
    )
    def test_what_the_provider_did_not_take_gives_its_place_back(self, answer: Verdict) -> None:
        rig = capped(1, in_flight=1)
        rig.step(work("a"), work("b"))
        rig.answer(answer, took_ms=0)
        rig.step()
        rig.now_ms += 60_000
        rig.step()
        assert len(rig.calls) == 1

    def test_a_lost_answer_keeps_its_place_until_the_provider_says_it_has_nothing(self) -> None:
        rig = capped(1, in_flight=1)
        rig.step(work("a"), work("b"))
        rig.answer(Unknown("timeout", "no answer"), took_ms=0)
        rig.step()
        assert rig.calls == []
        rig.now_ms += 60_000
        rig.step()
        rig.answer(Absent(), rig.asks.pop().claim)
        rig.step()
        assert len(rig.calls) == 1

    def test_what_expires_while_it_waits_is_expired_when_its_time_comes(self) -> None:
        rig = capped(1)
        rig.step(work("a"), work("b", expires_at_ms=rig.now_ms + HOUR))
        send_all(rig)
        assert rig.last.wake_ms == rig.now_ms + HOUR
        rig.now_ms = rig.last.wake_ms
        rig.step()
        assert rig.states("b") == [("expired", "expires_at")]

    def test_a_call_counted_today_begins_today(self) -> None:
        rig = capped(3, window=ROUND_THE_CLOCK)
        rig.now_ms = at("2026-06-01T23:59:58")
        rig.step(work("a"))
        assert rig.calls[0].lease_until_ms == at("2026-06-02T00:00")

    def test_e_mails_count_one_by_one_and_a_batch_is_no_larger_than_what_is_left(self) -> None:
        rig = capped(130, Channel.EMAIL, gather_ms=0)
        rig.step(*[work(f"m{n}", channel=Channel.EMAIL, to=f"p{n}@example.com") for n in range(300)])
        assert [len(claim.works) for claim in rig.calls] == [100, 30]

    def test_a_replay_counts_again_only_on_another_day(self) -> None:
        rig = capped(1, Channel.EMAIL, gather_ms=0, resolve_for_ms=23 * HOUR)
        rig.now_ms = at("2026-06-01T23:59:58", "UTC")
        rig.step(work("m", channel=Channel.EMAIL, to="p@example.com"))
        rig.answer(Unknown("timeout", "no answer"), took_ms=0)
        rig.step()
        assert len(rig.asks) == 1, "today's place is its own"
        assert rig.asks[0].claim.lease_until_ms == at("2026-06-02T00:00", "UTC"), "a replay counted today begins today"
        rig.answer(Unknown("timeout", "no answer"), rig.asks.pop().claim)
        rig.now_ms = at("2026-06-02T00:00", "UTC")
        rig.step()
        rig.now_ms += 1_000
        rig.step()
        assert len(rig.asks) == 1
        rig.step(work("n", channel=Channel.EMAIL, to="q@example.com"))
        assert rig.calls == [], "the replay may have sent it today"

    def test_a_clock_that_jumps_back_over_midnight_gives_no_second_day(self) -> None:
        rig = capped(2, window=ROUND_THE_CLOCK)
        rig.now_ms = at("2026-06-02T00:00:01")
        rig.step(work("a"))
        send_all(rig)
        rig.now_ms = at("2026-06-01T23:59:59")
        rig.step(work("b"))
        send_all(rig)
        rig.step(work("c"))
        assert rig.calls == []

    @pytest.mark.parametrize(
        ("window", "zone"),
        [
            (None, "UTC"),
            (Window(8 * 3600, 20 * 3600, NEW_YORK), NEW_YORK),
            (Window(8 * 3600, 20 * 3600, RECIPIENT, "Asia/Tokyo"), "Asia/Tokyo"),
        ],
    )
    def test_days_are_those_of_the_windows_zone(self, window: Window | None, zone: str) -> None:
        assert policy(window=window).day_zone == zone

    @pytest.mark.parametrize("seed", range(25))
    @pytest.mark.parametrize("channel", [Channel.SMS, Channel.EMAIL])
    def test_no_calendar_day_has_more_than_the_cap_through_crashes(self, seed: int, channel: Channel) -> None:
        """Days of ten minutes' work around each midnight; a call is made at any moment of its lease, or the worker dies."""
        dice = random.Random(seed)
        rig = capped(4, channel, window=ROUND_THE_CLOCK, gather_ms=0, resolve_for_ms=10 * HOUR)
        provider = FakeProvider(random.Random(seed + 1), replays=channel is Channel.EMAIL)
        rig.now_ms = at("2026-10-31T23:50")  # the day after has 25 hours
        waiting = [work(f"t{n}", channel=channel, to=f"p{n}@example.com", body=f"b{n}") for n in range(20)]
        days: Counter[int] = Counter()
        taken = 0
        for _ in range(4_000):
            arrivals = [waiting.pop()] if waiting and dice.random() < 0.3 else []
            for claim in list(rig.calls):
                if rig.now_ms >= claim.lease_until_ms:
                    rig.answer(Unbegun(), claim, took_ms=0)
                elif dice.random() < 0.5:
                    answer = provider.call(claim, rig.now_ms)
                    if dice.random() < 0.1:
                        rig.takeover()
                        break
                    rig.answer(answer, claim, took_ms=dice.randrange(1, 3_000))
            for ask in list(rig.asks):
                rig.asks.remove(ask)
                rig.answer(provider.ask(ask, rig.now_ms), ask.claim, took_ms=dice.randrange(1, 100))
            for *_, at_ms, _ in provider.accepted[taken:]:
                days[local_day(NEW_YORK, at_ms)] += 1
            taken = len(provider.accepted)
            rig.step(*arrivals, *rig.due())
            if not (waiting or rig.last.waiting or rig.last.open_claims or rig.scheduled):
                break
            rig.now_ms += dice.randrange(1, 2_000) if rig.calls or rig.asks else dice.choice([1_000, 60_000, 1_200_000])
        assert rig.terminals() == Counter({(0, f"t{n}"): 1 for n in range(20)})
        assert max(days.values()) <= 4
        assert len(days) >= 2


class TestPause:
    @pytest.mark.parametrize(("draw", "gap_ms"), [(0.0, 30_000), (0.5, 45_000), (0.999_999_9, 60_000)])
    def test_it_is_drawn_between_the_least_and_the_most(self, draw: float, gap_ms: int) -> None:
        assert Gap(30_000, 60_000).drawn_ms(draw) == gap_ms

    def test_it_runs_from_the_answer_to_the_next_call(self) -> None:
        rig = Rig(policy(gap=Gap(30_000, 30_500)))
        rig.step(*[work(f"t{n}") for n in range(4)])
        for _ in range(3):
            assert len(rig.calls) == 1
            rig.answer(Sent(("i",)), took_ms=700)
            answered_ms = rig.now_ms
            rig.step()
            assert rig.calls == []
            assert 30_000 <= rig.last.wake_ms - answered_ms <= 30_500
            rig.now_ms = rig.last.wake_ms
            rig.step()

    def test_a_successor_keeps_the_pause_that_was_drawn(self) -> None:
        rig = Rig(policy(gap=Gap(30_000, 60_000)))
        rig.step(work("a"), work("b"))
        rig.answer(Sent(("i",)))
        rig.step()
        due_ms = rig.last.wake_ms
        rig.takeover()
        rig.now_ms += 1_000
        rig.step()
        assert (rig.calls, rig.last.wake_ms) == ([], due_ms)

    def test_without_it_no_draw_is_spent(self) -> None:
        assert Rig(policy(limit=Limit(1, 1_000))).step(work("a")).calls == Rig(policy()).step(work("a")).calls

    def test_looking_an_outcome_up_is_no_call_and_starts_no_pause(self) -> None:
        rig = Rig(policy(gap=Gap(30_000, 30_000)))
        rig.step(work("a"), work("b"))
        rig.answer(Unknown("timeout", "no answer"), took_ms=0)
        lost_ms = rig.now_ms
        rig.step()
        rig.now_ms += 5_000
        rig.step()
        rig.answer(Sent(("i",)), rig.asks.pop().claim)
        rig.step()
        assert rig.last.wake_ms == lost_ms + 30_000


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([NEW_YORK, "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC"]),
    st.integers(at("2016-01-01"), at("2036-01-01")),
)
def test_a_day_ends_where_a_later_date_begins(zone: str, now_ms: int) -> None:
    end_ms = day_end_ms(zone, now_ms)
    today = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(zone)).date()
    assert date(1970, 1, 1) + timedelta(days=local_day(zone, now_ms)) == today
    assert datetime.fromtimestamp(end_ms / 1000, ZoneInfo(zone)).date() == today + timedelta(days=1)
    assert datetime.fromtimestamp((end_ms - 1) / 1000, ZoneInfo(zone)).date() == today
    assert end_ms > now_ms
    assert datetime.fromtimestamp(now_ms / 1000, UTC)


def test_a_call_that_hangs_holds_one_place_for_as_long_as_it_hangs() -> None:
    """It may still arrive: however many calls have come and gone meanwhile, it is not forgotten."""
    rig = Rig(policy(in_flight=5, limit=Limit(2, 1_000), request_timeout_ms=60_000))
    rig.step(*[work(f"t{n}") for n in range(20)])
    hanging = rig.calls.pop()
    starts = []
    for _ in range(12):
        while not rig.calls:
            rig.now_ms = rig.last.wake_ms
            rig.step()
        starts.append(rig.now_ms)
        rig.answer(Sent(("M",)), took_ms=10)
        rig.step()
    assert [late - early for early, late in pairwise(starts)] == [1_010] * 11
    rig.answer(Sent(("M",)), hanging)
    rig.step()
    rig.now_ms += 1_000
    rig.step()
    rig.now_ms = rig.last.wake_ms
    rig.step()
    assert len(rig.calls) == 2, "its place is free again"


class TestRest:
    """Arrivals share a transaction while none of them could be called, and only then."""

    def test_while_the_limit_holds(self) -> None:
        rig = Rig(policy(Channel.SMS, limit=Limit(1, 1_000)), replays=False, by_text=True)
        rig.step(work("a"))
        rig.answer(Sent(("1",)), took_ms=5)
        rig.step(work("b"))
        assert (rig.last.calls, rig.last.rest_ms) == ([], REST_MS)
        assert rig.last.wake_ms <= rig.now_ms + 1_000

    def test_while_every_call_slot_is_taken(self) -> None:
        rig = Rig(policy(Channel.SMS, in_flight=2), replays=False, by_text=True)
        rig.step(work("a"))
        assert rig.last.rest_ms == 0
        rig.step(work("b"))
        assert (len(rig.calls), rig.last.rest_ms) == (2, REST_MS)

    def test_not_while_one_could_be_called_or_a_batch_gathers(self) -> None:
        rig = Rig(policy(Channel.SMS), replays=False, by_text=True)
        rig.step()
        assert rig.last.rest_ms == 0
        rig = Rig(policy(Channel.EMAIL, gather_ms=1_000), replays=True, by_text=False)
        rig.step(work("a"))
        assert (rig.calls, rig.last.rest_ms) == ([], 0)
