"""The context of a command: what the composition root passes to it, made when the command runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.domain.suppression import Covers
from pipeline.records.registry import RegistryAway
from pipeline.records.writing import single_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from pipeline.console.check.work import Desired
    from pipeline.domain.policy import ChannelPolicy
    from pipeline.domain.sender import Sender
    from pipeline.domain.work import Channel
    from pipeline.kafka.cluster import Cluster
    from pipeline.records.writing import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """What a command needs of the configuration, and of the outside."""

    cluster: Cluster
    create_topics: Callable[[], Awaitable[object]]
    """Creates the missing topics."""
    add_partitions: Callable[[], AsyncIterator[str]] | None
    """Adds the partitions that are configured and yields a line for each topic; None: `kafka.partitions_before` is not set."""
    read_status: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.status; raises UndecodableValue."""
    read_delivery: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.deliveries; raises UndecodableValue."""
    read_dead_letter: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.dead-letters; raises UndecodableValue."""
    read_touch: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches for display; damaged bytes can raise any exception."""
    desired: Callable[[], Desired]
    """Returns what `check` compares with; its senders are new and not opened."""
    policies: Mapping[Channel, ChannelPolicy]
    """The rules of each channel."""
    read_suppression: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.suppressions; raises UndecodableValue."""
    read_audit: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.audit; raises UndecodableValue."""
    writer: Callable[[], Writer]
    """Returns what encodes the entries of touches.suppressions and the records of touches.audit; raises RegistryAway."""
    privacy_key: bytes = field(repr=False)
    """Key of the address hashes; empty: they are unkeyed."""
    suppression_covers: Covers = Covers.PHONE
    """What an opt-out by SMS or WhatsApp concerns."""
    callback_partitions: int | None = None
    """Partitions of `touches.callbacks` that count; None: no sender's callbacks are on."""
    dedup_for_ms: int
    """Time for which an ended touch is remembered."""
    now_s: Callable[[], float]
    """Returns the time, epoch seconds."""
    sender_of: Callable[[Channel, str], Sender | None]
    """Returns the client of a configured sender, not opened; None for an unknown name."""

    def now_ms(self) -> int:
        """Return the time, epoch milliseconds."""
        return round(self.now_s() * 1000)

    def stopping_writer(self) -> Writer:
        """Return the writer of what stops touches. While the registry is away it is single objects.

        Every reader of ours takes them, and to stop must wait for nobody but Kafka and the workers.
        """
        try:
            return self.writer()
        except RegistryAway:
            return single_object
