"""Which sender writes to whom: the same one always, and a new one takes over only its share."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from pipeline.domain.policy import SenderPolicy


def choose_sender(senders: Sequence[SenderPolicy], address: str) -> SenderPolicy:
    """Return the sender of `address` (case does not count) by rendezvous hashing (Thaler and Ravishankar, 1998).

    `senders` must not be empty.
    """
    if len(senders) == 1:
        return senders[0]
    key = address.casefold().encode()
    return max(senders, key=lambda sender: blake2b(key, key=sender.name.encode()[:64], digest_size=8).digest())
