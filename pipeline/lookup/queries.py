"""What the look-up copy answers. Each answer takes some milliseconds and is synchronous: no record comes in meanwhile."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from pipeline.lookup import keys
from pipeline.lookup.control_queries import ControlQueries
from pipeline.lookup.draft import campaign_touches, count_of, touch_key
from pipeline.lookup.letter_queries import LetterQueries
from pipeline.lookup.paging import PAGE, BadCursor, Listing, Page, chosen
from pipeline.lookup.touch_index import MINUTE_MS
from pipeline.lookup.touch_row import decode_touch, summary, timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.lookup.draft import Rows
    from pipeline.lookup.freshness import Freshness

__all__ = ["PAGE", "BadCursor", "LookupCopy", "Page"]


class LookupCopy(LetterQueries, ControlQueries):
    """The copy of one web process. Instants are integer epoch milliseconds, absent values are None.

    Lists are paged by key: what stands still between two pages is given exactly once; a touch that gets a new record
    moves to the front. Every list raises BadCursor for an `after` that is none of its own. Raises StoreFailed when the
    folder is damaged.
    """

    def __init__(self, rows: Rows, freshness: Freshness) -> None:
        """Answer from `rows`, which the projector writes."""
        super().__init__(rows)
        self._freshness = freshness

    @property
    def as_of_ms(self) -> int:
        """All that was committed before is in the copy; 0 until the first reading has come to its end."""
        return self._freshness.as_of_ms

    @property
    def lag_records(self) -> int:
        """Offsets between what is read and the ends as they were seen last (markers of transactions count, too)."""
        return self._freshness.lag_records

    @property
    def lag_s(self) -> float:
        """Age of `as_of_ms` in seconds; `keep` until there is one."""
        return self._freshness.lag_s

    def touch(self, touch_id: str) -> dict[str, Any] | None:
        """Return one touch, None if the copy does not have it.

        Members: `touch_id` `campaign_id` `lead_id` `channel` `sender` `recipient` `state` `reason` (of the latest status;
        `sender` and `recipient` the last known) `outcome` `occurred_at` (of the latest status) `statuses` `deliveries`.
        `outcome` is the first of complained, bounced, suppressed_by_provider, undelivered, replied, clicked, opened, read,
        delivered, delayed that was told, or None. `statuses` has the members of schemas/status.avsc, `deliveries` those of
        schemas/delivery.avsc, each list in the order of its topic. A touch of which only deliveries are left (its statuses
        are older than their topic keeps them) has state, reason and occurred_at None and no statuses.
        """
        value = self._rows.get(touch_key(touch_id))
        if value is None:
            return None
        row = decode_touch(value)
        return {**summary(touch_id, row), **timeline(touch_id, row)}

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
        if sum(each is not None for each in (lead, campaign, recipient, message)) != 1:
            raise ValueError("one of lead, campaign, recipient and message is needed")
        listing = Listing("touches", lead, campaign, recipient, message, state)
        start = listing.start(after)
        if campaign is not None:
            rows = self._of_campaign(campaign, state, start)
        else:
            given = ((keys.OF_LEAD, lead), (keys.OF_RECIPIENT, recipient), (keys.OF_MESSAGE, message))
            prefix = next(tag + keys.name(name) for tag, name in given if name is not None)
            rows = chosen(self._rows.rows(prefix, start), None if state is None else state.encode())
        found, following = listing.page(((key, key) for key, _ in rows), limit)
        return [self._listed(key[keys.INSTANT_BYTES :]) for key in found], following

    def _of_campaign(self, campaign: str, state: str | None, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows of a campaign's touches, merged from the lists of their states."""
        of_campaign = keys.OF_STATE + keys.name(campaign)
        states = self._states_of(campaign) if state is None else [state]
        return heapq.merge(*(self._rows.rows(of_campaign + keys.name(each), start) for each in states))

    def _states_of(self, campaign: str) -> list[str]:
        """Return the states in which a campaign has touches."""
        rows = self._rows.rows(keys.COUNT + keys.name(campaign) + keys.BY_STATE)
        return sorted({keys.names(key)[1] for key, _ in rows})

    def _listed(self, touch: bytes) -> dict[str, Any]:
        value = self._rows.get(keys.TOUCH + touch)
        assert value is not None, "a touch that is listed has a row: both are written at once"
        return summary(touch.decode(errors="surrogatepass"), decode_touch(value))

    def campaigns(self, limit: int = PAGE, after: str | None = None) -> Page:
        """Return the campaigns, that with the latest status first. Members: `campaign_id` `touches` `occurred_at`."""
        listing = Listing("campaigns")
        rows = self._rows.rows(keys.CAMPAIGN, listing.start(after))
        found, following = listing.page(((key, key) for key, _ in rows), limit)
        return [self._campaign_listed(key) for key in found], following

    def _campaign_listed(self, key: bytes) -> dict[str, Any]:
        campaign_id = key[keys.INSTANT_BYTES :].decode(errors="surrogatepass")
        return {
            "campaign_id": campaign_id,
            "touches": count_of(self._rows.get(campaign_touches(campaign_id))),
            "occurred_at": keys.at_of(key[: keys.INSTANT_BYTES]),
        }

    def campaign(self, campaign_id: str) -> dict[str, Any] | None:
        """Return the counts of a campaign, None if the copy has no touch of it.

        Members: `campaign_id`, `touches`, and the lists `states` (of `channel` `state` `reason` `touches`, by the latest
        status), `kinds` (of `channel` `kind` `touches`: touches of which this was told), `hours` (of `hour` `channel`
        `state` `touches`: by the hour, in epoch ms, in which the latest status occurred; each touch counts in one).
        """
        touches = count_of(self._rows.get(campaign_touches(campaign_id)))
        if not touches:
            return None
        prefix = keys.COUNT + keys.name(campaign_id)
        states = [(keys.names(key), value) for key, value in self._rows.rows(prefix + keys.BY_STATE)]
        kinds = [(keys.names(key), value) for key, value in self._rows.rows(prefix + keys.BY_KIND)]
        hours = list(self._rows.rows(prefix + keys.BY_HOUR))
        size = keys.INSTANT_BYTES
        return {
            "campaign_id": campaign_id,
            "touches": touches,
            "states": [
                {"channel": channel, "state": state, "reason": reason or None, "touches": count_of(value)}
                for (channel, state, reason), value in states
            ],
            "kinds": [
                {"channel": channel, "kind": kind, "touches": count_of(value)} for (channel, kind), value in kinds
            ],
            "hours": [
                {"hour": int.from_bytes(key[:size]), "channel": channel, "state": state, "touches": count_of(value)}
                for key, value in hours
                for channel, state in (keys.names(key[size:]),)
            ],
        }

    def sends(self, since_ms: int) -> list[dict[str, Any]]:
        """Return how many touches were sent in each minute from that of `since_ms` on, the oldest first.

        Members: `minute` (its first epoch ms) `channel` `sender` `touches`; minutes without any are left out.
        """
        size, first = keys.INSTANT_BYTES, keys.instant(since_ms - since_ms % MINUTE_MS)
        return [
            {"minute": int.from_bytes(key[:size]), "channel": channel, "sender": sender, "touches": count_of(value)}
            for key, value in self._rows.rows(keys.SENT, first)
            for channel, sender in (keys.names(key[size:]),)
        ]
