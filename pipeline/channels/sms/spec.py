"""SMS as a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.channels.sms.callback import PATHS
from pipeline.channels.sms.sender import TwilioSender
from pipeline.domain.account import TwilioAccount
from pipeline.domain.channel_spec import ChannelSpec
from pipeline.domain.phone import normal_phone
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Channel

LONGEST_TEXT: Final = 1_600
"""Characters; Twilio error 21617."""
WINDOW_MARGIN_MS: Final = 5_000
"""Twilio advises a ValidityPeriod over 5 s (Messages resource), so a window's last 5 s count as closed."""


def _make_sender(
    account: TwilioAccount, policy: SenderPolicy, *, request_timeout_ms: int, now_ms: Callable[[], int]
) -> TwilioSender:
    del policy
    return TwilioSender(account, request_timeout_ms=request_timeout_ms, now_ms=now_ms)


def _compares_text(sender: SenderPolicy | None) -> bool:
    """Twilio accepts no message id from its client."""
    del sender
    return True


SPEC = ChannelSpec(
    channel=Channel.SMS,
    message="an SMS",
    provider="Twilio",
    own_host="api.twilio.com",
    normalise=normal_phone,
    longest_text=LONGEST_TEXT,
    replays=TwilioSender.replays,
    compares_text=_compares_text,
    window_margin_ms=WINDOW_MARGIN_MS,
    make_sender=_make_sender,
    opt_out_codes=frozenset({"21610"}),  # the recipient said STOP
    unreachable_codes=frozenset({"21211", "21614"}),  # no number; no mobile
    callback_paths=PATHS,
)
