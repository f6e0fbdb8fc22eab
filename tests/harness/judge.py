"""The judge: holds the statuses against the sandbox's book, counts, and tells the whole story of what went wrong."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness.stack import Stack

TERMINAL = {"sent", "failed", "expired", "unconfirmed", "cancelled", "suppressed"}
CHANNELS = ("whatsapp", "email", "sms")
PROVIDER = {"whatsapp": "waha", "email": "resend", "sms": "twilio"}
COLUMNS = ("touches", "kills", "sent", "looked up", "questions", "unconfirmed", "failed", "lost", "twice")
NETWORK_MS = 250
"""A call that begins inside its window arrives so much later at most: both ends share two cores."""


class Judgement:
    """Figures per channel, and every wrong found."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.figures: dict[str, Counter[str]] = {channel: Counter() for channel in CHANNELS}
        self.wrongs: list[str] = []
        self._messages: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._at_ms: dict[str, int] = {}
        for message in stack.accepted():
            self._at_ms[message["id"]] = message["at_ms"]
            self._messages[message["provider"], message["text"]].append(message["id"])
        for touch_id, each in stack.produced.items():
            self._judge(touch_id, each)
        self._judge_strangers()
        self._judge_keys()
        for channel, figures in self.figures.items():
            figures["kills"] = stack.kills_of[channel]
            figures["questions"] = self._questions(channel)

    def demand_innocence(self) -> None:
        assert not self.wrongs, f"{len(self.wrongs)} wrongs:\n" + "\n".join(self.wrongs[:3])

    def demand_window(self, channel: str, closes_ms: int, opens_ms: int) -> None:
        """Nothing may arrive from `closes_ms` until `opens_ms`."""
        at = [arrival["at_ms"] for arrival in self.stack.arrivals(PROVIDER[channel])]
        outside = [each for each in at if closes_ms + NETWORK_MS <= each < opens_ms]
        if outside:
            self.wrongs.append(
                f"{channel}: {len(outside)} arrivals while closed, first {outside[0] - closes_ms} ms after the close"
            )

    def demand_limit(self, channel: str, rate: int, per_ms: int) -> None:
        """No stretch as long as `per_ms` may hold more than `rate` arrivals."""
        most = most_within([arrival["at_ms"] for arrival in self.stack.arrivals(PROVIDER[channel])], per_ms)
        self.figures[channel][f"most in {per_ms} ms"] = most
        if most > rate:
            self.wrongs.append(f"{channel}: {most} arrivals in {per_ms} ms, allowed are {rate}")

    def table(self, title: str) -> str:
        """Return the figures as people read them."""
        extra = sorted({name for figures in self.figures.values() for name in figures} - {*COLUMNS, *TERMINAL})
        names = [*COLUMNS, *extra]
        widths = [max(len(name), 6) for name in names]
        stack = self.stack
        lines = [
            f"{title}; kills {stack.kills}, ended by themselves {len(stack.exits)}",
            "  " + " " * 10 + "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)),
        ]
        for channel, figures in self.figures.items():
            if figures["touches"]:
                cells = "  ".join(f"{figures[name]:>{width}}" for name, width in zip(names, widths, strict=True))
                lines.append(f"  {channel:10}{cells}")
        return "\n".join(lines)

    def _judge(self, touch_id: str, each: dict[str, Any]) -> None:
        figures, story = self.figures[each["channel"]], self.stack.stories.get(touch_id, [])
        states = [status["state"] for status in story]
        ids = self._messages[PROVIDER[each["channel"]], each["body"]]
        figures["touches"] += 1
        figures["looked up"] += any(status["reason"] == "looking_up" for status in story)
        if not TERMINAL & set(states):
            figures["lost"] += 1
            self._wrong(touch_id, "no terminal status")
            return
        figures[states[-1]] += 1
        self._judge_story(touch_id, story, states)
        self._judge_messages(touch_id, story[-1], ids)

    def _judge_story(self, touch_id: str, story: list[dict[str, Any]], states: list[str]) -> None:
        checks = [
            ([status["sequence"] for status in story] != list(range(1, len(story) + 1)), "gap or repeat"),
            (sum(state in TERMINAL for state in states) != 1, "not one terminal"),
            (states[-1] not in TERMINAL, "something follows the terminal"),
            ("accepted" in states[1:], "accepted twice"),
        ]
        for is_wrong, what in checks:
            if is_wrong:
                self._wrong(touch_id, what)

    def _judge_messages(self, touch_id: str, end: dict[str, Any], ids: list[str]) -> None:
        figures = self.figures[self.stack.produced[touch_id]["channel"]]
        if len(ids) > 1:
            figures["twice"] += 1
            self._wrong(
                touch_id, f"accepted {len(ids)} times: {', '.join(f'{each} at {self._at_ms[each]}' for each in ids)}"
            )
        if end["state"] == "sent" and not ids:
            figures["lost"] += 1
            self._wrong(touch_id, "told to be sent, but never accepted")
        elif end["state"] == "sent" and end["provider_message_id"] not in ids:
            self._wrong(touch_id, f"told under the id {end['provider_message_id']}, accepted as {ids}")
        elif end["state"] not in {"sent", "unconfirmed"} and ids:
            self._wrong(touch_id, "accepted, but not told to be sent")

    def _judge_strangers(self) -> None:
        asked_for = {(PROVIDER[each["channel"]], each["body"]) for each in self.stack.produced.values()}
        strangers = [which for which, ids in self._messages.items() if ids and which not in asked_for]
        if strangers:
            self.wrongs.append(f"{len(strangers)} messages nobody asked for: {strangers[:3]}")

    def _judge_keys(self) -> None:
        """One Idempotency-Key, one payload: Resend answers 409 to anything else."""
        conflicts = [arrival for arrival in self.stack.arrivals("resend") if arrival["status"] == 409]
        if conflicts:
            self.wrongs.append(f"{len(conflicts)} requests under a key with another payload: {conflicts[:3]}")

    def _questions(self, channel: str) -> int:
        """Count how often the provider was asked; Resend by the same request again, under its key."""
        if channel != "email":
            return self.stack.asks().get(PROVIDER[channel], 0)
        keys = Counter(arrival["key"] for arrival in self.stack.arrivals("resend"))
        return sum(count - 1 for count in keys.values())

    def _wrong(self, touch_id: str, what: str) -> None:
        story = self.stack.stories.get(touch_id, [])
        lines = [
            f"  {s['sequence']} {s['state']}/{s['reason']} attempt={s['attempt']} {s['occurred_at']} "
            f"{s['provider_message_id']} {s['error']}"
            for s in story
        ]
        self.wrongs.append("\n".join([f"{touch_id}: {what}", *lines]))


def most_within(instants: list[int], per_ms: int) -> int:
    """Return the most instants in any half-open stretch of `per_ms`."""
    ordered = sorted(instants)
    return max((bisect_left(ordered, at + per_ms) - index for index, at in enumerate(ordered)), default=0)
