"""A campaign's forecast in words and as a picture, from what the command says (docs/forecast.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from pipeline.forecast.lane import ANSWERS, NOT_DUE
from pipeline.web.foresight import Foresight
from pipeline.web.pages.columns import Column, stacked
from pipeline.web.pages.times import SECOND_MS, epoch_ms

LOOK: Final = "foreseen"
_HELD: Final = {
    NOT_DUE: "waits most of the time until touches are due",
    ANSWERS: "waits most of the time for the provider's answers",
    "outage": "cannot use its provider, which is assumed to be back at the next test",
}
_ENDS: Final = {
    "expired": "will expire",
    "failed": "will fail",
    "cancelled": "will be cancelled",
    "suppressed": "will be suppressed",
    "unconfirmed": "will stay unconfirmed",
}


def foreseen_of(found: Foresight, campaign_id: str) -> dict[str, Any]:
    """Return what the page of a campaign shows: whether a forecast is made or failed, as of when the latest one is, and its part of it.

    `as_of` is None if there is no forecast yet, `ends` if the campaign is not in it, `done` if it is done after `until`, the horizon.
    """
    shown: dict[str, Any] = {"is_being_made": found.is_being_made, "has_failed": found.has_failed, "as_of": None}
    if found.told is None:
        return shown
    told = found.told
    shown |= {"as_of": epoch_ms(told["now"]), "until": epoch_ms(told["until"]), "ends": None, "periods": []}
    shown["not_accepted"] = told["not_accepted"]
    campaign = next((each for each in told["campaigns"] if each["campaign_id"] == campaign_id), None)
    return shown if campaign is None else shown | _of_campaign(campaign, told)


def _of_campaign(campaign: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    columns, width_ms = _columns(campaign["sent_per_bucket"], told["buckets"])
    done = campaign["done_at"]
    return {
        "left": campaign["left"],
        "ends": [f"{campaign['sent']:,} will be sent"]
        + [f"{campaign[state]:,} {words}" for state, words in _ENDS.items() if campaign[state]],
        "done": None if done is None else epoch_ms(done),
        "lanes": [
            _lane(each)
            for each in told["lanes"]
            if each["channel"] in campaign["channels"] and each["sender"] is not None
        ],
        "picture": stacked(columns, width_ms, [LOOK], "to be sent") if campaign["sent"] else Markup(),
        "periods": [(each.at_ms, each.counts[LOOK]) for each in columns if each.counts[LOOK]],
    }


def _columns(counts: list[int], buckets: Mapping[str, Any]) -> tuple[list[Column], int]:
    start_ms, width_ms = epoch_ms(buckets["start"]), buckets["seconds"] * SECOND_MS
    return [Column(start_ms + at * width_ms, {LOOK: count}) for at, count in enumerate(counts)], width_ms


def _lane(lane: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name of a lane, and in words what holds it back most."""
    held_by = "outage" if lane["outage"] is not None else lane["held_by"]
    told = "" if held_by is None else _HELD.get(held_by, f"is held back most by: {held_by}")
    return {"name": f"{lane['channel']}/{lane['sender']}", "told": told}
