"""A campaign's forecast on its page: in words, with its age, drawn; what is not known is said."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.console.forecast.view import json_of
from pipeline.web.foresight import Foresight
from pipeline.web.pages.foreseen import foreseen_of
from pipeline.web.pages.times import epoch_ms, iso
from tests.harness.told import FORETOLD, FakeAnswers, console, foretold, foretold_lane
from tests.unit.console.forecast.test_view import HOUR, MINUTE, NOW, known
from tests.unit.web.pages.test_pages import Found


def of(told: Any = FORETOLD, *, is_being_made: bool = False, has_failed: bool = False) -> Foresight:
    return Foresight(told, is_being_made, has_failed)


async def page(found: Foresight, campaign: str = "autumn", answers: FakeAnswers | None = None) -> Found:
    async with TestClient(TestServer(console(answers, foreseen=lambda: found))) as client:
        answer = await client.get(f"/campaigns/{campaign}")
        assert answer.status == 200
        return Found(await answer.text())


def section(page: Found) -> dict[str, str | None]:
    [found] = [attrs for tag, attrs in page.tags if tag == "section" and attrs.get("id") == "forecast"]
    return found


def drawn(page: Found) -> list[str]:
    return [attrs["aria-label"] or "" for tag, attrs in page.tags if tag == "svg"]


async def test_a_campaign_says_when_it_will_be_done_how_it_ends_and_of_when_the_forecast_is():
    said = (await page(of(), "huge")).text
    assert "20:09:30 UTC (in 16 h 57 min)" in said
    assert "200,100 left: 200,000 will be sent, 100 will expire." in said
    assert "email/shop is held back most by: 2 per 1m." in said
    assert "sms/main is held back most by: closed window." in said
    assert "whatsapp" not in said, "no lane of this campaign"
    assert "Foreseen at 03:10:00 UTC" in said


async def test_it_is_drawn_and_every_figure_of_the_picture_stands_in_a_table():
    found = await page(of(), "huge")
    [picture] = [each for each in drawn(found) if "to be sent" in each]
    assert picture == "200,000 to be sent from Fri 27 Nov 03:00:00 to Fri 27 Nov 20:00:00 UTC"
    assert found.text.count("7,600") == 25 + 25, "a title of each column, and a row"
    assert "10k to be sent per 30 min" in found.text


async def test_a_closed_window_is_a_gap_in_the_picture():
    picture = foreseen_of(of(), "huge")["picture"]
    bars = [each for each in ET.fromstring(str(picture)).iter("rect") if each.get("class") == "foreseen"]
    places = [float(each.get("x").rstrip("%")) for each in bars]
    assert len(bars) == 30
    assert places[5] - places[4] == pytest.approx(6 * 98 / 35, abs=0.01)


async def test_the_first_who_looks_is_told_that_it_is_being_made_and_the_page_asks_again():
    found = await page(of(None, is_being_made=True))
    assert "The forecast is being made" in found.text
    assert section(found)["data-live"] == "3"
    assert "data-live" not in section(await page(of()))


async def test_a_forecast_that_failed_is_told_and_the_earlier_one_is_shown_as_such():
    assert "could not be made" in (await page(of(None, has_failed=True))).text
    said = (await page(of(has_failed=True), "huge")).text
    assert "could not be made" in said
    assert "This is an earlier one." in said
    assert "Foreseen at 03:10:00 UTC" in said


async def test_a_campaign_that_came_later_and_one_beyond_the_horizon_are_told():
    later = {**FORETOLD, "campaigns": []}
    assert "has no touch of this campaign" in (await page(of(later))).text
    endless = {**FORETOLD, "campaigns": [foretold("autumn", [5] * 35, left=900, done_at=None)]}
    said = (await page(of(endless))).text
    assert "Not before Sat 27 Nov 2027, 03:10:00 UTC" in said
    assert "900 left: 175 will be sent." in said


async def test_what_it_leaves_out_is_told_orders_only_where_there_are_some():
    assert "no order holds or ends a touch" in (await page(of())).text
    without = FakeAnswers()

    async def none(**_: Any) -> dict[str, Any]:
        return {"orders": [], "next": None}

    without.orders = none
    assert "no order holds" not in (await page(of({**FORETOLD, "not_accepted": 1_234}), answers=without)).text
    assert "1,234 are not accepted yet" in (await page(of({**FORETOLD, "not_accepted": 1_234}))).text


@pytest.mark.parametrize(
    ("held_by", "said"),
    [
        ("not due yet", "waits most of the time until touches are due"),
        ("answers of the provider", "waits most of the time for the provider's answers"),
        (None, ""),
    ],
)
def test_what_holds_a_lane_back_is_told_as_a_person_would(held_by, said):
    told = {**FORETOLD, "lanes": [foretold_lane("sms", "main", held_by)]}
    assert foreseen_of(of(told), "autumn")["lanes"] == [{"name": "sms/main", "told": said}]


async def test_of_a_campaign_that_has_ended_no_forecast_is_made():
    ended = FakeAnswers()
    told = ended.campaign

    async def all_sent(campaign_id: str) -> dict[str, Any]:
        found = await told(campaign_id)
        return {**found, "states": [each for each in found["states"] if each["state"] in ("sent", "suppressed")]}

    ended.campaign = all_sent

    def asked() -> Foresight:
        raise AssertionError

    async with TestClient(TestServer(console(ended, foreseen=asked))) as client:
        said = await (await client.get("/campaigns/autumn")).text()
    assert "All have ended." in said
    assert "When it will be done" not in said


async def test_what_the_command_says_is_what_the_page_shows():
    told = orjson.loads(json_of(known(not_accepted=7)))
    shown = foreseen_of(of(told), "autumn [red]")
    assert (shown["as_of"], shown["done"], shown["left"]) == (NOW, NOW + 200 * MINUTE, 950)
    assert shown["ends"] == ["920 will be sent", "10 will expire"]
    assert shown["lanes"] == [
        {"name": "whatsapp/main", "told": "cannot use its provider, which is assumed to be back at the next test"},
        {"name": "sms/us", "told": "is held back most by: daily cap of 20"},
    ]
    assert sum(touches for _, touches in shown["periods"]) == 600
    assert shown["periods"][0][0] == NOW
    assert (shown["until"], shown["not_accepted"]) == (NOW + 24 * HOUR, 7)


def test_an_instant_is_read_as_it_is_written():
    assert epoch_ms(iso(NOW + 250)) == NOW + 250
    assert epoch_ms("2026-11-24T20:00:00Z") == NOW
