"""What the look-up copy answers. Each answer takes some milliseconds and is synchronous: no record comes in meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.domain.order import PlacedOrder
    from pipeline.records.lane_report import LaneReport

PAGE: Final = 100
"""Most rows of a page."""

Page = tuple[list[dict[str, Any]], str | None]
"""The rows, newest first, and what gives the next page as `after`; None: there is none."""


class BadCursor(ValueError):
    """An `after` that no page of this list gave."""


class LookupCopy:
    """The copy of one web process. Instants are integer epoch milliseconds, absent values are None.

    Lists are paged by key: what stands still between two pages is given exactly once; a touch that gets a new record
    moves to the front. Every list raises BadCursor for an `after` that is none of its own.
    """

    @property
    def as_of_ms(self) -> int:
        """All that was committed before is in the copy; 0 until the first reading has come to its end."""
        raise NotImplementedError

    @property
    def lag_records(self) -> int:
        """Offsets between what is read and the ends as they were seen last (markers of transactions count, too)."""
        raise NotImplementedError

    @property
    def lag_s(self) -> float:
        """Age of `as_of_ms` in seconds; `keep` until there is one."""
        raise NotImplementedError

    def touch(self, touch_id: str) -> dict[str, Any] | None:
        """Return one touch, None if the copy does not have it.

        Members: `touch_id` `campaign_id` `lead_id` `channel` `sender` `recipient` `state` `reason` (of the latest status;
        `sender` and `recipient` the last known) `outcome` `occurred_at` (of the latest status) `statuses` `deliveries`.
        `outcome` is the first of complained, bounced, suppressed_by_provider, undelivered, replied, clicked, opened, read,
        delivered, delayed that was told, or None. `statuses` has the members of schemas/status.avsc, `deliveries` those of
        schemas/delivery.avsc, each list in the order of its topic. A touch of which only deliveries are left (its statuses
        are older than their topic keeps them) has state, reason and occurred_at None and no statuses.
        """
        raise NotImplementedError

    def touches(
        self,
        *,
        lead: str | None = None,
        campaign: str | None = None,
        recipient: str | None = None,
        message: str | None = None,
        state: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Page:
        """Return the touches of a lead, a campaign, a recipient (hash of the address) or with a provider's message id.

        `state`: only those whose latest status has it. Newest first, by `occurred_at` of the latest status. Members:
        `touch_id` `campaign_id` `lead_id` `channel` `sender` `recipient` `state` `reason` `outcome` `occurred_at`.
        Raises ValueError unless exactly one of the first four is given.
        """
        raise NotImplementedError

    def campaigns(self, limit: int = PAGE, after: str | None = None) -> Page:
        """Return the campaigns, that with the latest status first. Members: `campaign_id` `touches` `occurred_at`."""
        raise NotImplementedError

    def campaign(self, campaign_id: str) -> dict[str, Any] | None:
        """Return the counts of a campaign, None if the copy has no touch of it.

        Members: `campaign_id`, `touches`, and the lists `states` (of `channel` `state` `reason` `touches`, by the latest
        status), `kinds` (of `channel` `kind` `touches`: touches of which this was told), `hours` (of `hour` `channel`
        `state` `touches`: by the hour, in epoch ms, in which the latest status occurred; each touch counts in one).
        """
        raise NotImplementedError

    def dead_letters(
        self, *, reason: str | None = None, limit: int = PAGE, after: str | None = None, is_unmasked: bool = False
    ) -> Page:
        """Return dead letters, newest first; with `reason`, those with it.

        Members: those of schemas/dead_letter.avsc, `partition` and `offset` (in `touches.dead-letters`). `key`, `value`
        (bytes) and `headers` (list of `name` `value`) are None unless `is_unmasked`.
        """
        raise NotImplementedError

    def dead_letter(self, partition: int, offset: int, *, is_unmasked: bool = False) -> dict[str, Any] | None:
        """Return the dead letter at a position, with the same members; None if there is none."""
        raise NotImplementedError

    def unconfirmed(self, limit: int = PAGE, after: str | None = None, *, is_unmasked: bool = False) -> Page:
        """Return the touches that ended unconfirmed, newest first by when they did, each as it was told last.

        Members, those of `unconfirmed list` with `--json`: `touch_id` `campaign_id` `lead_id` `channel` `sender` `to` (None
        unless `is_unmasked`) `occurred_at` `error` `error_code` `claimed_at` `resolution` `resolved_at`
        `provider_message_id` `resent_as`.
        """
        raise NotImplementedError

    def unconfirmed_touch(self, touch_id: str, *, is_unmasked: bool = False) -> dict[str, Any] | None:
        """Return one of them, with the same members; None if it has not ended unconfirmed."""
        raise NotImplementedError

    def audit(self, limit: int = PAGE, after: str | None = None) -> Page:
        """Return the audit, the last record first. Members: those of schemas/audit.avsc."""
        raise NotImplementedError

    def orders(self) -> list[PlacedOrder]:
        """Return the latest order under each key, the last one first; those that are over, too."""
        raise NotImplementedError

    def suppressions(
        self, *, recipient: str | None = None, lead: str | None = None, limit: int = PAGE, after: str | None = None
    ) -> Page:
        """Return the entries in effect, the last one first; with `recipient` (address hash) or `lead`, those for it.

        Members: those of schemas/suppression.avsc, `key` and `offset`. Raises ValueError if both are given.
        """
        raise NotImplementedError

    def suppression(self, key: str) -> dict[str, Any] | None:
        """Return the entry under a key, with the same members; None if there is none."""
        raise NotImplementedError

    def lanes(self) -> dict[str, LaneReport]:
        """Return the latest report of each lane by `<channel>/<sender>`."""
        raise NotImplementedError
