"""Every page in a real browser: by keyboard and without script, within its policy, for every eye. Screenshots go to `.artifacts/pages`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.web.foresight import Foresight
from tests.harness.reporting import SHOTS
from tests.harness.told import HOSTILE, ORDERS, foreseen
from tests.harness.web_rig import TOKENS
from tests.pages.conftest import PHONE, SCREEN

AXE = (Path(__file__).parent / "vendored" / "axe.min.js").read_text()
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(each => each.impact === "serious" || each.impact === "critical")
    .map(each => each.id + ": " + each.nodes.slice(0, 3).map(node => node.html).join(" | "))"""
PAGES = {
    "home": "/",
    "nothing": "/?q=nobody",
    **{name: f"/touches/{name}" for name in ("t-read", "t-window", "t-paused", "t-outage", "t-unknown", "t-hostile")},
    "lead": "/touches?lead=ann",
    "million": "/touches?campaign=huge&after=999995",
    "campaigns": "/campaigns?after=244",
    "campaign": "/campaigns/huge",
    "campaign-hostile": "/campaigns/" + quote(HOSTILE, safe=""),
    "lanes": "/lanes",
    "orders": "/orders",
    "order": "/orders/one?key=" + quote("cancel:campaign=spring;channel=sms", safe=""),
    "order-new": "/orders/new",
    "order-counted": "/orders/new?action=cancel&campaign=autumn",
    "suppressions": "/suppressions?lead=lead-1",
    "suppressions-all": "/suppressions?after=999994",
    "suppress": "/suppressions/new?lead=ann",
    "lift": "/suppressions/lift?key=x",
    "dead-letters": "/dead-letters?after=94",
    "dead-letter": "/dead-letters/1/99?unmask=1",
    "unconfirmed": "/unconfirmed",
    "unconfirmed-one": "/unconfirmed/t-unknown",
    "opt-outs": "/opt-outs",
    "opt-out": "/opt-outs/x",
    "audit": "/audit?after=244",
}
FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_keeps_its_policy_and_is_accessible_small_and_large_light_and_dark(open_in, name):
    look_at(open_in("phone-light").open(PAGES[name]), name)


def look_at(page, name):
    page.evaluate(AXE)
    for size, colours in (("phone", "light"), ("phone", "dark"), ("screen", "dark"), ("screen", "light")):
        page.set_viewport_size(PHONE if size == "phone" else SCREEN)
        page.emulate_media(color_scheme=colours)
        page.screenshot(path=SHOTS / f"{name}-{size}-{colours}.png", full_page=True)
        assert page.evaluate(FOUND) == [], (size, colours)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_can_be_walked_by_keyboard_without_script_and_fits_a_small_phone(open_in, name):
    page = open_in("phone-plain").open(PAGES[name])
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    wanted = min(30, page.locator(FOCUSABLE).count())
    seen = []
    page.locator("body").evaluate("body => { document.activeElement.blur(); getSelection().removeAllRanges(); }")
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                """selector => {
                const now = document.activeElement, look = getComputedStyle(now), box = now.getBoundingClientRect();
                const seen = box.bottom > 0 && box.top < innerHeight && box.width > 1;
                const marked = look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2;
                return [[...document.querySelectorAll(selector)].indexOf(now), seen, marked];
            }""",
                FOCUSABLE,
            )
        )
    places = [place for place, *_ in seen]
    radios = page.locator("input[type=radio]").count()  # a group of them is one stop
    assert len(set(places)) >= wanted - max(0, radios - 1) - 1, places
    assert all(is_seen and is_marked for place, is_seen, is_marked in seen if place >= 0), seen


def test_a_number_at_night_is_answered_on_the_first_screen_without_script(open_in):
    watched = open_in("phone-plain")
    page = watched.open("/")
    page.locator("#find:focus").wait_for()
    page.keyboard.type("SM0123456789abcdef")  # the box has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/touches/t-read")
    heading = page.get_by_role("heading", level=1)
    assert "Sent and read" in heading.inner_text()
    box = page.get_by_text("read 02:38:47 UTC").bounding_box()
    assert box["y"] + box["height"] < 844
    assert page.locator(".age").bounding_box()["y"] < 844


