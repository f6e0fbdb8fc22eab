from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer

from pipeline.web.guard import HEADERS
from tests.harness.told import FakeActions, FakeAnswers, guarded
from tests.harness.web_rig import TOKENS
from tests.unit.web.pages.test_pages import PAGES, Found


@asynccontextmanager
async def console(*users: str, actions: FakeActions | None = None):
    """Yield a client of the pages as the web process puts them together."""
    app = guarded(FakeAnswers(), actions or FakeActions(), *users)
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        yield client


async def log_in(client, name: str) -> None:
    answer = await client.post("/login", data={"token": TOKENS[name]}, allow_redirects=False)
    assert answer.status == 303


def field_of(page: Found, name: str) -> str:
    return next(attrs["value"] for tag, attrs in page.tags if tag == "input" and attrs.get("name") == name)


async def test_every_answer_has_the_headers_that_forbid_what_is_not_ours():
    async with console() as client:
        for path in ["/", "/touches/t-read", "/touches/t-none", "/static/console.css", "/nowhere"]:
            answer = await client.get(path)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path


async def test_nobody_sees_a_page_before_the_login_but_its_styles():
    async with console("vera") as client:
        for path in PAGES:
            answer = await client.get(path, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (303, "/login"), path
        assert (await client.get("/static/console.css")).status == 200
        page = Found(await (await client.get("/login")).text())
        assert "Your token" in page.text


async def test_a_wrong_token_is_told_in_the_form():
    async with console("vera") as client:
        answer = await client.post("/login", data={"token": "x"})
        assert answer.status == 401
        assert "not known" in Found(await answer.text()).text


async def test_a_form_of_the_session_acts_and_the_way_out_ends_it():
    actions = FakeActions()
    async with console("otto", actions=actions) as client:
        await log_in(client, "otto")
        page = Found(await (await client.get("/orders/new?action=pause&campaign=autumn")).text())
        form = {"nonce": field_of(page, "nonce"), "action": "pause", "campaign": "autumn", "note": "wrong price"}
        answer = await client.post("/orders/new", data=form, allow_redirects=False)
        assert answer.status == 303
        assert actions.done == [("order", "otto", "pause", {"campaign": "autumn"}, "wrong price", None)]
        assert "Sign out" in Found(await (await client.get("/")).text()).text
        out = await client.post("/logout", data={"nonce": form["nonce"]}, allow_redirects=False)
        assert out.headers["Location"] == "/login"
        assert (await client.get("/", allow_redirects=False)).status == 303


@pytest.mark.parametrize("more", [{}, {"Origin": "https://evil.example"}])
async def test_a_form_of_another_site_changes_nothing_and_is_told_as_a_page(more):
    actions = FakeActions()
    async with console("otto", actions=actions) as client:
        await log_in(client, "otto")
        form = {"nonce": "guessed", "action": "pause", "campaign": "autumn", "note": "x"}
        answer = await client.post("/orders/new", data=form, headers=more)
        assert answer.status == 403
        assert "Your role does not allow this" not in (text := Found(await answer.text()).text)
        assert "Refused" in text
    assert actions.done == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),  # as browsers send our own forms
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
async def test_a_hidden_origin_is_ours_if_the_browser_says_so(said, status):
    async with console("otto") as client:
        await log_in(client, "otto")
        page = Found(await (await client.get("/orders/new?action=pause&campaign=autumn")).text())
        form = {"nonce": field_of(page, "nonce"), "action": "pause", "campaign": "autumn", "note": "x"}
        answer = await client.post("/orders/new", data=form, headers=said, allow_redirects=False)
        assert answer.status == status


async def test_a_role_that_may_not_act_is_told_so_as_a_page():
    async with console("vera") as client:
        await log_in(client, "vera")
        page = Found(await (await client.get("/")).text())
        nonce = field_of(page, "nonce")  # that of the way out
        form = {"nonce": nonce, "action": "pause", "campaign": "autumn", "note": "x"}
        answer = await client.post("/orders/new", data=form)
        assert answer.status == 403
        assert "operator" in Found(await answer.text()).text
