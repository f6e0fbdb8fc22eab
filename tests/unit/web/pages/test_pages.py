from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import quote, urljoin

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.console.resubmit import again_id
from pipeline.domain.audit import Role
from pipeline.web.pages.rules import day_begin_ms
from pipeline.web.pages.times import epoch_ms
from pipeline.web.problem import Code, Problem
from tests.harness.told import ANN, HOSTILE, NOW, TOUCHES, FakeActions, FakeAnswers, console, sends

MIDNIGHT_IN_BERLIN = epoch_ms("2026-11-27T00:00:00+01:00")

PAGES = [
    "/",
    "/?q=nobody",
    "/touches?lead=ann",
    "/touches?lead=huge",
    "/touches?campaign=" + quote(HOSTILE, safe=""),
    *(f"/touches/{each['touch_id']}" for each in TOUCHES),
    "/campaigns",
    "/campaigns/huge",
    "/campaigns/" + quote(HOSTILE, safe=""),
    "/lanes",
    "/orders",
    "/orders?state=pending",
    "/orders/one?key=" + quote("cancel:campaign=spring;channel=sms", safe=""),
    "/orders/one?key=nothing",
    "/orders/new",
    "/orders/new?action=pause&all=1",
    "/orders/new?action=cancel&campaign=" + quote(HOSTILE, safe=""),
    "/suppressions",
    f"/suppressions?q={ANN}",
    "/suppressions/new?lead=" + quote(HOSTILE, safe=""),
    "/suppressions/lift?key=" + quote(HOSTILE, safe=""),
    "/dead-letters",
    "/dead-letters/1/99",
    "/dead-letters/1/99?unmask=1",
    "/unconfirmed",
    "/unconfirmed/" + quote(HOSTILE, safe=""),
    "/opt-outs",
    "/opt-outs/" + quote("o/1 <b>", safe=""),
    "/audit",
]
ACTS = [
    "/orders/new",
    "/suppressions/new",
    "/suppressions/lift",
    "/dead-letters/0/100",
    "/unconfirmed/t-unknown",
    "/opt-outs/x",
]


