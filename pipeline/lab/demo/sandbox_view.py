"""What the sandbox accepted, as the other side of every story."""

from __future__ import annotations

import httpx

CHANNEL_OF = {"waha": "whatsapp", "resend": "email", "twilio": "sms"}


def accepted_ids(sandbox: str) -> dict[str, frozenset[str]]:
    """Return the ids of the accepted messages by channel."""
    messages = httpx.get(f"{sandbox}/control/accepted").raise_for_status().json()
    return {
        channel: frozenset(each["id"] for each in messages if each["provider"] == provider)
        for provider, channel in CHANNEL_OF.items()
    }
