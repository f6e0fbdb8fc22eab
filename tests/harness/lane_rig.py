"""A lane on a table in memory, with time moved by hand and a provider that can be told what to do."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from pipeline.channels.registry import SPECS
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.retry import Retry
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import TERMINAL, Event
from pipeline.domain.verdict import Absent, AskLater, Paused, Refused, Rejected, Sent, Split, Unbegun, Unknown
from pipeline.domain.work import Channel, Claim, Content, Request, Work
from pipeline.flow import LANES, RESULTS, SCHEDULED, SUPPRESSIONS, UNCONFIRMED, channel_topic
from pipeline.records import decode_event, decode_scheduled, decode_unconfirmed, encode_work
from pipeline.records.lane_report import decode_lane_report
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.control import ControlView, EmptyView
from pipeline.stages.lane import Lane, Outcome

LOST = Unknown("timeout", "no answer")
DOWN = Unknown("503", "down", refused=True)
T0 = 1_700_000_000_000


def build(works, claim_id, lease_until_ms, closes_ms):
    return Request("/send", "|".join(w.touch_id for w in works).encode(), "text/plain", claim_id)


def policy(channel=Channel.SMS, **more) -> ChannelPolicy:
    base = ChannelPolicy(
        spec=SPECS[channel],
        senders=(SenderPolicy("default", 0),),
        window=None,
        limit=None,
        warm_up=None,
        attempts=5,
        retry=Retry(2_000, 900_000),
        in_flight=10 if channel is not Channel.WHATSAPP else 1,
        batch=100 if channel is Channel.EMAIL else 1,
        resolve_after_ms=0 if channel is Channel.EMAIL else 5_000,
    )
    return replace(base, **more)


def work(touch_id, *, channel=Channel.SMS, campaign="c", body=None, **more) -> Work:
    more.setdefault("to", f"+1212555{abs(hash(touch_id)) % 10_000:04d}")
    return Work(
        touch_id,
        campaign,
        f"lead-{touch_id}",
        channel,
        more.pop("to"),
        more.pop("sender", "default"),
        False,
        Content(body=f"hello {touch_id}" if body is None else body),
        more.pop("digest", b"d" * 16),
        more.pop("origin", 0),
        **more,
    )


@dataclass
class Rig:
    policy: ChannelPolicy
    seed: int = 0
    now_ms: int = T0
    replays: bool = False
    by_text: bool = True
    lane_number: int = 0
    table: MemoryTable = field(default_factory=MemoryTable)
    events: list[tuple[int, Event]] = field(default_factory=list)
    scheduled: list[tuple[int, bytes]] = field(default_factory=list)
    forwarded: list = field(default_factory=list)
    left: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    """What the lane told in touches.lanes."""
    entries: list = field(default_factory=list)
    """Suppressions that the lane wrote."""
    control: ControlView = field(default_factory=EmptyView)
    """What the lane knows of orders and suppressions."""
    calls: list[Claim] = field(default_factory=list)
    asks: list = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    offset: int = 0
    monotonic_ms: int | None = None
    """The monotonic clock, if the lane is to have one."""

    def __post_init__(self):
        self.dice = random.Random(self.seed)
        self.takeover()

    def takeover(self):
        """A successor opens the committed table; calls and answers under way are lost to it."""
        self.calls, self.asks, self.outcomes = [], [], []
        self.lane = Lane(
            self.policy, self.lane_number, build, replays=self.replays, by_text=self.by_text, dedup_for_ms=10**10
        )
        self.lane.open(self.table, self.now_ms, self.control)

    def step(self, *works, is_stopping=False):
        records = []
        for each in works:
            value = each if isinstance(each, bytes) else encode_work(each)
            records.append(Record(channel_topic(self.policy.channel), 0, self.offset, self.now_ms, b"", value))
            self.offset += 1
        outcomes, self.outcomes = self.outcomes, []
        step = self.lane.step(
            self.table,
            records,
            outcomes,
            self.now_ms,
            self.dice.random,
            control=self.control,
            is_stopping=is_stopping,
            monotonic_ms=self.monotonic_ms,
        )
        self.table.apply(step.changes)
        for out in step.outputs:
            if out.topic == RESULTS:
                self.events.append((out.partition, decode_event(out.value)))
            elif out.topic == SCHEDULED:
                later = decode_scheduled(out.value)
                self.scheduled.append((later.due_ms, later.work))
            elif out.topic == LANES:
                self.reports.append(decode_lane_report(out.value))
            elif out.topic == SUPPRESSIONS:
                self.entries.append(out)
            elif out.topic == UNCONFIRMED:
                self.left.append((out.partition, out.key, decode_unconfirmed(out.value)))
            else:
                self.forwarded.append(out)
        self.calls += step.calls
        self.asks += step.asks
        self.last = step
        return step

    def answer(self, answer, claim=None, took_ms=50):
        """Let the oldest call (or `claim`'s) come home with `answer`."""
        if claim is None:
            claim = self.calls.pop(0)
        elif claim in self.calls:
            self.calls.remove(claim)
        self.outcomes.append(Outcome(claim.claim_id, answer, self.now_ms, self.now_ms + took_ms))
        self.now_ms += took_ms

    def due(self):
        """Scheduled work whose time has come."""
        back = [w for at, w in self.scheduled if at <= self.now_ms]
        self.scheduled = [(at, w) for at, w in self.scheduled if at > self.now_ms]
        return back

    def states(self, touch_id=None):
        return [
            (e.state.value, e.reason.value if e.reason else "")
            for _, e in self.events
            if touch_id is None or e.touch_id == touch_id
        ]

    def terminals(self):
        return Counter((p, e.touch_id) for p, e in self.events if e.state in TERMINAL)


class FakeProvider:
    """Accepts, loses answers, refuses, is away; can be asked by the text it accepted. Keeps what it accepted."""

    def __init__(self, dice, *, replays):
        self.dice = dice
        self.replays = replays
        self.accepted: list[tuple[str, str, str, int]] = []  # touch id, to, body, at
        self.keys: dict[str, tuple] = {}
        self.ids = 0

    def accept(self, claim, at_ms):
        ids = []
        for each in claim.works:
            self.ids += 1
            self.accepted.append((each.touch_id, each.to, each.content.body, at_ms, f"M{self.ids}"))
            ids.append(f"M{self.ids}")
        self.keys[claim.request.handle] = tuple(ids)
        return Sent(tuple(ids))

    def call(self, claim, now_ms):
        """Return (answer or None when it never comes home)."""
        roll = self.dice.random()
        if self.replays and claim.request.handle in self.keys:
            troubles = [
                (0.1, Refused("resource_locked", "locked")),
                (0.2, Paused("429", "slow down")),
                (0.3, LOST),
                (0.35, DOWN),
            ]
            return next((trouble for odds, trouble in troubles if roll < odds), Sent(self.keys[claim.request.handle]))
        if roll < 0.55:
            return self.accept(claim, now_ms)
        if roll < 0.62:
            self.accept(claim, now_ms)
            return Unknown("timeout", "no answer")
        if roll < 0.66:
            return Unknown("timeout", "no answer")
        if roll < 0.70:
            self.accept(claim, now_ms)
            return Unknown("503", "down", refused=True)
        if roll < 0.74:
            return Unknown("503", "down", refused=True)
        if roll < 0.80:
            return Paused("429", "slow down")
        if roll < 0.85:
            return Refused("14107", "loop guard")
        if roll < 0.90:
            return Unbegun()
        if roll < 0.93:
            return Rejected("21211", "bad number")
        if roll < 0.96:
            return Split("validation_error", "one is bad") if len(claim.works) > 1 else Rejected("v", "bad")
        return Paused("connection", "refused")

    def ask(self, ask, now_ms):
        if self.dice.random() < 0.2:
            return AskLater("away")
        if self.replays:
            return self.call(ask.claim, now_ms)
        one = ask.claim.works[0]
        for _, to, body, at_ms, message_id in self.accepted:
            if (
                (to, body) == (one.to, one.content.body)
                and at_ms >= ask.claim.claimed_ms - 2_000
                and message_id not in ask.known_ids
            ):
                return Sent((message_id,))
        return Absent()