def test_a_campaign_is_cancelled_by_keyboard_without_script(open_in, served):
    page = open_in("phone-plain").open("/campaigns/autumn")
    page.get_by_role("link", name="Cancel…").press("Enter")
    assert "12,345 touches of it have not ended" in page.inner_text("main")
    page.get_by_label("Why").press_sequentially("wrong list")
    page.get_by_label("only those that are accepted by now").press("Space")
    page.get_by_role("button", name="Cancel: 12,345 touches").press("Enter")
    page.wait_for_url("**/orders/one?key=*")
    (done,) = served.actions.done
    assert done[2:] == ("cancel", {"campaign": "autumn"}, "wrong list", "now")


def test_the_login_is_accessible_and_opens_the_console_by_keyboard_without_script(open_in, closed):
    look_at(open_in("phone-light", closed.address).open("/campaigns/huge"), "login")
    page = open_in("phone-plain", closed.address).open("/campaigns/huge")
    page.get_by_label("Your token").press_sequentially(TOKENS["ada"])
    page.keyboard.press("Enter")
    page.locator("#find:focus").wait_for()
    page.get_by_role("button", name="Sign out").press("Enter")
    page.get_by_label("Your token").wait_for()


def test_a_form_without_its_note_is_not_sent(open_in, served):
    page = open_in("phone-plain").open("/orders/new?action=pause&campaign=autumn")
    page.get_by_role("button", name="Pause: 12,345 touches").press("Enter")
    assert "/orders/new" in page.url
    assert served.actions.done == []


def test_the_progress_of_an_order_is_followed_and_ends_when_it_is_in_force(open_in, monkeypatch):
    watched = open_in("phone-light")
    watched.page.clock.install()
    page = watched.open(PAGES["order"])
    assert "Given, not in force yet" in page.inner_text("h1")
    monkeypatch.setitem(ORDERS[1], "state", "in_force")
    monkeypatch.setitem(ORDERS[1], "missing", [])
    page.clock.run_for(3_100)
    page.get_by_role("heading", name="In force").wait_for()
    page.locator("button.follow[aria-pressed=false]").wait_for()


def test_a_forecast_that_is_being_made_comes_by_itself(open_in, served):
    served.foresight = Foresight(None, is_being_made=True, has_failed=False)
    watched = open_in("phone-light")
    watched.page.clock.install()
    page = watched.open("/campaigns/huge")
    assert "The forecast is being made" in page.inner_text("#forecast")
    served.foresight = foreseen()
    page.clock.run_for(3_100)
    page.locator("#forecast svg").wait_for()
    page.locator("button.follow[aria-pressed=false]").wait_for()


def test_what_lives_is_read_again_only_when_asked_and_seen(open_in):
    watched = open_in("screen-light")
    watched.page.clock.install()
    page = watched.open("/lanes")
    asked: list[str] = []
    page.on("request", lambda request: asked.extend([request.url] * request.url.endswith("/lanes")))
    page.clock.run_for(60_000)
    assert asked == []
    page.get_by_role("button", name="Follow").press("Enter")
    with page.expect_request("**/lanes"):
        page.clock.run_for(15_000)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    count = len(asked)
    page.clock.run_for(60_000)
    assert len(asked) == count


def test_a_page_says_how_old_it_has_become(open_in):
    watched = open_in("phone-light")
    watched.page.clock.install()
    page = watched.open("/touches/t-read")
    page.clock.run_for(360_000)
    assert "6 min ago" in page.inner_text(".age")


def test_a_page_prints_without_what_a_hand_needs(open_in):
    page = open_in("screen-light").open("/touches/t-read")
    page.emulate_media(media="print")
    assert page.get_by_role("heading", level=1).is_visible()
    assert not page.locator("body > nav").is_visible()
    assert page.locator("svg.life").is_visible()
