"""Makes the domain's policy of a channel from the keys that were read."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pipeline.channels.registry import SPECS
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.work import Channel
from pipeline.settings.keys import AnyChannelKeys


def channel_policy(channel: Channel, keys: AnyChannelKeys) -> ChannelPolicy:
    """Return the policy of a channel: its keys, field by field of the same name, and its senders."""
    own: dict[str, Any] = {
        each.name: getattr(keys, each.name) for each in fields(ChannelPolicy) if each.name not in ("spec", "senders")
    }
    senders = tuple(each.policy(keys.daily_cap) for each in keys.senders)
    return ChannelPolicy(spec=SPECS[channel], senders=senders, **own)
