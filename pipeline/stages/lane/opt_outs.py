"""What a provider's refusal says of the recipient for good: an entry, in the transaction that ends the touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.domain.address_hash import address_hash
from pipeline.domain.channel_spec import ChannelSpec
from pipeline.domain.story import Reason
from pipeline.domain.suppression import Covers, Scope, Suppression, SuppressionReason
from pipeline.flow import SUPPRESSIONS
from pipeline.stage_io import Output
from pipeline.stages.lane.fate import Ended, Fate

BY: Final = "pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoSuppression:
    """Makes the entries of one channel."""

    spec: ChannelSpec
    covers: Covers
    """What an opt-out concerns."""
    privacy_key: bytes
    encode: Callable[[Suppression], bytes]

    def after(self, fate: Fate, now_ms: int) -> Output | None:
        """Return the entry that follows from a touch's end, if one does."""
        if not isinstance(fate, Ended) or fate.reason is not Reason.REJECTED:
            return None
        if fate.error_code in self.spec.opt_out_codes:
            scope, reason = self.covers.scope(self.spec.channel), SuppressionReason.OPT_OUT
        elif fate.error_code in self.spec.unreachable_codes:
            scope, reason = Scope(self.spec.channel.value), SuppressionReason.UNREACHABLE
        else:
            return None
        work = fate.work
        entry = Suppression(
            scope,
            address_hash=work.recipient or address_hash(work.channel, work.to, self.privacy_key),
            reason=reason,
            note=f"{self.spec.provider} {fate.error_code}",  # its own words may hold the number
            touch_id=work.touch_id,
            by=BY,
            at_ms=now_ms,
        )
        return Output(SUPPRESSIONS, 0, entry.key.encode(), self.encode(entry))
