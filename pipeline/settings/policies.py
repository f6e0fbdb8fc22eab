"""Makes the domain's policies and the providers' accounts of the keys that were read."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime
from typing import Any

from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.policy import ChannelPolicy, SenderPolicy
from pipeline.domain.work import Channel
from pipeline.secret import Address
from pipeline.settings.keys import AnyChannelKeys
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys


def channel_policy(channel: Channel, keys: AnyChannelKeys) -> ChannelPolicy:
    """Return the policy of a channel: its keys, field by field of the same name, and its senders."""
    own: dict[str, Any] = {
        each.name: getattr(keys, each.name) for each in fields(ChannelPolicy) if each.name not in ("channel", "senders")
    }
    senders = tuple(_sender_policy(each, keys.daily_cap) for each in keys.senders)
    return ChannelPolicy(channel=channel, senders=senders, **own)


def _sender_policy(keys: WahaKeys | ResendKeys | TwilioKeys, cap: int | None) -> SenderPolicy:
    policy = SenderPolicy(
        keys.name,
        keys.lane or 0,
        started_on_ms=_midnight_ms(keys.started_on),
        is_enabled=keys.enabled,
        daily_cap=keys.daily_cap or cap,
    )
    match keys:
        case WahaKeys():
            return replace(policy, addresses=(keys.session,), engine=keys.engine)
        case ResendKeys():
            return replace(policy, addresses=keys.from_)
        case TwilioKeys():
            address = keys.from_ or keys.messaging_service_sid or ""
            return replace(policy, addresses=(address,), status_callback=_url_of(keys.status_callback))


def _url_of(address: Address | None) -> str | None:
    return None if address is None else address.url


def _midnight_ms(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def waha_account(keys: WahaKeys) -> WahaAccount:
    """Return what the WAHA client needs."""
    return WahaAccount(keys.session, keys.base_url, keys.api_key, keys.engine)


def resend_account(keys: ResendKeys) -> ResendAccount:
    """Return what the Resend client needs."""
    return ResendAccount(keys.api_key, keys.base_url)


def twilio_account(keys: TwilioKeys) -> TwilioAccount:
    """Return what the Twilio client needs."""
    return TwilioAccount(
        keys.account_sid, keys.auth_token, keys.from_, keys.messaging_service_sid, keys.base_url, keys.status_callback
    )
