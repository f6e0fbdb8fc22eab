"""Random histories of a lane: crashes, lost answers, refusals; every touch ends once and is accepted at most once."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pipeline.domain.limit import Limit
from pipeline.domain.verdict import Unbegun
from pipeline.domain.window import Window
from pipeline.domain.work import Channel
from tests.harness.lane_rig import FakeProvider, Rig, policy, work


def run(seed, channel, *, limit=None, window=None, touches=40):
    dice = random.Random(seed)
    replays = channel is Channel.EMAIL
    rig = Rig(
        policy(channel, limit=limit, window=window, resolve_for_ms=20 * 3_600_000),
        seed=seed,
        replays=replays,
        by_text=not replays,
    )
    provider = FakeProvider(random.Random(seed + 1), replays=replays)
    waiting = [
        work(
            f"t{n}",
            channel=channel,
            campaign=f"c{n % 3}",
            priority=dice.randrange(3),
            to=f"+1212555{n % 7:04d}",
            body=f"text {n % 3}",
        )
        for n in range(touches)
    ]
    starts = []
    for _ in range(20_000):
        arrivals = [waiting.pop() for _ in range(min(len(waiting), dice.randrange(4)))] if dice.random() < 0.4 else []
        for claim in list(rig.calls):
            if dice.random() < 0.7:
                late = rig.now_ms >= claim.lease_until_ms
                answer = Unbegun() if late else provider.call(claim, rig.now_ms)
                if not isinstance(answer, Unbegun):
                    starts.append(rig.now_ms)
                rig.answer(answer, claim, took_ms=dice.randrange(1, 400))
        for ask in list(rig.asks):
            if dice.random() < 0.7:
                rig.asks.remove(ask)
                if replays:
                    starts.append(rig.now_ms)
                rig.answer(provider.ask(ask, rig.now_ms), ask.claim, took_ms=dice.randrange(1, 100))
        if dice.random() < 0.03:
            # a crash: calls under way are neither made nor answered from here on, or were made and are lost
            for claim in rig.calls:
                if dice.random() < 0.5 and rig.now_ms < claim.lease_until_ms:
                    starts.append(rig.now_ms)
                    provider.call(claim, rig.now_ms)
            rig.now_ms += dice.randrange(100, 8_000)
            rig.takeover()
        rig.step(*arrivals, *rig.due())
        if not rig.calls and not rig.asks:
            wakes = [at for at, _ in rig.scheduled] + ([rig.last.wake_ms] if rig.last.wake_ms else [])
            if not waiting and not rig.last.waiting and not rig.last.open_claims and not rig.scheduled:
                break
            rig.now_ms = max(rig.now_ms + 1, min(wakes, default=rig.now_ms) if not waiting else rig.now_ms + 5)
        else:
            rig.now_ms += 5
    return rig, provider, starts


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.WHATSAPP, Channel.EMAIL])
@pytest.mark.parametrize("seed", range(60))
def test_every_touch_ends_once_and_is_accepted_at_most_once(channel, seed):
    rig, provider, _ = run(seed, channel)
    assert rig.terminals() == Counter({(0, f"t{n}"): 1 for n in range(40)})
    twice = [t for t, n in Counter(t for t, *_ in provider.accepted).items() if n > 1]
    sent = {e.touch_id for _, e in rig.events if e.state.value == "sent"}
    by_text = Counter((to, body) for _, to, body, *_ in provider.accepted)
    told = Counter((f"+1212555{int(t[1:]) % 7:04d}", f"text {int(t[1:]) % 3}") for t in sent)
    if channel is Channel.EMAIL:
        assert twice == []
        assert {t for t, *_ in provider.accepted} == sent
    else:
        assert by_text == told, "as many messages of each text as touches told to be sent"


@pytest.mark.parametrize("seed", range(20))
def test_the_limit_holds_through_crashes(seed):
    _, _, starts = run(seed, Channel.SMS, limit=Limit(3, 10_000), touches=30)
    starts.sort()
    for at in starts:
        assert sum(1 for each in starts if at <= each < at + 10_000) <= 3


def test_nothing_goes_out_while_the_window_is_closed():
    window = Window(9 * 3600, 20 * 3600, "America/New_York", margin_ms=5_000)
    for seed in range(10):
        rig, provider, _ = run(seed, Channel.SMS, window=window)
        assert rig.terminals() == Counter({(0, f"t{n}"): 1 for n in range(40)})
        for *_, at_ms, _ in provider.accepted:
            hour = ((at_ms // 1000 - 5 * 3600) % 86_400) / 3600
            assert 9 <= hour < 20
