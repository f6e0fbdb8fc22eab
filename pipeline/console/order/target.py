"""The target of an order, as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

import click
from faust.cli.base import option

from pipeline.domain.order import Target
from pipeline.domain.rules import is_name, is_touch_id
from pipeline.domain.work import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.domain.policy import ChannelPolicy

TARGET_OPTIONS: Final[list[Any]] = [
    option("--all", "is_all", is_flag=True, help="Everything (not with cancel)."),
    option("--campaign", default=None, metavar="ID", help="Touches of this campaign."),
    option(
        "--channel", default=None, type=click.Choice([str(each) for each in Channel]), help="Touches of this channel."
    ),
    option("--sender", default=None, metavar="NAME", help="Touches of this sender of the channel."),
    option("--lead", default=None, metavar="ID", help="Touches for this person."),
    option("--touch", default=None, metavar="ID", help="This touch."),
]


class TypedTarget(TypedDict):
    """The options of a target."""

    is_all: bool
    campaign: str | None
    channel: str | None
    sender: str | None
    lead: str | None
    touch: str | None


def target_of(typed: TypedTarget, ctx: click.Context) -> Target:
    """Return the target that was typed. Raises UsageError."""
    try:
        named = {name: value for name, value in typed.items() if isinstance(value, str)}
        return checked_target(named, is_all=typed["is_all"], mark="--")
    except ValueError as error:
        raise click.UsageError(f"{error} (--all, --campaign, --channel, --sender, --lead, --touch)", ctx) from None


def checked_target(named: Mapping[str, str], *, is_all: bool, mark: str = "") -> Target:
    """Return the target with these members. Raises ValueError; `mark` stands before the names of members there."""
    for name in ("campaign", "sender", "lead"):
        if name in named and not is_name(named[name]):
            raise ValueError(f"{mark}{name} must be 1 to 256 characters, none a control character")
    if "touch" in named and not is_touch_id(named["touch"]):
        raise ValueError(f"{mark}touch must be 1 to 128 of A-Z a-z 0-9 . _ : -")
    target = Target.of(named, is_all=is_all)
    target.written.encode()
    return target


def check_sender(target: Target, policies: Mapping[Channel, ChannelPolicy], ctx: click.Context) -> None:
    """Raise UsageError if the target names a sender that the channel does not have."""
    if (fault := sender_fault(target, policies)) is not None:
        raise click.UsageError(fault, ctx)


def sender_fault(target: Target, policies: Mapping[Channel, ChannelPolicy]) -> str | None:
    """Return what is wrong with the sender of a target, or None."""
    if target.channel is None or target.sender is None:
        return None
    known = [each.name for each in policies[target.channel].senders]
    if target.sender in known:
        return None
    return f"{target.channel} has no sender {target.sender!r}; it has {', '.join(known) or 'none, it is off'}"


def lanes_of(target: Target, policies: Mapping[Channel, ChannelPolicy]) -> list[str]:
    """Return the lanes that the target concerns, as `<channel>/<sender>`: those of configured senders that it can match."""
    return [
        f"{channel}/{sender.name}"
        for channel, policy in policies.items()
        for sender in policy.senders
        if target.has_lane(channel, sender.name)
    ]
