"""The forecast as a simulation: every lane steps through the backlog, from one wake-up to the next, until nothing is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.story import TERMINAL, State
from pipeline.domain.work import Channel, Work
from pipeline.flow import RESULTS, SCHEDULED, channel_topic
from pipeline.forecast.backlog import Backlog, LaneRows
from pipeline.forecast.lane import NEVER, LaneAtWork
from pipeline.forecast.outlook import CampaignOutlook, Forecast
from pipeline.records import decode_event, decode_scheduled, decode_work
from pipeline.stage_io import Output

AT_MOST_MS = 365 * 86_400_000
REPORT_EVERY = 200
"""Steps between two reports of progress."""


def forecast(
    backlog: Backlog,
    policies: Mapping[Channel, ChannelPolicy],
    now_ms: int,
    *,
    at_most_ms: int = AT_MOST_MS,
    latency_ms: int | None = None,
) -> Forecast:
    """Return how `backlog` ends within `at_most_ms` from `now_ms` on, if no more is produced and no call fails.

    `latency_ms` is the duration of a call; by default the average of each lane's latest calls.
    """
    rehearsal = Rehearsal(backlog, policies, now_ms, at_most_ms=at_most_ms, latency_ms=latency_ms)
    for _ in rehearsal.run():
        pass
    return rehearsal.forecast()


class Rehearsal:
    """All lanes in simulated time."""

    def __init__(
        self,
        backlog: Backlog,
        policies: Mapping[Channel, ChannelPolicy],
        now_ms: int,
        *,
        at_most_ms: int,
        latency_ms: int | None,
    ) -> None:
        self._policies = policies
        self._now_ms, self._until_ms, self._latency_ms = now_ms, now_ms + at_most_ms, latency_ms
        self._not_accepted = backlog.not_accepted
        self._campaigns: dict[str, CampaignOutlook] = {}
        self._lanes: dict[tuple[Channel, int], LaneAtWork] = {}
        self.ended = 0
        """Touches that have ended so far."""
        for found in backlog.lanes:
            self._take_over(found)
        for scheduled in sorted(backlog.deferred, key=attrgetter("due_ms")):
            lane = self._lane(scheduled.channel, scheduled.lane)
            lane.deliver(scheduled.work, max(scheduled.due_ms, now_ms))
            lane.outlook.deferred += 1
            self._count(lane, decode_work(scheduled.work)).deferred += 1

    def _take_over(self, found: LaneRows) -> LaneAtWork:
        lane = LaneAtWork(self._policies[found.channel], found, self._now_ms, self._latency_ms)
        self._lanes[found.channel, found.lane] = lane
        for work in lane.works:
            self._count(lane, work)
        for value in found.arrivals:
            lane.deliver(value, self._now_ms)
            self._count(lane, decode_work(value))
        return lane

    def _lane(self, channel: Channel, number: int) -> LaneAtWork:
        return self._lanes.get((channel, number)) or self._take_over(LaneRows(channel, number))

    def _count(self, lane: LaneAtWork, work: Work) -> CampaignOutlook:
        campaign = self._campaigns.setdefault(work.campaign_id, CampaignOutlook(name=work.campaign_id))
        campaign.channels.add(work.channel)
        campaign.left += 1
        lane.outlook.left += 1
        return campaign

    @property
    def left(self) -> int:
        """Touches at the start."""
        return sum(campaign.left for campaign in self._campaigns.values())

    def run(self) -> Iterator[int]:
        """Run the lanes; yield, every REPORT_EVERY steps, how many touches have ended."""
        for lane in self._lanes.values():
            for answered_ms, work in lane.under_way:
                self._end(lane, work.campaign_id, State.SENT, answered_ms)
        steps = 0
        while self._lanes:
            lane = min(self._lanes.values(), key=attrgetter("next_ms"))
            if lane.next_ms > self._until_ms or lane.next_ms == NEVER:
                return
            self._step(lane, max(lane.next_ms, self._now_ms))
            steps += 1
            if steps % REPORT_EVERY == 0:
                yield self.ended

    def _step(self, lane: LaneAtWork, at_ms: int) -> None:
        for output in lane.step(at_ms).outputs:
            if output.topic == RESULTS:
                event = decode_event(output.value or b"")
                if event.state in TERMINAL:
                    self._end(lane, event.campaign_id, event.state, at_ms)
            elif output.topic == SCHEDULED:
                scheduled = decode_scheduled(output.value or b"")
                self._lane(scheduled.channel, scheduled.lane).deliver(scheduled.work, scheduled.due_ms)
            elif output.topic == channel_topic(lane.outlook.channel):
                self._hand_on(lane, output, at_ms)

    def _hand_on(self, lane: LaneAtWork, output: Output, at_ms: int) -> None:
        """Deliver a touch that a retired lane hands on to its new lane."""
        lane.outlook.last_ms = at_ms
        self._lane(lane.outlook.channel, output.partition).deliver(output.value or b"", at_ms)

    def _end(self, lane: LaneAtWork, campaign_id: str, state: State, at_ms: int) -> None:
        self.ended += 1
        lane.outlook.end(state, at_ms)
        self._campaigns[campaign_id].end(state, at_ms)

    def forecast(self) -> Forecast:
        """Return the result."""
        lanes = [lane for _, lane in sorted(self._lanes.items())]
        for lane in lanes:
            lane.outlook.is_done = not lane.is_busy
        are_all_done = all(lane.outlook.is_done for lane in lanes)
        for campaign in self._campaigns.values():
            # A touch that came twice, under two keys, is counted twice and ends once.
            campaign.is_done = are_all_done or campaign.ends.total() >= campaign.left
        outlooks = [lane.outlook for lane in lanes if lane.outlook.left or lane.outlook.ends]
        campaigns = sorted(self._campaigns.values(), key=attrgetter("name"))
        return Forecast(self._now_ms, self._until_ms, outlooks, campaigns, self._not_accepted)