class Found(HTMLParser):
    """What a page has: its tags with attributes, its links, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def links(self) -> list[str]:
        return [attrs[name] for _, attrs in self.tags for name in ("href", "src", "action") if attrs.get(name)]


@pytest.fixture
def answers():
    return FakeAnswers()


@pytest.fixture
def actions():
    return FakeActions()


@pytest.fixture
async def client(answers, actions):
    async with TestClient(TestServer(console(answers, actions))) as client:
        yield client


async def shown(client, path, status=200) -> Found:
    answer = await client.get(path, allow_redirects=False)
    assert answer.status == status, path
    return Found(await answer.text())


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_whole_says_its_age_and_has_nothing_inline(client, path):
    answer = await client.get(path)
    text = await answer.text()
    page = Found(text)
    assert answer.content_type == "text/html"
    assert "Undefined" not in text
    assert "None" not in page.text
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name == "style" or name.startswith("on")], (tag, attrs)
        assert tag != "style"
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert [each["src"] for each in scripts] == ["/static/console.js"]
    assert all(each.startswith(("/", "#", "?")) and not each.startswith("//") for each in page.links())
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert re.search(r"As of .*UTC", page.text)


@pytest.mark.parametrize("path", PAGES)
async def test_every_link_of_every_page_leads_somewhere(client, path):
    page = Found(await (await client.get(path)).text())
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("class") != "again"}
    kinds = {re.sub(r"[-%=][^/?&]*", "", each): each for each in sorted(links) if not each.startswith("#")}
    for href in kinds.values():
        found = await client.get(urljoin(path, href), allow_redirects=False)
        is_made_up = href.startswith(("/touches/t-", "/campaigns/c-", "/orders/one"))  # by the long lists
        assert found.status in {200, 303} | ({404} if is_made_up else set()), f"{path} links to {href}: {found.status}"


async def test_a_hostile_text_is_shown_letter_by_letter(client):
    page = await shown(client, "/touches/t-hostile")
    assert page.text.count(HOSTILE) >= 3  # lead, campaign, error
    campaign = next(attrs["href"] for tag, attrs in page.tags if tag == "a" and "/campaigns/" in (attrs["href"] or ""))
    assert HOSTILE in (await shown(client, campaign)).text


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("t-read", "/touches/t-read"),
        ("huge", None),
        ("ann", "/touches?lead=ann"),
        ("autumn", "/campaigns/autumn"),
        ("+12125550001", "/touches?address=%2B12125550001"),
        ("SM0123456789abcdef", "/touches/t-read"),
        (ANN, f"/suppressions?hash={ANN}"),
        (HOSTILE, None),
    ],
)
async def test_the_one_box_leads_to_the_one_thing_it_names(client, asked, leads_to):
    answer = await client.get("/", params={"q": f" {asked} "}, allow_redirects=False)
    if leads_to is None:  # a lead and a campaign: it asks which
        assert answer.status == 200
        assert "more than one thing" in await answer.text()
    else:
        assert (answer.status, answer.headers["Location"]) == (303, leads_to)


async def test_a_number_without_its_country_code_is_told_so(client):
    page = await shown(client, "/?q=0170+1234567", 404)
    assert "country code" in page.text


async def test_pages_follow_each_other_to_the_end_without_a_gap(client):
    path, seen = "/campaigns", []
    while path:
        page = await shown(client, path)
        seen += [
            attrs["href"] for tag, attrs in page.tags if tag == "a" and (attrs["href"] or "").startswith("/campaigns/")
        ]
        path = next((attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("rel") == "next"), None)
    assert len(seen) == len(set(seen)) == 250


async def test_a_page_of_a_million_has_a_hundred_rows_and_keeps_its_filter(client):
    page = await shown(client, "/touches?campaign=huge&state=sent&after=200")
    rows = [attrs for tag, attrs in page.tags if tag == "a" and (attrs["href"] or "").startswith("/touches/")]
    assert len(rows) == 100
    assert rows[0]["href"] == "/touches/t-200"
    older = next(attrs["href"] for tag, attrs in page.tags if attrs.get("rel") == "next")
    assert older == "/touches?campaign=huge&state=sent&after=300"


async def test_an_order_is_counted_first_then_given_once_with_its_note(client, actions):
    page = await shown(client, "/orders/new?action=cancel&campaign=autumn")
    assert "12,345 touches of it have not ended" in page.text
    assert actions.done == []
    form = {"nonce": "right", "action": "cancel", "campaign": "autumn", "note": " wrong list ", "until": "now"}
    answer = await client.post("/orders/new", data=form, allow_redirects=False)
    assert answer.status == 303
    assert answer.headers["Location"] == "/orders/one?key=cancel%3Acampaign%3Dautumn"
    assert actions.done == [("order", "bea", "cancel", {"campaign": "autumn"}, "wrong list", "now")]


async def test_an_order_on_everything_names_no_other_member(client, actions):
    form = {"nonce": "right", "action": "pause", "all": "1", "note": "stop"}
    assert (await client.post("/orders/new", data=form, allow_redirects=False)).status == 303
    assert actions.done == [("order", "bea", "pause", "all", "stop", None)]


@pytest.mark.parametrize("more", [{"note": ""}, {"note": "x", "until": "soon"}])
async def test_what_is_refused_is_told_in_the_form_that_keeps_what_was_typed(client, actions, more):
    form = {"nonce": "right", "action": "pause", "campaign": "autumn", **more}
    answer = await client.post("/orders/new", data=form, allow_redirects=False)
    page = Found(await answer.text())
    assert answer.status == 400
    assert "Nothing was changed" in page.text
    assert more.get("until", "") in [attrs.get("value") for tag, attrs in page.tags if tag == "input"]
    assert actions.done == []


@pytest.mark.parametrize("path", [each for each in ACTS if not each.startswith("/dead-letters")])
async def test_every_form_tells_what_does_not_fit_and_leaves_the_rest_to_a_page(client, actions, path):
    form = {"nonce": "right", "action": "pause", "campaign": "autumn", "note": "n", "key": "k"}
    for code, is_told_in_form in ((Code.CONFLICT, True), (Code.BAD_REQUEST, True), (Code.KAFKA_AWAY, False)):
        actions.refusal = Problem(code, "It cannot be <now>.")
        answer = await client.post(path, data=form, allow_redirects=False)
        page = Found(await answer.text())
        assert answer.status == code.status
        assert "It cannot be <now>." in page.text
        assert ("wrong" in [attrs.get("class") for _, attrs in page.tags]) is is_told_in_form
    assert actions.done == []


async def test_a_resume_of_what_is_not_paused_is_told(client):
    answer = await client.get("/orders/new?action=resume&campaign=never")
    page = Found(await answer.text())
    assert answer.status == 200, "the form was asked for, and is there"
    assert "Nothing is paused" in page.text
    assert "wrong" in [attrs.get("class") for _, attrs in page.tags]


@pytest.mark.parametrize("path", ACTS)
@pytest.mark.parametrize("nonce", ["", "wrong", None])
async def test_a_form_without_our_nonce_does_nothing(client, actions, path, nonce):
    form = {"action": "pause", "campaign": "autumn", "note": "x", "key": "k"} | (
        {} if nonce is None else {"nonce": nonce}
    )
    assert (await client.post(path, data=form, allow_redirects=False)).status == 403
    assert actions.done == []


async def test_each_act_does_what_it_says(client, actions):
    async def act(path, **form):
        answer = await client.post(path, data={"nonce": "right", **form}, allow_redirects=False)
        assert answer.status == 303
        return answer.headers["Location"]

    assert (
        await act("/suppressions/new", lead_id="ann b", note="by phone", reason="manual") == "/suppressions?lead=ann+b"
    )
    assert (await act("/suppressions/lift", key=f"phone:{ANN}:opt_out", note="asked")) == f"/suppressions?hash={ANN}"
    await act("/dead-letters/2/98", new_id="")
    await act("/unconfirmed/t-unknown", resolution="sent", provider_message_id="SM1")
    await act("/opt-outs/" + quote("o/1 <b>", safe=""), address="+12125550001", note="found")
    await act("/opt-outs/x", address="", note="no opt-out")
    assert actions.done == [
        ("suppress", "bea", {"lead_id": "ann b", "note": "by phone", "reason": "manual"}),
        ("lift", "bea", f"phone:{ANN}:opt_out", "asked"),
        ("replay", "bea", 2, 98, None),
        ("resolve", "bea", "t-unknown", "sent", "SM1"),
        ("resolve_opt_out", "bea", "o/1 <b>", "found", "+12125550001", False),
        ("resolve_opt_out", "bea", "x", "no opt-out", None, True),
    ]


async def test_who_may_only_look_sees_no_form_that_acts_and_cannot_act():
    actions = FakeActions()
    async with TestClient(TestServer(console(FakeAnswers(), actions, Role.VIEWER))) as client:
        for path in PAGES:
            answer = await client.get(path)
            text = await answer.text()
            assert 'method="post"' not in text, path
            assert not re.search(r'href="/(orders/new\?|suppressions/(new|lift))[^>]*(?<!class="again")>', text), path
        for path in ACTS:
            form = {"nonce": "right", "action": "pause", "campaign": "autumn", "note": "x", "key": "k"}
            assert (await client.post(path, data=form, allow_redirects=False)).status == 403, path
        assert (await client.get("/audit")).status == 403
        assert (await client.get("/dead-letters/1/99?unmask=1")).status == 403
    assert actions.done == []


async def test_what_a_dead_letter_holds_is_shown_when_asked_for_only(client, answers):
    assert "touch_id" not in (await shown(client, "/dead-letters/1/99")).text
    assert answers.unmasked == []
    page = await shown(client, "/dead-letters/1/99?unmask=1")
    assert '{"touch_id": "<b>t</b>"}' in page.text
    assert answers.unmasked == ["bea"]


async def test_who_resolves_a_touch_is_told_that_what_was_not_sent_is_sent_again(client):
    page = await shown(client, "/unconfirmed/t-unknown")
    assert "sends nothing" not in page.text
    assert "What was not sent is sent again" in page.text
    assert again_id("t-unknown") in page.text
    assert "It was not sent: send it again" in page.text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dead-letters/2/98", "the person gets both messages"),  # a conflict
        ("/dead-letters/3/97", "its touch has ended as failed"),  # invalid
    ],
)
async def test_a_letter_whose_touch_has_a_story_is_replayed_as_another_touch_by_a_suffix(client, actions, path, said):
    page = await shown(client, path)
    assert said in page.text
    assert "Suffix for its touch id" in page.text
    form = {"nonce": "right", "new_id": " .again "}
    assert (await client.post(path, data=form, allow_redirects=False)).status == 303
    assert actions.done == [("replay", "bea", int(path[-4]), int(path[-2:]), ".again")]


async def test_a_letter_that_is_nobodys_is_replayed_as_it_is(client):
    page = await shown(client, "/dead-letters/1/99")
    assert "Suffix" not in page.text
    assert "Do it once its cause is mended" in page.text


async def test_the_oldest_of_many_dead_letters_has_its_page(client, answers):
    answers.letters = 1_201
    page = await shown(client, "/dead-letters/0/1?unmask=1")
    assert '{"touch_id": "<b>t</b>"}' in page.text
    assert answers.unmasked == ["bea"]


@pytest.mark.parametrize("path", ["/touches/t-none", "/campaigns/none", "/dead-letters/9/9"])
async def test_what_is_not_there_is_a_page_that_says_so(client, path):
    page = await shown(client, path, 404)
    assert "Not found" in page.text


async def test_without_kafka_what_needs_it_says_so_and_the_rest_goes_on(client, answers):
    answers.is_away = True
    assert "Kafka does not answer" in (await shown(client, "/orders", 503)).text
    assert "cannot be read at present" in (await shown(client, "/")).text
    assert "an order holds it" in (await shown(client, "/touches/t-paused")).text
    assert "Orders cannot be read" in (await shown(client, "/campaigns/autumn")).text


@pytest.mark.parametrize(
    "path",
    ["/", "/campaigns", "/lanes", "/orders", "/suppressions", "/dead-letters", "/unconfirmed", "/opt-outs", "/audit"],
)
async def test_a_pipeline_that_has_nothing_yet_has_pages(path):
    async with TestClient(TestServer(console(FakeAnswers(is_empty=True)))) as client:
        assert len((await shown(client, path)).text) > 100


async def test_a_touch_names_the_order_that_holds_it_with_its_note(client):
    page = await shown(client, "/touches/t-paused")
    assert "wrong price on page 2" in page.text
    assert "bea" in page.text


async def test_a_lane_shows_its_limit_its_cap_and_a_week_of_its_hours(client):
    answer = await client.get("/lanes")
    text = await answer.text()
    assert "30 per 1m, at most 8,000 a day" in text
    assert "Fri 27 Nov 08:00 to Fri 27 Nov 19:00, Sat 28 Nov 08:00" in text  # 9 to 20 in Berlin, not on Sundays
    assert "Sun 29 Nov 08:00" not in text
    assert "By the clock of Europe/Berlin" in text
    assert text.count("Sends per minute") == 1  # of the one lane that sent
    assert "the limit is 30" in text


async def test_a_lane_shows_how_much_of_its_daily_cap_is_in_use_since_midnight_of_its_own_zone(client):
    page = await shown(client, "/lanes")
    minutes = [each for each in sends(MIDNIGHT_IN_BERLIN) if each["minute"] >= MIDNIGHT_IN_BERLIN]
    used = sum(each["touches"] for each in minutes)
    assert f"Daily cap: {used:,} of 8,000 sent since Thu 26 Nov, 23:00:00 UTC" in page.text
    assert page.text.count("Daily cap:") == 1


@pytest.mark.parametrize(
    ("at", "begin"),
    [
        ("2026-11-27T03:12:07+01:00", "2026-11-27T00:00:00+01:00"),
        ("2026-11-27T00:00:00+01:00", "2026-11-27T00:00:00+01:00"),
        ("2026-10-25T23:59:00+01:00", "2026-10-25T00:00:00+02:00"),  # of 25 hours
        ("2026-03-29T00:30:00+01:00", "2026-03-29T00:00:00+01:00"),
        ("2026-03-30T00:30:00+02:00", "2026-03-30T00:00:00+02:00"),  # behind one of 23
    ],
)
def test_a_day_begins_at_midnight_where_clocks_change_too(at, begin):
    assert day_begin_ms("Europe/Berlin", epoch_ms(at)) == epoch_ms(begin)


async def test_the_login_is_a_page_for_everybody(client):
    page = await shown(client, "/login")
    assert "Your token" in page.text
    assert "bea" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/?q=nobody", "/touches/t-read", "/touches?lead=ann", "/campaigns", "/lanes"),
        *("/orders/one?key=nothing", "/dead-letters/1/99"),
    ],
)
async def test_a_copy_that_is_behind_says_so_on_every_page_that_is_read_from_it(client, answers, path):
    answers.as_of = NOW - 420_000
    page = Found(await (await client.get(path)).text())
    assert "03:05:07 UTC — 7 min behind" in page.text
    answers.as_of = 0
    page = Found(await (await client.get(path)).text())
    assert "Not everything has been read yet" in page.text
    assert "As of" not in page.text


async def test_static_files_have_their_types(client):
    kinds = {
        name: (await client.get(f"/static/{name}")).content_type for name in ("console.css", "console.js", "icon.svg")
    }
    assert kinds == {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
    assert (await client.get("/static/../desk.py")).status == 404
