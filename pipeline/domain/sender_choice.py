"""Chooses the sender of an address: always the same one; a new sender takes over only its share of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import Reason


@dataclass(frozen=True, slots=True)
class NoSender:
    """No sender can send the touch."""

    reason: Reason
    error: str


def find_sender(policy: ChannelPolicy, pinned: str | None, address: str) -> SenderPolicy | NoSender:
    """Return the sender of a new touch to `address`: the one it pins by name, else the one chosen for the address."""
    if not policy.senders:
        return NoSender(Reason.CHANNEL_OFF, f"no sender is configured for {policy.channel}")
    if pinned is None:
        if not policy.takers:
            return NoSender(Reason.CHANNEL_OFF, f"every sender of {policy.channel} is disabled")
        return choose_sender(policy.takers, address)
    found = policy.sender_named(pinned)
    if found is None:
        names = ", ".join(each.name for each in policy.senders)
        return NoSender(Reason.UNKNOWN_SENDER, f"no sender is called {pinned!r}; there is: {names}")
    return found if found.is_enabled else NoSender(Reason.UNKNOWN_SENDER, f"sender {pinned!r} is disabled")


def choose_sender(senders: Sequence[SenderPolicy], address: str) -> SenderPolicy:
    """Return the sender of `address` (case does not count) by rendezvous hashing (Thaler and Ravishankar, 1998).

    `senders` must not be empty.
    """
    if len(senders) == 1:
        return senders[0]
    key = address.casefold().encode()
    return max(senders, key=lambda sender: blake2b(key, key=sender.name.encode()[:64], digest_size=8).digest())
