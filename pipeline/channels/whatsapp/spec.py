"""WhatsApp as a channel."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.channels.whatsapp.callback import PATHS
from pipeline.channels.whatsapp.sender import WahaSender
from pipeline.domain.account import WahaAccount
from pipeline.domain.channel_spec import ChannelSpec
from pipeline.domain.phone import normal_phone
from pipeline.domain.sender_policy import OWN_IDS, SenderPolicy
from pipeline.domain.work import Channel


def _make_sender(
    account: WahaAccount, policy: SenderPolicy, *, request_timeout_ms: int, now_ms: Callable[[], int]
) -> WahaSender:
    del policy
    return WahaSender(account, request_timeout_ms=request_timeout_ms, now_ms=now_ms)


def _compares_text(sender: SenderPolicy | None) -> bool:
    """Some engines accept no message id from their client."""
    return sender is not None and sender.engine not in OWN_IDS


SPEC = ChannelSpec(
    channel=Channel.WHATSAPP,
    message="a WhatsApp message",
    provider="WAHA",
    own_host=None,
    normalise=normal_phone,
    longest_text=None,
    replays=WahaSender.replays,
    compares_text=_compares_text,
    window_margin_ms=0,
    make_sender=_make_sender,
    callback_paths=PATHS,
)
