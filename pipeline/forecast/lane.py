"""One lane in simulated time: the product's own stage, and a provider that accepts every call and answers in time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from pipeline.domain.limit import PastCall
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.verdict import Sent
from pipeline.domain.work import Claim, Phase, Request, Work
from pipeline.flow import channel_topic
from pipeline.forecast.backlog import LaneRows
from pipeline.forecast.outlook import LaneOutlook
from pipeline.forecast.table import SortedTable
from pipeline.records import decode_work
from pipeline.stage_io import Overlay, Record
from pipeline.stages.control import EmptyView
from pipeline.stages.lane import Lane, LaneStep, Outcome, table

STEP_RECORDS = 500
"""Records per step, as in the engine."""
FOR_EVER_MS = 100 * 365 * 86_400_000
EVERYTHING_READ = 2**62
"""A forecast leaves orders out: what they hold is foreseen as if it were free now."""
DRAW = 0.5
"""Every random draw of a forecast: gaps have their average length."""
NEVER = sys.maxsize
NOT_DUE = "not due yet"
ANSWERS = "answers of the provider"
LATENCY_MS = 200
"""Assumed duration of a call, if neither the table nor the caller gives one."""


class LaneAtWork:
    """A lane with the records and answers that will reach it. Instants are epoch milliseconds."""

    def __init__(self, policy: ChannelPolicy, found: LaneRows, now_ms: int, latency_ms: int | None) -> None:
        sender = policy.sender_on(found.lane)
        self._table = SortedTable(found.rows)
        open_claims = list(table.open_claims(self._table)[0].values())
        self.works = [work for claim in open_claims for work in claim.works]
        """Every touch in the lane now."""
        for prefix in (table.WAITING, table.PARKED):
            self.works += [decode_work(value) for _, value in self._table.scan(prefix, prefix + table.END)]
        measured_ms = _measured_ms(self._table, open_claims, policy)
        typical_ms = LATENCY_MS if measured_ms is None else measured_ms
        outage = table.LaneState.unpack(self._table.get(table.STATE)).breaker.outage
        self.outlook = LaneOutlook(
            channel=policy.channel,
            lane=found.lane,
            sender=None if sender is None else sender.name,
            latency_ms=max(1, typical_ms if latency_ms is None else latency_ms),
            is_measured=latency_ms is None and measured_ms is not None,
            outage=None if outage is None else outage.error,
        )
        self._lane = Lane(
            policy,
            found.lane,
            _request,
            replays=policy.spec.replays,
            by_text=policy.asks_by_text(sender),
            dedup_for_ms=FOR_EVER_MS,
        )
        self._topic = channel_topic(policy.channel)
        self._order = count()
        self._agenda: list[tuple[int, int, Record | Outcome]] = []
        self._last: LaneStep | None = None
        self._stepped_ms = self._wake_ms = now_ms
        self.under_way = list(self._close_running_calls(open_claims, now_ms))
        """(instant of the answer, touch) of the calls that a worker is making now."""
        self._lane.open(self._table, now_ms, EmptyView(EVERYTHING_READ))

    def _close_running_calls(self, claims: list[Claim], now_ms: int) -> Iterator[tuple[int, Work]]:
        """Close the claims whose calls a worker is making now, as answered in time; yield (instant of the answer, touch)."""
        view = Overlay(self._table)
        calls = {claim_id: (number, call) for number, (call, claim_id) in table.last_calls(self._table).items()}
        for claim in claims:
            if claim.phase is not Phase.CALLING or claim.next_look_ms <= now_ms:
                continue
            answered_ms = max(now_ms, claim.claimed_ms + self.outlook.latency_ms)
            table.delete_claim(view, claim)
            if claim.claim_id in calls:
                number, call = calls[claim.claim_id]
                table.put_call(view, number, PastCall(call.start_ms, answered_ms), claim.claim_id)
            yield from ((answered_ms, work) for work in claim.works)
        self._table.apply(view.changes)

    @property
    def next_ms(self) -> int:
        """The instant of the next step; NEVER if there is none."""
        return min(self._agenda[0][0], self._wake_ms) if self._agenda else self._wake_ms

    @property
    def is_busy(self) -> bool:
        """Whether touches are left in the lane, or will reach it."""
        return bool(self._agenda) or (self._last is not None and self._last.waiting + self._last.open_claims > 0)

    def deliver(self, value: bytes, at_ms: int) -> None:
        """Deliver a work record at `at_ms`."""
        self._later(at_ms, Record(self._topic, self.outlook.lane, 0, at_ms, None, value))

    def step(self, now_ms: int) -> LaneStep:
        """Step with the records and answers that are due."""
        records: list[Record] = []
        outcomes: list[Outcome] = []
        while self._agenda and self._agenda[0][0] <= now_ms and len(records) < STEP_RECORDS:
            due = heappop(self._agenda)[2]
            if isinstance(due, Record):
                records.append(due)
            else:
                outcomes.append(due)
        if (why := self._why_held()) is not None:
            self.outlook.held_ms[why] += now_ms - self._stepped_ms
        step = self._last = self._lane.step(self._table, records, outcomes, now_ms, lambda: DRAW)
        self._table.apply(step.changes)
        self._stepped_ms, self._wake_ms = now_ms, NEVER if step.wake_ms is None else step.wake_ms
        for claim in [*step.calls, *(ask.claim for ask in step.asks)]:
            answered_ms = now_ms + self.outlook.latency_ms
            self._later(answered_ms, Outcome(claim.claim_id, Sent((None,) * len(claim.works)), now_ms, answered_ms))
        return step

    def _why_held(self) -> str | None:
        """Return what has held the lane back since its last step."""
        last = self._last
        if last is None:
            return None
        if last.hold is not None:
            return last.hold.why
        if last.breaker_until_ms is not None:
            return f"outage: {last.breaker_error}"
        return ANSWERS if last.waiting or last.open_claims else NOT_DUE

    def _later(self, at_ms: int, what: Record | Outcome) -> None:
        heappush(self._agenda, (at_ms, next(self._order), what))


def _measured_ms(found: SortedTable, open_claims: list[Claim], policy: ChannelPolicy) -> int | None:
    """Return the average duration of the latest calls, from claim to answer, in ms; None: the table has none."""
    still_open = {claim.claim_id for claim in open_claims}
    took = [
        call.end_ms - call.start_ms for call, claim_id in table.last_calls(found).values() if claim_id not in still_open
    ]
    # A call without an answer is noted with the longest duration that it can have.
    known = [each for each in took if each <= policy.request_timeout_ms]
    return round(sum(known) / len(known)) if known else None


def _request(works: tuple[Work, ...], claim_id: str, lease_until_ms: int, closes_ms: int | None) -> Request:
    del works, claim_id, lease_until_ms, closes_ms
    return Request("", b"", "", "")
