"""Mutants of what is watched: reports of lanes, their gauges, why a touch waits, log lines as objects."""

from __future__ import annotations

TOLD = "tests/unit/stages/lane/test_told.py"
GLANCE = "tests/unit/stages/lane/test_glance.py"
WAITS = "tests/unit/lookup/test_waits.py"
LINES = "tests/unit/test_log_lines.py"
SCHEDULE = "tests/unit/stages/test_schedule.py"
METRICS = "tests/unit/test_metrics.py"
WATCHING = [
    (
        "watch: a lane tells in every step",
        "pipeline/stages/lane/told.py",
        "TELL_MS: Final = 5_000",
        "TELL_MS: Final = 0",
        TOLD,
    ),
    (
        "watch: a lane never says that it is still so",
        "pipeline/stages/lane/told.py",
        "(is_busy and now_ms >= index.told_ms + STILL_MS)",
        "False",
        TOLD,
    ),
    (
        "watch: a change within the rest is never told",
        "pipeline/stages/lane/told.py",
        "        step.tell_ms = index.told_ms + TELL_MS\n        return",
        "        return",
        TOLD,
    ),
    (
        "watch: the end of the window is not told",
        "pipeline/stages/lane/told.py",
        "None if isinstance(hours, Never) else hours.until_ms",
        "None",
        TOLD,
    ),
    (
        "watch: how far a lane obeys waits for its turn",
        "pipeline/stages/lane/told.py",
        "    is_obeying = index.obeys_told == known",
        "    is_obeying = index.obeys_told is not None",
        TOLD,
    ),
    (
        "watch: the oldest touch is the first one",
        "pipeline/stages/lane/glance.py",
        "for begin in (start, behind) if start < behind else (start,):",
        "for begin in (start,):",
        GLANCE,
    ),
    (
        "watch: other priorities are not looked at",
        "pipeline/stages/lane/glance.py",
        "for priority in range(PRIORITIES):",
        "for priority in (5,):",
        GLANCE,
    ),
    (
        "watch: a touch is due before its window",
        "pipeline/stages/lane/glance.py",
        "return first_open_ms_of(config.policy, work, first_ms) if work.accepted_ms else None",
        "return first_ms if work.accepted_ms else None",
        GLANCE,
    ),
    (
        "watch: rows that come while others are counted count twice",
        "pipeline/stages/row_count.py",
        "if self._next is None or key < self._next}",
        "}",
        SCHEDULE,
    ),
    (
        "watch: what is handed back is still deferred",
        "pipeline/stages/row_count.py",
        "len(known) - 2 * list(known.values()).count(None)",
        "len(known) - list(known.values()).count(None)",
        SCHEDULE,
    ),
    (
        "watch: a lane that moved is still shown",
        "pipeline/metrics.py",
        "        self._lanes.pop((channel, sender), None)\n",
        "",
        METRICS,
    ),
    (
        "watch: an order that is over holds a touch",
        "pipeline/lookup/waits.py",
        "        and not each.order.is_over(now_ms)\n",
        "",
        WAITS,
    ),
    (
        "watch: an order holds what is looked up",
        "pipeline/lookup/waits.py",
        "    if reason == Reason.LOOKING_UP and (is_later or is_asked):",
        "    if reason == Reason.LOOKING_UP and False:",
        WAITS,
    ),
    (
        "watch: the first of several pauses ends the wait",
        "pipeline/lookup/waits.py",
        "until_ms = None if None in ends else max(each for each in ends if each is not None)",
        "until_ms = min((each for each in ends if each is not None), default=None)",
        WAITS,
    ),
    (
        "watch: an exception is written as it is",
        "pipeline/log_lines.py",
        '            record.exc_text = self.formatException(record.exc_info)\n        if record.exc_text:\n            line["exception"] = record.exc_text',
        '            line["exception"] = self.formatException(record.exc_info)',
        LINES,
    ),
    (
        "watch: a lone surrogate ends the logging",
        "pipeline/log_lines.py",
        'text.encode(errors="replace").decode()',
        "text",
        LINES,
    ),
]
