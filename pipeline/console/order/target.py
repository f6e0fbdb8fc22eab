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
        _check_ids(typed)
        named = {name: value for name, value in typed.items() if isinstance(value, str)}
        target = Target.of(named, is_all=typed["is_all"])
        target.written.encode()
    except ValueError as error:
        raise click.UsageError(f"{error} (--all, --campaign, --channel, --sender, --lead, --touch)", ctx) from None
    return target


def _check_ids(typed: TypedTarget) -> None:
    for name in ("campaign", "sender", "lead"):
        value = typed[name]
        if value is not None and not is_name(value):
            raise ValueError(f"--{name} must be 1 to 256 characters, none a control character")
    if typed["touch"] is not None and not is_touch_id(typed["touch"]):
        raise ValueError("--touch must be 1 to 128 of A-Z a-z 0-9 . _ : -")


def check_sender(target: Target, policies: Mapping[Channel, ChannelPolicy], ctx: click.Context) -> None:
    """Raise UsageError if the target names a sender that the channel does not have."""
    if target.channel is None or target.sender is None:
        return
    known = [each.name for each in policies[target.channel].senders]
    if target.sender not in known:
        raise click.UsageError(
            f"{target.channel} has no sender {target.sender!r}; it has {', '.join(known) or 'none, it is off'}", ctx
        )


def lanes_of(target: Target, policies: Mapping[Channel, ChannelPolicy]) -> list[str]:
    """Return the lanes that the target concerns, as `<channel>/<sender>`: those of configured senders that it can match."""
    return [
        f"{channel}/{sender.name}"
        for channel, policy in policies.items()
        for sender in policy.senders
        if target.has_lane(channel, sender.name)
    ]
