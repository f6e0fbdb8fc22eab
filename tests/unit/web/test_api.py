"""The API as somebody with a token types it: who may what, what is refused, and what the document promises."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import quote

import jsonschema
import pytest

from pipeline.console.operator import system_user
from pipeline.domain.address_hash import address_hash
from pipeline.domain.audit import Door, Role, Who
from pipeline.web.guard import HEADERS, LARGEST_BODY
from tests.harness.web_rig import COMPLAINT, ENTRY, LEFT, PAUSE, T0, TOKENS, WebRig, web_rig

ALL = ("vera", "otto", "ada")
ROOT = "/api/v1"


class Asked(NamedTuple):
    """A request, the role it needs, and what it is answered."""

    method: str
    path: str
    body: Any = None
    needs: Role = Role.VIEWER
    status: int = 200
    act: str = ""
    """What a refusal is recorded as: action and target."""


ORDER = {"action": "pause", "target": {"campaign": "autumn"}, "note": "wrong price"}
REQUESTS = {
    "openapi": Asked("GET", "/openapi.json"),
    "touch": Asked("GET", "/touches/t%2F1"),
    "touches": Asked("GET", "/touches?lead=ann"),
    "campaigns": Asked("GET", "/campaigns"),
    "campaign": Asked("GET", "/campaigns/spring"),
    "lanes": Asked("GET", "/lanes"),
    "orders": Asked("GET", "/orders"),
    "suppressions": Asked("GET", "/suppressions"),
    "dead letters": Asked("GET", "/dead-letters"),
    "unconfirmed": Asked("GET", "/unconfirmed"),
    "order": Asked("POST", "/orders", ORDER, Role.OPERATOR, 202, "pause pause:campaign=autumn"),
    "order, waited for": Asked(
        "POST", "/orders", {**ORDER, "wait": 5}, Role.OPERATOR, 200, "pause pause:campaign=autumn"
    ),
    "dry run": Asked("POST", "/orders", {**ORDER, "dry_run": True}, Role.OPERATOR, 200, "pause pause:campaign=autumn"),
    "resume": Asked(
        "POST",
        "/orders",
        {"action": "resume", "target": {"campaign": "spring"}, "note": "n"},
        Role.OPERATOR,
        202,
        "resume pause:campaign=spring",
    ),
    "cancel": Asked(
        "POST",
        "/orders",
        {"action": "cancel", "target": {"lead": "ann ü"}, "note": "n", "until": "now"},
        Role.OPERATOR,
        202,
        "cancel cancel:lead=ann%20%C3%BC",
    ),
    "an order that is none": Asked("POST", "/orders", {}, Role.OPERATOR, 400, "pause touches.control"),
    "suppress": Asked("POST", "/suppressions", {"lead_id": "ann"}, Role.OPERATOR, 202, "suppress *:lead:ann:manual"),
    "an entry that is none": Asked("POST", "/suppressions", {}, Role.OPERATOR, 400, "suppress touches.suppressions"),
    "lift": Asked(
        "DELETE", "/suppressions/" + quote(ENTRY.key, safe=""), None, Role.OPERATOR, 202, f"lift {ENTRY.key}"
    ),
    "lift a complaint": Asked(
        "DELETE", "/suppressions/" + quote(COMPLAINT.key, safe=""), None, Role.ADMIN, 202, f"lift {COMPLAINT.key}"
    ),
    "replay": Asked("POST", "/dead-letters/0/7/replay", None, Role.OPERATOR, 200, "replay 0/7"),
    "resolve": Asked("POST", "/unconfirmed/u%2F1/resolve", {"resolution": "sent"}, Role.OPERATOR, 200, "resolve u/1"),
    "opt-outs": Asked("GET", "/opt-outs"),
    "resolve an opt-out": Asked(
        "POST", "/opt-outs/3A%2F1/resolve", {"dismiss": True, "note": "n"}, Role.OPERATOR, 200, "resolve 3A/1"
    ),
    "audit": Asked("GET", "/audit", None, Role.ADMIN, 200, "unmask touches.audit"),
    "unmasked dead letters": Asked(
        "GET", "/dead-letters?unmask=true", None, Role.ADMIN, 200, "unmask touches.dead-letters"
    ),
    "unmasked unconfirmed": Asked(
        "GET", "/unconfirmed?unmask=true", None, Role.ADMIN, 200, "unmask touches.unconfirmed"
    ),
}


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> WebRig:
    return web_rig(monkeypatch, *ALL)


async def ask(rig: WebRig, asked: Asked, user: str | None = "ada", **headers: str) -> tuple[int, Any, Any]:
    """Return status, body and headers of the answer."""
    said = {} if user is None else {"Authorization": f"Bearer {TOKENS[user]}"}
    async with rig.client() as client:
        answer = await client.request(
            asked.method, ROOT + asked.path, json=asked.body, headers={**said, **headers}, allow_redirects=False
        )
        raw = await answer.read()
        return answer.status, json.loads(raw) if raw else None, answer.headers


@pytest.mark.parametrize("user", ALL)
@pytest.mark.parametrize("name", REQUESTS)
async def test_roles_and_requests(rig: WebRig, name: str, user: str):
    asked = REQUESTS[name]
    role = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN}[user]
    status, body, headers = await ask(rig, asked, user)
    assert {key: headers[key] for key in HEADERS} == HEADERS
    if role.covers(asked.needs):
        assert status == asked.status, body
        assert [each for each in rig.audits if each[3] == "forbidden"] == []
        unmasks = [(user, "unmask", asked.act.split()[1], "done")] if "unmasked" in name else []
        assert rig.audits == unmasks
        assert all(who == Who(user, role, Door.API, "127.0.0.1") for _, who in rig.done)
        return
    assert (status, body["code"], headers["Content-Type"]) == (403, "forbidden", "application/problem+json")
    assert rig.done == []
    assert rig.audits == [(user, *asked.act.split(maxsplit=1), "forbidden")]


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_is_answered_without_a_credential(rig: WebRig, name: str):
    status, body, headers = await ask(rig, REQUESTS[name], None)
    assert (status, body["code"], headers["WWW-Authenticate"]) == (401, "unauthorized", "Bearer")
    status, body, _ = await ask(rig, REQUESTS[name], None, Authorization="Bearer wrong")
    assert (status, body["code"]) == (401, "unauthorized")
    assert (rig.done, rig.audits) == ([], [])


async def test_what_the_answers_are_is_what_the_document_says(rig: WebRig):
    _, document, _ = await ask(rig, REQUESTS["openapi"])
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    seen = set()
    for asked in REQUESTS.values():
        status, body, _ = await ask(rig, asked)
        assert status == asked.status
        path = _template(asked.path.partition("?")[0], document["paths"])
        responses = document["paths"][path][asked.method.lower()]["responses"]
        (shape,) = responses.get(str(status), responses["default"])["content"].values()
        schema = {**shape["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)
        seen.add((asked.method, path))
    assert seen == described
    rig.away = True
    for asked in REQUESTS.values():
        status, body, _ = await ask(rig, asked)
        problem = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        if status == 503:
            jsonschema.Draft202012Validator(problem).validate(body)


def _template(path: str, known: Any) -> str:
    if path in known:
        return path
    parts = path.split("/")
    for each in known:
        other = each.split("/")
        if len(other) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(other, parts, strict=True)):
            return each
    raise AssertionError(path)


@pytest.mark.parametrize("name", [name for name, asked in REQUESTS.items() if asked.act and asked.status < 400])
async def test_kafka_away_is_503_and_nothing_is_done(rig: WebRig, name: str):
    rig.away = True
    status, body, _ = await ask(rig, REQUESTS[name])
    if name == "audit":
        assert status == 200, "it stands in the copy"
        return
    assert (status, body["code"], body["title"]) == (503, "kafka_away", "Service Unavailable")
    assert rig.done == []


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (Asked("GET", "/touches/nothing"), 404, "not_found"),
        (Asked("GET", "/campaigns/nothing"), 404, "not_found"),
        (Asked("GET", "/nothing"), 404, "not_found"),
        (Asked("GET", ""), 404, "not_found"),
        (Asked("POST", "/touches"), 405, "bad_method"),
        (Asked("PUT", "/orders"), 405, "bad_method"),
        (Asked("DELETE", "/suppressions/sms%3Anobody%3Amanual"), 404, "not_found"),
        (Asked("POST", "/dead-letters/0/8/replay"), 404, "not_found"),
        (Asked("POST", "/dead-letters/0/x/replay"), 404, "not_found"),
        (Asked("POST", "/dead-letters/0/7/replay", {"new_id": "refused"}), 409, "conflict"),
        (Asked("POST", "/dead-letters/0/7/replay", {"new_id": "ü"}), 400, "bad_request"),
        (Asked("POST", "/unconfirmed/nothing/resolve", {"resolution": "sent"}), 404, "not_found"),
        (Asked("POST", "/unconfirmed/u%2F1/resolve", {"resolution": "not_sent"}), 409, "conflict"),
        (Asked("POST", "/unconfirmed/u%2F1/resolve", {"resolution": "ask"}), 400, "bad_request"),
        (Asked("POST", "/opt-outs/nothing/resolve", {"dismiss": True, "note": "n"}), 404, "not_found"),
        (Asked("POST", "/opt-outs/3A%2F1/resolve", {"note": "n"}), 400, "bad_request"),
        (Asked("POST", "/opt-outs/3A%2F1/resolve", {"address": "a@example.com", "note": "n"}), 400, "bad_request"),
        (Asked("POST", "/opt-outs/3A%2F1/resolve", {"dismiss": True}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "action": "resume"}), 409, "conflict"),
        (Asked("POST", "/orders", {**ORDER, "more": 1}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": {"more": "x"}}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": {}}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": "some"}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": {"sender": "a"}}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": {"channel": "sms", "sender": "z"}}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "target": "all", "action": "cancel"}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "until": "now"}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "until": "soon"}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "until": 10**25}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "action": "cancel", "until": -(10**25)}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "until": 1_795_000_000}), 400, "bad_request"),
        (Asked("GET", "/orders?after=" + "9" * 5_000), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "note": " "}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "note": "x" * 501}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "wait": 61}), 400, "bad_request"),
        (Asked("POST", "/orders", {**ORDER, "wait": "61s"}), 400, "bad_request"),
        (Asked("POST", "/orders?wait=1", ORDER), 400, "bad_request"),
        (Asked("POST", "/orders", [1]), 400, "bad_request"),
        (Asked("POST", "/suppressions", {"address": "nobody"}), 400, "bad_request"),
        (Asked("POST", "/suppressions", {"address": "+12125550001", "scope": "email"}), 400, "bad_request"),
        (Asked("POST", "/suppressions", {"lead_id": "ann", "address": "a@b.example"}), 400, "bad_request"),
        (Asked("GET", "/touches"), 400, "bad_request"),
        (Asked("GET", "/touches?lead=a&campaign=b"), 400, "bad_request"),
        (Asked("GET", "/touches?lead=a&lead=b"), 400, "bad_request"),
        (Asked("GET", "/touches?lead=a&more=b"), 400, "bad_request"),
        (Asked("GET", "/touches?lead=a&state=gone"), 400, "bad_request"),
        (Asked("GET", "/touches?address=nobody"), 400, "bad_request"),
        (Asked("GET", "/campaigns?limit=0"), 400, "bad_request"),
        (Asked("GET", "/campaigns?limit=101"), 400, "bad_request"),
        (Asked("GET", "/campaigns?after=wrong"), 400, "bad_request"),
        (Asked("GET", "/orders?after=wrong"), 400, "bad_request"),
        (Asked("GET", "/orders?state=gone"), 400, "bad_request"),
        (Asked("GET", "/suppressions?hash=x"), 400, "bad_request"),
        (Asked("GET", "/dead-letters?reason=x"), 400, "bad_request"),
        (Asked("GET", "/dead-letters?unmask=yes"), 400, "bad_request"),
    ],
    ids=lambda value: f"{value.method} {value.path} {value.body}"[:70] if isinstance(value, Asked) else "",
)
async def test_what_cannot_be_asked_is_told_as_a_problem(rig: WebRig, asked: Asked, status: int, code: str):
    told, body, headers = await ask(rig, asked)
    assert (told, body["code"], body["status"]) == (status, code, status), body
    assert headers["Content-Type"] == "application/problem+json"
    assert set(body) == {"status", "title", "detail", "code"}
    assert rig.done == []
    if status == 405:
        assert headers["Allow"]


async def test_bodies_have_a_type_and_a_bound(rig: WebRig):
    async with rig.client() as client:
        url, headers = f"{ROOT}/orders", {"Authorization": f"Bearer {TOKENS['ada']}"}
        answer = await client.post(url, data=b"{}", headers=headers)
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (415, "bad_type")
        large = json.dumps({**ORDER, "note": "x" * LARGEST_BODY}).encode()
        answer = await client.post(url, data=large, headers={**headers, "Content-Type": "application/json"})
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (413, "too_large")
        deep = b'{"action":' + b"[" * 30_000
        answer = await client.post(url, data=deep, headers={**headers, "Content-Type": "application/json"})
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "bad_request")


async def test_an_order_is_given_as_it_was_asked(rig: WebRig):
    _, body, _ = await ask(rig, REQUESTS["cancel"], "otto")
    assert body == {
        "key": "cancel:lead=ann%20%C3%BC",
        "action": "cancel",
        "target": {"lead": "ann ü"},
        "note": "n",
        "by": "otto",
        "at": T0,
        "until": T0,
        "offset": 9,
        "in_force": False,
        "missing": ["sms/a"],
        "touches": 0,
    }
    _, body, _ = await ask(rig, Asked("POST", "/orders", {**ORDER, "target": "all", "until": T0 + 5}))
    assert (body["target"], body["until"], body["touches"]) == ("all", T0 + 5, 3)


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ({"campaign": "spring"}, 1),
        ({"campaign": "spring", "channel": "sms"}, 1),
        ({"campaign": "spring", "channel": "email"}, 0),
        ({"campaign": "autumn"}, 0),
        ({"touch": "t-1"}, 0),
        ({"lead": "ann"}, 1),
        ({"lead": "ann", "campaign": "autumn"}, 0),
        ({"lead": "ann", "channel": "sms", "sender": "a"}, 1),
        ({"lead": "nobody"}, 0),
        ({"channel": "sms"}, 3),
    ],
)
async def test_touches_are_counted_in_the_copy_where_it_can_tell_at_once(rig: WebRig, target: dict, count: int):
    _, body, _ = await ask(rig, Asked("POST", "/orders", {**ORDER, "target": target, "dry_run": True}))
    assert body["touches"] == count, "3 is what the statuses say"


async def test_masked_is_null_and_unmasked_is_told_after_it_was_recorded(rig: WebRig):
    _, body, _ = await ask(rig, REQUESTS["dead letters"])
    (letter,) = body["dead_letters"]
    assert (letter["key"], letter["value"], letter["headers"]) == (None, None, None)
    _, body, _ = await ask(rig, REQUESTS["unmasked dead letters"])
    (letter,) = body["dead_letters"]
    assert (letter["key"], letter["value"], letter["headers"]) == ("aw==", "/3t9", [{"name": "h", "value": "dg=="}])
    _, body, _ = await ask(rig, REQUESTS["unconfirmed"])
    assert body["unconfirmed"][0]["to"] is None
    _, body, _ = await ask(rig, REQUESTS["unmasked unconfirmed"])
    assert body["unconfirmed"][0]["to"] == LEFT.work.to
    rig.away, rig.audits[:] = True, []
    assert (await ask(rig, REQUESTS["unmasked unconfirmed"]))[0] == 503, "what cannot be recorded is not shown"


async def test_orders_have_their_state(rig: WebRig):
    _, body, _ = await ask(rig, REQUESTS["orders"])
    (order,) = body["orders"]
    assert (order["key"], order["state"], order["offset"], order["missing"]) == (PAUSE.key, "in_force", 8, [])
    for state, count in (("in_force", 1), ("pending", 0), ("ended", 0)):
        _, body, _ = await ask(rig, Asked("GET", f"/orders?state={state}"))
        assert len(body["orders"]) == count


async def test_resolved_ones_are_told_when_asked_for_and_pages_stay_whole(rig: WebRig):
    async def listed(query: str) -> tuple[int, str | None]:
        _, body, _ = await ask(rig, Asked("GET", f"/unconfirmed?{query}"))
        return len(body["unconfirmed"]), body["next"]

    assert await listed("") == (2, None)
    assert await listed("all=true") == (3, None)
    assert await listed("limit=1") == (1, "1")
    assert await listed("limit=1&after=1") == (1, None)
    assert await listed("limit=1&after=1&all=true") == (1, "2")


async def test_a_page_of_another_site_gets_nothing_done(rig: WebRig):
    asked = REQUESTS["order"]
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        status, body, _ = await ask(rig, asked, Origin=origin)
        assert (status, body["code"]) == (403, "forbidden")
    status, _, _ = await ask(rig, REQUESTS["lift"], Origin="https://evil.example")
    assert (status, rig.done) == (403, [])
    async with rig.client() as client:
        ours = str(client.make_url("/")).rstrip("/")
        headers = {"Authorization": f"Bearer {TOKENS['ada']}", "Origin": ours}
        assert (await client.post(f"{ROOT}/orders", json=ORDER, headers=headers)).status == 202
        headers["Origin"] = ours.replace("http:", "https:")
        assert (await client.post(f"{ROOT}/orders", json=ORDER, headers=headers)).status == 403


async def test_without_users_this_machine_is_admin_and_no_other_name_is_answered(monkeypatch: pytest.MonkeyPatch):
    rig = web_rig(monkeypatch)
    status, _, _ = await ask(rig, REQUESTS["order"], None)
    assert (status, rig.done) == (
        202,
        [("pause:campaign=autumn", Who(system_user(), Role.ADMIN, Door.API, "127.0.0.1"))],
    )
    assert (await ask(rig, REQUESTS["audit"], None))[0] == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80"):
        status, body, _ = await ask(rig, REQUESTS["touches"], None, Host=host)
        assert (status, body["code"]) == (403, "forbidden"), host
    for host in ("localhost:1", "127.0.0.2", "[::1]:6080"):
        assert (await ask(rig, REQUESTS["touches"], None, Host=host))[0] == 200, host


async def test_pending_opt_outs_are_listed_in_pages_newest_first(rig: WebRig) -> None:
    _, body, _ = await ask(rig, Asked("GET", "/opt-outs?limit=1"))
    assert ([each["id"] for each in body["opt_outs"]], body["next"]) == (["3A/1"], "3A/1")
    assert sorted(body["opt_outs"][0]) == ["at", "id", "sender"]
    _, body, _ = await ask(rig, Asked("GET", f"/opt-outs?limit=1&after={quote(body['next'], safe='')}"))
    assert ([each["id"] for each in body["opt_outs"]], body["next"]) == (["3A/0"], None)


async def test_an_opt_out_is_resolved_by_its_number(rig: WebRig) -> None:
    said = {"address": "+12125550001", "note": "found in the chat"}
    status, body, _ = await ask(rig, Asked("POST", "/opt-outs/3A%2F1/resolve", said))
    assert (status, body["id"], body["sender"]) == (200, "3A/1", "wa")
    [(done, who)] = rig.done
    assert (done, who.name) == (f"3A/1 {address_hash('phone', '+12125550001')} found in the chat", "ada")
