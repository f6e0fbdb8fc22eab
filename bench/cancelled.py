"""One campaign of ten is cancelled while a million touches are deferred: when the first is told, when all are, and that nobody else notices."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.site import now_ms, say
from tests.harness.operators import command
from tests.harness.stack import touch

if TYPE_CHECKING:
    from bench.site import Site

CAMPAIGNS = 10
SAMPLE, SAMPLE_PER_S = 4_500, 50
AHEAD_S = 25


class Told:
    """When the cancelled touches were seen in `touches.status`, seconds after the order."""

    def __init__(self, site: Site, wanted: int) -> None:
        self._site, self._wanted = site, wanted
        self._stories = 0
        self.cancelled: set[str] = set()
        self.first_s = self.all_s = 0.0
        self.since_ms = 0

    def is_over(self) -> bool:
        """Look at what is new; return whether all are told."""
        stories = self._site.stories
        for touch_id in list(stories)[self._stories :]:
            if stories[touch_id][-1]["state"] == "cancelled":
                self.cancelled.add(touch_id)
        self._stories = len(stories)
        at_s = (now_ms() - self.since_ms) / 1000
        if self.cancelled and not self.first_s:
            self.first_s = at_s
        self.all_s = at_s
        return len(self.cancelled) >= self._wanted


async def cancel_one_of_ten(site: Site, count: int) -> list[tuple[str, str, str]]:
    """Cancel campaign `c3` of `count` deferred touches while a sample comes due; return rows of the table."""
    await site.skip_to_now()
    first_ms = now_ms() + AHEAD_S * 1000
    sample = [
        touch("sms", 9_500_000 + n, campaign_id="sample", not_before=first_ms + n * 1000 // SAMPLE_PER_S)
        for n in range(SAMPLE)
    ]
    known = site.accepted_count()
    await site.pour(sample, judged=True)
    await site.wait_until_applied()
    await asyncio.sleep(max(0.0, (first_ms - now_ms()) / 1000))
    site.stories.clear()
    wanted = sum(n % CAMPAIGNS == 3 for n in range(count))
    told, cpu_s, began = Told(site, wanted), site.cpu_s(), time.monotonic()
    giving = asyncio.create_task(command(site, "cancel", "--campaign", "c3", "--note", "wrong list"))
    told.since_ms = now_ms()
    assert await site.follow(told.is_over, deadline_s=900), f"{len(told.cancelled):,} of {wanted:,} are cancelled"
    told_s, cpu_s = told.all_s, site.cpu_s() - cpu_s
    done = await giving
    assert done.code == 0, done.error
    shown = done.said
    say(f"in force: {shown['in_force']}, {shown['touches']} touches")
    late_s = (shown["at"] - told.since_ms) / 1000
    assert await site.follow(lambda: site.has_sent(sample), deadline_s=300)
    others = [each for each in site.stories if each not in told.cancelled and each not in site.produced]
    assert others == [], f"told although they were not cancelled: {others[:3]}"
    twice = [each for each in told.cancelled if len(site.stories[each]) != 1]
    assert twice == [], f"told more than once: {twice[:3]}"
    at = {message["text"]: message["at_ms"] for message in site.accepted(known)}
    errors = sorted(at[each["body"]] - each["not_before"] for each in sample)
    title = f"{wanted:,} of {count:,} deferred cancelled"
    return [
        (f"{title}: the first told after", f"{told.first_s - late_s:.1f} s", "<= 60 s"),
        (f"{title}: all told after", f"{told_s - late_s:.1f} s, {cpu_s:.1f} s of CPU", "<= 160 s"),
        (f"{title}: told twice, others told", "0, 0", "0, 0"),
        (
            f"{title}: wake-up error of {SAMPLE:,} others meanwhile, {SAMPLE_PER_S} a second",
            f"p50 {errors[len(errors) // 2]} ms, p99 {errors[len(errors) * 99 // 100]} ms, most {errors[-1]} ms",
            "p99 <= 1000 ms",
        ),
        (f"{title}: measured for", f"{time.monotonic() - began:.0f} s", ""),
    ]
