"""What the copy answers about dead letters, unconfirmed touches and the audit."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.lookup import keys
from pipeline.lookup.letter_rows import decode_letter, decode_raw, decode_unconfirmed_row
from pipeline.lookup.paging import PAGE, Listing, Page

if TYPE_CHECKING:
    from pipeline.lookup.draft import Rows


class LetterQueries:
    """Answers from the rows that `letter_rows` writes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def dead_letters(
        self, *, reason: str | None = None, limit: int = PAGE, after: str | None = None, is_unmasked: bool = False
    ) -> Page:
        """Return dead letters, newest first; with `reason`, those with it.

        Members: those of schemas/dead_letter.avsc, `partition` and `offset` (in `touches.dead-letters`). `key`, `value`
        (bytes) and `headers` (list of `name` `value`) are None unless `is_unmasked`.
        """
        listing = Listing("dead letters", reason)
        start = listing.start(after)
        reasons = self._reasons() if reason is None else [reason]
        rows = heapq.merge(*(self._rows.rows(keys.DEAD_OF_REASON + keys.name(each), start) for each in reasons))
        found, following = listing.page(((key, key) for key, _ in rows), limit)
        letters = [self._letter(key[keys.INSTANT_BYTES :], is_unmasked=is_unmasked) for key in found]
        return [each for each in letters if each is not None], following

    def dead_letter(self, partition: int, offset: int, *, is_unmasked: bool = False) -> dict[str, Any] | None:
        """Return the dead letter at a position, with the same members; None if there is none."""
        try:
            return self._letter(keys.place(partition, offset), is_unmasked=is_unmasked)
        except OverflowError:
            return None

    def _reasons(self) -> list[str]:
        return [keys.names(key)[0] for key, _ in self._rows.rows(keys.DEAD_REASON)]

    def _letter(self, place: bytes, *, is_unmasked: bool) -> dict[str, Any] | None:
        value = self._rows.get(keys.DEAD + place)
        if value is None:
            return None
        letter = decode_letter(value)
        raw = decode_raw(self._rows.get(keys.DEAD_RAW + place) or b"") if is_unmasked else None
        partition, offset = keys.place_of(place)
        return {
            **{each: getattr(letter, each) for each in letter.__struct_fields__},
            "key": None if raw is None else raw.key,
            "value": None if raw is None else raw.value,
            "headers": None if raw is None else [{"name": name, "value": said} for name, said in raw.headers],
            "partition": partition,
            "offset": offset,
        }

    def unconfirmed(self, limit: int = PAGE, after: str | None = None, *, is_unmasked: bool = False) -> Page:
        """Return the touches that ended unconfirmed, newest first by when they did, each as it was told last.

        Members, those of `unconfirmed list` with `--json`: `touch_id` `campaign_id` `lead_id` `channel` `sender` `to` (None
        unless `is_unmasked`) `occurred_at` `error` `error_code` `claimed_at` `resolution` `resolved_at`
        `provider_message_id` `resent_as`.
        """
        listing = Listing("unconfirmed")
        rows = self._rows.rows(keys.UNCONFIRMED_NEWEST, listing.start(after))
        found, following = listing.page(((key, key) for key, _ in rows), limit)
        told = [self._unconfirmed(key[keys.INSTANT_BYTES :], is_unmasked=is_unmasked) for key in found]
        return [each for each in told if each is not None], following

    def _unconfirmed(self, touch: bytes, *, is_unmasked: bool) -> dict[str, Any] | None:
        value = self._rows.get(keys.UNCONFIRMED + touch)
        if value is None:
            return None
        told = decode_unconfirmed_row(value).told
        return told if is_unmasked else {**told, "to": None}

    def audit(self, limit: int = PAGE, after: str | None = None) -> Page:
        """Return the audit, the last record first. Members: those of schemas/audit.avsc."""
        listing = Listing("audit")
        found, following = listing.page(self._rows.rows(keys.AUDIT, listing.start(after)), limit)
        return [msgspec.msgpack.decode(value) for value in found], following
