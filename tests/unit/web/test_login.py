"""The login of a browser, and what the private listener shows without one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web

from pipeline.web.guard import HEADERS, NONCE, Guard, who_of
from pipeline.web.login import Login
from tests.harness.web_rig import TOKENS, WebRig, web_keys, web_rig


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> WebRig:
    return web_rig(monkeypatch, "vera", "ada")


async def test_a_token_is_changed_for_a_cookie_that_opens_the_rest(rig: WebRig):
    async with rig.client() as client:
        form = await client.get("/login")
        assert (form.status, 'name="token"' in await form.text()) == (200, True)
        copied = f" {TOKENS['vera']}\n"  # with what stood around it
        answer = await client.post("/login", data={"token": copied}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert re.search(r"; HttpOnly; Max-Age=60; Path=/; SameSite=Strict$", cookie), cookie
        said = {"Cookie": cookie.partition(";")[0]}
        assert (await client.get("/api/v1/lanes", headers=said)).status == 200
        assert (await client.get("/api/v1/audit", headers=said)).status == 403
        assert (await client.get("/api/v1/lanes", headers={"Cookie": said["Cookie"] + "0"})).status in {200, 401}


async def test_a_wrong_token_gets_no_cookie_and_soon_no_more_tries(rig: WebRig):
    async with rig.client() as client:
        codes = []
        for _ in range(6):
            answer = await client.post("/login", data={"token": "wrong"}, allow_redirects=False)
            assert "Set-Cookie" not in answer.headers
            codes.append(answer.status)
        assert codes == [401] * 5 + [429]
        assert (await client.post("/login", data={"token": TOKENS["ada"]}, allow_redirects=False)).status == 303
        assert (await client.post("/login", data={}, allow_redirects=False)).status == 429


@pytest.mark.parametrize("path", ["/", "/touches/t", "/nothing", "/static", "/loginx", "/metricsx", "/API/v1/lanes"])
async def test_a_page_leads_to_the_login(rig: WebRig, path: str):
    async with rig.client() as client:
        answer = await client.get(path, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/login")
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        assert "Server" not in answer.headers


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/api/v1/", "/api/v2/x", "/metrics", "/api//v1/lanes"])
async def test_a_program_is_told_that_it_needs_a_token(rig: WebRig, path: str):
    async with rig.client() as client:
        answer = await client.get(path, allow_redirects=False)
        assert (answer.status, answer.headers["Content-Type"]) == (401, "application/problem+json")


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_cookie_goes_by_tls_only_where_browsers_come_by_it(monkeypatch: pytest.MonkeyPatch, *, is_secure: bool):
    rig = web_rig(monkeypatch, "ada")
    rig.access.is_secure = is_secure
    async with rig.client() as client:
        answer = await client.post("/login", data={"token": TOKENS["ada"]}, allow_redirects=False)
        assert ("Secure" in answer.headers["Set-Cookie"]) is is_secure


async def test_a_form_carries_the_nonce_of_its_session(rig: WebRig):
    async def done(request: web.Request) -> web.Response:
        return web.Response(text=who_of(request).name)

    app = Guard(rig.access, is_tls=False).application()
    Login(rig.access).add_to(app)
    app.router.add_post("/things", done)
    rig.application = lambda: app  # type: ignore[method-assign]
    async with rig.client() as client:
        answer = await client.post("/login", data={"token": TOKENS["vera"]}, allow_redirects=False)
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        said: dict[str, Any] = {"headers": {"Cookie": cookie}, "allow_redirects": False}
        nonce = rig.access.nonce(cookie.partition("=")[2])
        assert (await client.post("/things", data={NONCE: nonce}, **said)).status == 200
        assert (await client.post("/things", data={NONCE: "0" * 64}, **said)).status == 403
        assert (await client.post("/things", **said)).status == 403
        answer = await client.post("/logout", data={NONCE: nonce}, **said)
        assert (answer.status, 'touch_session=""' in answer.headers["Set-Cookie"]) == (303, True)


async def test_without_users_there_is_no_login(monkeypatch: pytest.MonkeyPatch):
    rig = web_rig(monkeypatch)
    assert web_keys().users == ()
    async with rig.client() as client:
        answer = await client.get("/login", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("users", [(), ("ada",)])
@pytest.mark.parametrize("header", ["Host", "Origin", "Cookie", "Authorization", "X-Forwarded-For"])
@pytest.mark.parametrize(
    "value", ["[", "http://[::1", "//[x]:y", "touch_session=a." + "9" * 5_000 + ".b", "Bearer \xff"]
)
async def test_no_header_of_a_stranger_is_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, users: tuple[str, ...], header: str, value: str
):
    rig = web_rig(monkeypatch, *users)
    async with rig.client() as client:
        for path in ("/api/v1/lanes", "/login", "/nothing"):
            for method in ("GET", "POST"):
                answer = await client.request(method, path, headers={header: value}, allow_redirects=False)
                assert answer.status < 500, (method, path, answer.status)
    assert "failed" not in caplog.text
