"""Faults, drawn for each request, within what docs/promise.md assumes of clocks, networks and providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab.simulation.network import Fate
from pipeline.sandbox.rules import Rule, Rules

if TYPE_CHECKING:
    from pipeline.lab.simulation.world import World

REFUSALS: dict[str, list[tuple[int, str | None]]] = {
    "waha": [(429, None), (500, None), (503, None), (404, None)],
    "resend": [
        (429, "rate_limit_exceeded"),
        (500, "application_error"),
        (422, "validation_error"),
        (409, "concurrent_idempotent_requests"),
        (403, "invalid_api_key"),
        (403, "validation_error"),
    ],
    "twilio": [(429, "20429"), (500, "20500"), (400, "14107"), (400, "21211"), (503, "20503"), (401, "20003")],
}


class Whims(Rules):
    """Sandbox rules drawn anew for each request."""

    def __init__(self, world: World, share: float) -> None:
        super().__init__()
        self.share = share
        self._world = world

    def pick(self, provider: str, what: str, to: str, text: str, now_ms: int) -> Rule | None:
        """Return the provider's fault for this request, or None."""
        del to, text, now_ms
        dice = self._world.dice
        if dice.random() >= self.share:
            return None
        if what != "send":
            return dice.choice(
                [
                    Rule(what=what, status=dice.choice([500, 503, 429])),
                    Rule(what=what, drop="before"),
                    Rule(what=what, delay_ms=dice.randrange(1_500)),
                ]
            )
        status, code = dice.choice(REFUSALS[provider])
        wait = {"Retry-After": str(dice.randrange(4))} if status in (429, 503) and dice.random() < 0.5 else None
        rule = dice.choice(
            [
                Rule(status=status, code=code, headers=wait),
                Rule(drop="before"),
                Rule(drop="after"),
                Rule(drop="after"),
                Rule(status_after=dice.choice([500, 502])),
                Rule(delay_ms=1),
                Rule(delay_after_ms=dice.randrange(8_000)),
            ]
        )
        rule.delay_ms = dice.choice([0, rule.delay_ms, dice.randrange(1_500)])
        return rule


def draw_fate(world: World, share: float) -> Fate:
    """Return the network's fault for a request.

    A request arrives within a second after its body was written, or never: so no call runs on past its timeout (which
    is three seconds at least), nor long past the moment at which its owner sees it fail.
    """
    dice = world.dice
    if dice.random() >= share:
        return Fate(0.001 + 0.01 * dice.random(), 0.01 * dice.random(), 0.01 * dice.random())
    connect_s = dice.choice([0.001, 0.3, 1.2]) * dice.random()
    there_s = dice.choice([0.01, 0.5]) * dice.random()
    back_s = dice.choice([0.01, 1.0, 5.0]) * dice.random()
    match dice.randrange(6):
        case 0:
            return Fate(connect_s, is_refused=True)
        case 1:
            return Fate(connect_s, there_s, is_lost=True, reset_s=dice.choice([None, there_s]))
        case 2:
            return Fate(connect_s, there_s, back_s, reset_s=there_s * dice.choice([0.2, 1.0, 1.5]))
        case 3:
            return Fate(connect_s, there_s, is_silent=True)
        case _:
            return Fate(connect_s, there_s, back_s)
