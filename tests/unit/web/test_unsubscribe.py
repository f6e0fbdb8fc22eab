"""One click to be left alone: POST acts, GET and HEAD never."""

from __future__ import annotations

import re
import time

import aiohttp
import pytest

from pipeline.domain.address_hash import address_hash
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.web.public import LARGEST_BODY
from pipeline.web.unsubscribe import LARGEST_FORM, is_one_click
from tests.unit.web.conftest import KEY, LINKS, NOW_MS

RECIPIENT = address_hash(Channel.EMAIL, "ann@example.com", KEY)
URL = f"/u/{LINKS.code(RECIPIENT)}"
ENTRY = Suppression(
    Scope.EMAIL, address_hash=RECIPIENT, reason=SuppressionReason.UNSUBSCRIBED, by="recipient", at_ms=NOW_MS
)
CLICK = {"List-Unsubscribe": "One-Click"}


def multipart(**fields):
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name.replace("_", "-"), value)
    return form


@pytest.mark.parametrize("form", [CLICK, multipart(List_Unsubscribe="One-Click"), "List-Unsubscribe=One-Click"])
async def test_a_click_is_an_entry_as_often_as_it_comes(public, intake, form):
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if isinstance(form, str) else {}
    answer = await public.post(URL, data=form, headers=headers, allow_redirects=False)
    assert (answer.status, await answer.read(), answer.cookies) == (200, b"", {})
    assert intake.entries == [ENTRY]
    assert (await public.post(URL, data=CLICK)).status == 200
    assert intake.entries == [ENTRY, ENTRY]


async def test_getting_the_link_shows_a_form_that_posts_the_same_and_changes_nothing(public, intake):
    intake.is_away = True
    for method in ("GET", "HEAD"):
        answer = await public.request(method, URL)
        page = await answer.text()
        assert (answer.status, answer.content_type, answer.cookies) == (200, "text/html", {})
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; form-action 'self'")
    page = await (await public.get(URL)).text()
    assert page.count("<form") == 1
    assert "<script" not in page
    assert dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page)) == CLICK
    assert re.search(r"<form method=\"post\">", page)
    intake.is_away = False
    assert intake.entries == []
    assert (await public.post(URL, data=CLICK)).status == 200


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ({}, None),
        ({"List-Unsubscribe": "one-click"}, None),
        ({"list-unsubscribe": "One-Click"}, None),
        ("List-Unsubscribe=One-Click", "multipart/form-data; boundary=x"),
        ("--x\r\n", "multipart/form-data"),
        (multipart(List_Unsubscribe="no"), None),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        ("&".join(["a=b"] * 50), "application/x-www-form-urlencoded"),
        ('{"List-Unsubscribe": "One-Click"}', "application/json"),
    ],
)
async def test_another_body_is_400(public, intake, form, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await public.post(URL, data=form, headers=headers)
    assert (answer.status, intake.entries) == (400, [])


@pytest.mark.parametrize(
    "path",
    [
        "/u",
        "/u/",
        "/u/x",
        URL[:-1],
        URL + "A",
        URL + "/",
        URL[:-1] + ("A" if URL[-1] != "A" else "B"),
        URL[:3] + ("A" if URL[3] != "A" else "B") + URL[4:],
        "/U" + URL[2:],
    ],
)
async def test_a_bad_code_is_404(public, intake, path):
    for method in ("GET", "HEAD", "POST"):
        answer = await public.request(method, path, data=CLICK if method == "POST" else None)
        assert answer.status == 404
    assert intake.entries == []


async def test_other_methods_large_bodies_and_an_absent_kafka_are_told_apart(public, intake):
    assert (await public.put(URL, data=CLICK)).status == 405
    assert (await public.post(URL, data=b"x" * 300_000)).status == 413
    intake.is_away = True
    assert (await public.post(URL, data=CLICK)).status == 503


NESTED = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(4_000))
HEAD = b"--b0\r\nContent-Disposition: form-data"


@pytest.mark.parametrize("size", [LARGEST_FORM, LARGEST_BODY])
@pytest.mark.parametrize(
    "body",
    [NESTED, HEAD + b";" * LARGEST_BODY, HEAD + b'; a="' * LARGEST_BODY, b"--b0\r\n\r\n" * 30_000, b"&" * LARGEST_BODY],
    ids=["nested", "semicolons", "quotes", "parts", "fields"],
)
def test_no_form_costs_more_than_a_moment(body, size):
    began = time.process_time()
    assert not is_one_click("multipart/form-data; boundary=b0", body[:size])
    assert not is_one_click("application/x-www-form-urlencoded", body[:size])
    assert time.process_time() - began < 1
