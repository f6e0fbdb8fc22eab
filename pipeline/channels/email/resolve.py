"""Resolves a request whose answer was lost, by sending the same bytes under the same Idempotency-Key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.channels.email.verdict import NAMES, ResendMeaning
from pipeline.channels.email.verdict import judge as judge_call
from pipeline.domain.verdict import AskLater, Resolution, Unanswerable, Unknown

if TYPE_CHECKING:
    from pipeline.channels.http import HttpAnswer
    from pipeline.domain.work import Claim

KEY_LIVES_MS: Final = 23 * 3_600_000
"""Resend keeps keys for 24 h; one hour is the allowance for clocks. A later replay would be a second send."""


def too_late(claim: Claim, now_ms: int) -> Unanswerable | None:
    """Return why the claim's key cannot be used any more, or None. The lease ends within the key's life, too."""
    ends_ms = claim.claimed_ms + KEY_LIVES_MS
    if now_ms < ends_ms and claim.lease_until_ms <= ends_ms:
        return None
    return Unanswerable("the Idempotency-Key is 23 h old: Resend may have forgotten it")


def judge(answer: HttpAnswer, count: int, now_ms: int) -> Resolution:
    """Return what the answer to a replay says about the claim.

    As for a call, with one exception: a first request still running is to be asked again. Bytes
    that are wrong in themselves (400, 422) were so from the beginning. Paused (a 403: the domain or the key may have lost its right
    since), Refused, Unbegun and Unknown judge the replay only: whether the first request was accepted stays open.
    """
    verdict = judge_call(answer, count, now_ms)
    if isinstance(verdict, Unknown) and NAMES.get(verdict.code) is ResendMeaning.RUNNING:
        return AskLater(verdict.error)
    return verdict
