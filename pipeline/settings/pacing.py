"""The keys that say how often a sender may call: `limit`, `warm_up`, `gap`, `retry`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.retry import Retry
from pipeline.domain.work import Channel
from pipeline.settings.compound import Nested, OneOrArray
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import duration, whole
from pipeline.settings.schema import REQUIRED, key


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKeys:
    """`limit`."""

    rate: int = key(whole(1, 100_000), REQUIRED, "Number of calls.")
    per_ms: int = key(
        duration(most="1d"),
        REQUIRED,
        "Any stretch of time of this length holds at most `rate` calls, as the provider measures it.",
    )
    burst: int = key(
        whole(1, 100_000), 1, "Calls that may go at once after an idle time; at most `rate`. 1 spaces calls evenly."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpKeys(LimitKeys):
    """`warm_up` with a single step."""

    lasts_ms: int = key(duration(), REQUIRED, "Duration, counted from `started_on` or the sender's first send.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpStepKeys(LimitKeys):
    """A step of `warm_up`."""

    until_ms: int = key(
        duration(),
        REQUIRED,
        "Age of the sender at which the step ends, counted from `started_on` or its first send; ascending.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GapKeys:
    """`gap`."""

    least_ms: int = key(duration("0ms", "1d"), REQUIRED, "The shortest.")
    most_ms: int = key(duration("1ms", "1d"), REQUIRED, "The longest.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryKeys:
    """`retry`."""

    first_ms: int = key(duration(), "2s", "Upper bound of the first wait; it doubles after each refusal.")
    most_ms: int = key(
        duration(), "15m", "Upper bound of every wait. Each wait is random between 0 and its upper bound (full jitter)."
    )


def _limit(keys: LimitKeys, _: Channel | None) -> Limit:
    if keys.burst > keys.rate:
        raise InvalidValue(f"burst not over rate ({keys.burst} > {keys.rate})")
    return Limit(keys.rate, keys.per_ms, keys.burst)


def _warm_up(keys: WarmUpKeys, channel: Channel | None) -> WarmUp:
    return WarmUp((WarmUpStep(_limit(keys, channel), keys.lasts_ms),))


def _warm_up_step(keys: WarmUpStepKeys, channel: Channel | None) -> WarmUpStep:
    return WarmUpStep(_limit(keys, channel), keys.until_ms)


def _warm_up_steps(steps: tuple[WarmUpStep, ...]) -> WarmUp:
    try:
        return WarmUp(steps)
    except ValueError:
        raise InvalidValue("at least one step, and each `until` after the one before") from None


def _gap(keys: GapKeys, _: Channel | None) -> Gap:
    try:
        return Gap(keys.least_ms, keys.most_ms)
    except ValueError:
        raise InvalidValue(f"least not over most ({keys.least_ms} ms > {keys.most_ms} ms)") from None


def _retry(keys: RetryKeys, _: Channel | None) -> Retry:
    if keys.first_ms > keys.most_ms:
        raise InvalidValue(f"first not over most ({keys.first_ms} ms > {keys.most_ms} ms)")
    return Retry(keys.first_ms, keys.most_ms)


LIMIT = Nested(LimitKeys, _limit, "none")
WARM_UP = OneOrArray(Nested(WarmUpKeys, _warm_up, "none"), Nested(WarmUpStepKeys, _warm_up_step), _warm_up_steps)
GAP = Nested(GapKeys, _gap, "none")
RETRY = Nested(RetryKeys, _retry)
