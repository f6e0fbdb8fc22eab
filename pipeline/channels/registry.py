"""Every channel, one row each. A channel's policy (`ChannelPolicy.spec`) carries its row to router, lanes and forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.channels.email.spec import SPEC as EMAIL
from pipeline.channels.sms.spec import SPEC as SMS
from pipeline.channels.whatsapp.spec import SPEC as WHATSAPP

if TYPE_CHECKING:
    from pipeline.domain.channel_spec import ChannelSpec
    from pipeline.domain.work import Channel

CHANNELS: Final[tuple[ChannelSpec, ...]] = (WHATSAPP, EMAIL, SMS)
SPECS: Final[Mapping[Channel, ChannelSpec]] = {spec.channel: spec for spec in CHANNELS}
