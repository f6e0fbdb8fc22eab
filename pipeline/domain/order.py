"""An operator's order: a pause or a cancel of the touches that its target names. The pure value and its written form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from pipeline.domain.instant import FARTHEST_MS
from pipeline.domain.story import Reason
from pipeline.domain.work import Channel

ALL: Final = "all"
MEMBERS: Final = ("campaign", "channel", "sender", "lead", "touch")
"""The members of a target, in the order in which they are written."""
_NARROWEST_FIRST: Final = ("touch", "lead", "campaign", "sender", "channel")


class Action(StrEnum):
    """What an order does."""

    PAUSE = "pause"
    """No call begins until it is resumed, or until its `until`."""
    CANCEL = "cancel"
    """Every touch that was accepted up to `until` ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The touches that an order concerns: those for which every given member holds; or all. Raises ValueError."""

    campaign: str | None = None
    channel: Channel | None = None
    sender: str | None = None
    lead: str | None = None
    touch: str | None = None
    is_all: bool = False

    def __post_init__(self) -> None:
        """Refuse a target that names nothing, too much, or a sender without its channel."""
        named = self.named
        if "" in named.values():
            raise ValueError("a member of a target must not be empty")
        if self.is_all == bool(named):
            raise ValueError("all stands alone" if named else "a target names at least one member, or all")
        if self.sender is not None and self.channel is None:
            raise ValueError("a sender is named together with its channel")

    @property
    def named(self) -> dict[str, str]:
        """The given members with their values, in the order of writing; none for all."""
        found = {name: getattr(self, name) for name in MEMBERS}
        return {name: str(value) for name, value in found.items() if value is not None}

    @property
    def written(self) -> str:
        """The target as text, such as `campaign=spring;channel=sms`, or `all`; ids are percent-encoded UTF-8."""
        return ";".join(f"{name}={escaped_id(value)}" for name, value in self.named.items()) or ALL

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that `text` writes. Raises ValueError for any other text, and for any other way of writing it."""
        if text == ALL:
            return cls(is_all=True)
        found = dict(_member(each) for each in text.split(";"))
        target = cls.of(found)
        if target.written != text:
            raise ValueError(f"a target in another form than {target.written!r}")
        return target

    @classmethod
    def of(cls, named: Mapping[str, str], *, is_all: bool = False) -> Target:
        """Return the target with these members. Raises ValueError."""
        channel = named.get("channel")
        return cls(
            campaign=named.get("campaign"),
            channel=None if channel is None else Channel(channel),
            sender=named.get("sender"),
            lead=named.get("lead"),
            touch=named.get("touch"),
            is_all=is_all,
        )

    def matches(self, *, campaign_id: str, lead_id: str, touch_id: str, channel: str, sender: str) -> bool:
        """Return whether the target concerns this touch."""
        return (
            (self.campaign is None or self.campaign == campaign_id)
            and (self.lead is None or self.lead == lead_id)
            and (self.touch is None or self.touch == touch_id)
            and self.has_lane(channel, sender)
        )

    def has_lane(self, channel: str, sender: str) -> bool:
        """Return whether the target can concern a touch of this sender's lane."""
        return (self.channel is None or self.channel == channel) and (self.sender is None or self.sender == sender)

    def overlaps(self, other: Target) -> bool:
        """Return whether a touch can belong to both targets."""
        return all(other.named.get(name, value) == value for name, value in self.named.items())

    @property
    def holds_lane(self) -> bool:
        """Whether a pause of it holds lanes whole: it is made of all, channel and sender only."""
        return self.campaign is None and self.lead is None and self.touch is None

    @property
    def reason(self) -> Reason:
        """The reason of a touch that a cancel of this target ends: its narrowest member."""
        return Reason(next(name for name in _NARROWEST_FIRST if name in self.named))

    def as_json(self) -> dict[str, str] | str:
        """Return the target as JSON has it: its members, or "all"."""
        return self.named or ALL


def _member(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if name not in MEMBERS or not mark:
        raise ValueError(f"no member of a target: {text!r}")
    return name, unquote(value, errors="strict")


def escaped_id(text: str) -> str:
    """Return an id as keys write it: UTF-8, all but `A-Z a-z 0-9 - . _ ~` as `%XX`. Raises ValueError for lone surrogates."""
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class Order:
    """A pause or a cancel. Of several records under one key the latest counts. Instants are epoch milliseconds.

    Raises ValueError for a cancel of all, and for an instant after 2200.
    """

    action: Action
    target: Target
    _: KW_ONLY
    note: str
    """Why, in a human's words."""
    by: str
    """Who ordered it."""
    at_ms: int
    until_ms: int | None = None
    """Pause: when it ends by itself (None: when it is resumed); not after `at`: it is resumed. Cancel: which touches it takes."""

    def __post_init__(self) -> None:
        """Refuse what no command writes."""
        if self.action is Action.CANCEL and self.target.is_all:
            raise ValueError("all is for pauses: a cancel names what it ends")
        if not all(0 <= each <= FARTHEST_MS for each in (self.at_ms, self.until_ms or 0)):
            raise ValueError("an instant of an order must be before 2200")

    @property
    def key(self) -> str:
        """What identifies it: one key is one order."""
        return f"{self.action}:{self.target.written}"

    def is_over(self, now_ms: int, *, remembered_ms: int = 0) -> bool:
        """Return whether it concerns no touch any more.

        A pause is over at its `until`; whatever clocks say if that is not after its `at`, which is how it is resumed. A
        cancel is over `remembered_ms` (`dedup_for`) after its `until`: until then touches that it takes may wait.
        """
        if self.action is Action.CANCEL:
            return self.takes_until_ms + remembered_ms <= now_ms
        return self.until_ms is not None and (self.until_ms <= self.at_ms or self.until_ms <= now_ms)

    def is_forgotten(self, now_ms: int, *, remembered_ms: int) -> bool:
        """Return whether it was over `remembered_ms` (`dedup_for`) ago: its record may be deleted."""
        last_ms = max(self.at_ms, self.takes_until_ms)
        is_over = self.action is Action.CANCEL or self.is_over(now_ms)
        return is_over and last_ms + remembered_ms <= now_ms

    @property
    def takes_until_ms(self) -> int:
        """A cancel takes the touches that were accepted at this instant or before."""
        return self.at_ms if self.until_ms is None else self.until_ms

    def takes(self, accepted_ms: int) -> bool:
        """Return whether a cancel takes a touch of its target that was accepted then (0: an earlier version did not say)."""
        return self.action is Action.CANCEL and accepted_ms <= self.takes_until_ms


class PlacedOrder(NamedTuple):
    """An order and where it stands in `touches.control`: of several, the one at the lowest offset is the oldest."""

    offset: int
    order: Order
