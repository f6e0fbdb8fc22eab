"""E-mail as a channel."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.channels.email.callback import PATHS
from pipeline.channels.email.sender import ResendSender
from pipeline.domain.account import ResendAccount
from pipeline.domain.channel_spec import ChannelSpec
from pipeline.domain.mailbox import normal_email
from pipeline.domain.phone import PhoneCheck
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Channel


def _make_sender(
    account: ResendAccount, policy: SenderPolicy, *, request_timeout_ms: int, now_ms: Callable[[], int]
) -> ResendSender:
    return ResendSender(account, policy.addresses, request_timeout_ms=request_timeout_ms, now_ms=now_ms)


def _normalise(text: str, *, region: str | None, numbers: PhoneCheck) -> str:
    del region, numbers
    return normal_email(text)


def _compares_text(sender: SenderPolicy | None) -> bool:
    """Resend is asked by the Idempotency-Key."""
    del sender
    return False


SPEC = ChannelSpec(
    channel=Channel.EMAIL,
    message="an e-mail",
    provider="Resend",
    own_host="api.resend.com",
    normalise=_normalise,
    longest_text=None,
    replays=ResendSender.replays,
    compares_text=_compares_text,
    window_margin_ms=0,
    make_sender=_make_sender,
    callback_paths=PATHS,
)
