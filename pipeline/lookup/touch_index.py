"""What follows from a touch's row: the keys it is found by, and where it counts. Nothing else decides about either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.domain.story import State
from pipeline.lookup import keys

if TYPE_CHECKING:
    from pipeline.lookup.touch_row import Latest, TouchRow

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000


def index_of(touch_id: str, row: TouchRow, said: Latest | None) -> dict[bytes, bytes]:
    """Return the rows by which a touch is found; `said` is what its latest status says."""
    touch = touch_id.encode(errors="surrogatepass")
    found = {keys.LEAVES + keys.instant(row.leaves_ms) + touch: b""}
    if said is None:
        return found
    state, at = said.state.encode(errors="surrogatepass"), keys.newest(said.occurred_at) + touch
    found[keys.OF_STATE + keys.name(said.campaign_id) + keys.name(said.state) + at] = b""
    found[keys.OF_LEAD + keys.name(said.lead_id) + at] = state
    if said.recipient is not None:
        found[keys.OF_RECIPIENT + keys.name(said.recipient) + at] = state
    told = [each.provider_message_id for each in row.statuses]
    told += [each.provider_message_id for each in row.deliveries]
    for message in told:
        if message is not None:
            found[keys.OF_MESSAGE + keys.name(message) + at] = state
    return found


def counts_of(row: TouchRow, said: Latest | None) -> list[bytes]:
    """Return the counters in which a touch counts as one; `said` is what its latest status says."""
    if said is None:
        return []
    campaign, channel = keys.COUNT + keys.name(said.campaign_id), keys.name(said.channel)
    state = keys.name(said.state)
    hour = keys.instant(said.occurred_at - said.occurred_at % HOUR_MS)
    counts = [
        campaign + keys.TOUCHES,
        campaign + keys.BY_STATE + channel + state + keys.name(said.reason or ""),
        campaign + keys.BY_HOUR + hour + channel + state,
    ]
    if said.state == State.SENT and said.sender is not None:
        minute = keys.instant(said.occurred_at - said.occurred_at % MINUTE_MS)
        counts.append(keys.SENT + minute + channel + keys.name(said.sender))
    if row.deliveries:
        kinds = {each.kind for each in row.deliveries}
        counts += [campaign + keys.BY_KIND + channel + keys.name(kind) for kind in kinds]
    return counts
