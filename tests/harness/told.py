"""Answers and actions without Kafka, for the pages: ten touches of every kind, and a campaign that behaves like a million."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from pipeline.channels.registry import SPECS
from pipeline.domain.audit import Door, Role, Who
from pipeline.domain.limit import Limit
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.window import Window
from pipeline.domain.work import Channel
from pipeline.web.access import Access
from pipeline.web.foresight import Foresight
from pipeline.web.pages.routes import Pages
from pipeline.web.private import Visiting, private_application
from pipeline.web.problem import Code, Problem
from tests.harness.web_rig import web_keys

NOW = 1_795_749_127_000  # Fri 27 Nov 2026, 03:12:07 UTC
HOUR = 3_600_000
ANN = "9f2b6c1e8a7d4f30b5c2d1e0f9a8b7c6"
HOSTILE = "<script>alert(1)</script>\"' onload=x & ü/?#%"
"""An id that a campaign or a lead may have."""
MILLION = 1_000_000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def status(touch_id: str, sequence: int, state: str, at: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "touch_id": touch_id,
        "sequence": sequence,
        "state": state,
        "reason": reason,
        "occurred_at": at,
        "attempt": 0,
        "error": None,
        "error_code": None,
        "order": None,
        "next_attempt_at": None,
        "provider_message_id": None,
        **more,
    }


def delivery(kind: str, at: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "received_at": at,
        "occurred_at": at,
        "detail": None,
        "error_code": None,
        "error": None,
        **more,
    }


def touch(
    touch_id: str,
    *steps: tuple[Any, ...],
    channel: str = "sms",
    waits: dict[str, Any] | None = None,
    deliveries: tuple[dict[str, Any], ...] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return a touch; a step is (seconds before now, state, reason, more)."""
    statuses = [
        status(touch_id, at + 1, step[1], NOW - int(step[0] * 1000), *step[2:3], **(step[3] if len(step) > 3 else {}))
        for at, step in enumerate(steps)
    ]
    last = statuses[-1]
    return {
        "touch_id": touch_id,
        "campaign_id": "autumn",
        "lead_id": "ann",
        "channel": channel,
        "sender": "main",
        "recipient": ANN,
        "state": last["state"],
        "reason": last["reason"],
        "outcome": deliveries[0]["kind"] if deliveries else None,
        "waits": waits,
        "statuses": statuses,
        "deliveries": list(deliveries),
        "as_of": NOW - 400,
        **more,
    }


PAUSED = "pause:campaign=autumn"
TOUCHES = [
    touch(
        "t-read",
        (9000, "accepted"),
        (8999.6, "deferred", "window", {"next_attempt_at": NOW - 5_000_000}),
        (
            5000,
            "retrying",
            "backoff",
            {"attempt": 1, "error": "Too many messages for this number.", "error_code": "30022"},
        ),
        (4100, "sent", None, {"attempt": 2, "provider_message_id": "SM0123456789abcdef"}),
        deliveries=(delivery("read", NOW - 2_000_000), delivery("delivered", NOW - 4_098_000)),
    ),
    touch(
        "t-window",
        (600, "accepted"),
        (599.7, "deferred", "window", {"next_attempt_at": NOW + 5 * HOUR}),
        waits={"why": "window", "until": NOW + 5 * HOUR, "orders": []},
    ),
    touch(
        "t-paused",
        (7200, "accepted"),
        (3600, "deferred", "paused", {"order": PAUSED}),
        waits={"why": "order", "until": None, "orders": [PAUSED]},
    ),
    touch(
        "t-line", (40, "accepted"), waits={"why": "turn", "until": None, "orders": []}, channel="email", sender="shop"
    ),
    touch(
        "t-outage",
        (4000, "accepted"),
        (
            3990,
            "retrying",
            "outage",
            {"attempt": 1, "error": "503 Service Unavailable [the session is not working: scan]"},
        ),
        waits={"why": "outage", "until": NOW + 30_000, "orders": []},
        channel="whatsapp",
    ),
    touch("t-stop", (86_400 * 3, "accepted"), (86_400 * 2, "suppressed", "opt_out", {"error": "STOP"})),
    touch(
        "t-cancelled",
        (7200, "accepted"),
        (7000, "cancelled", "campaign", {"error": "wrong list", "order": "cancel:campaign=autumn"}),
    ),
    touch("t-unknown", (50_000, "accepted"), (49_990, "retrying", "looking_up"), (6_000, "unconfirmed", "no_answer")),
    touch(
        "t-bounced",
        (90_000, "accepted"),
        (89_999, "sent", None, {"provider_message_id": "re_1"}),
        channel="email",
        deliveries=(delivery("bounced", NOW - 80_000_000, detail="Permanent/General", error="550 no such user"),),
    ),
    touch(
        "t-hostile",
        (10, "failed", "invalid", {"error": HOSTILE}),
        campaign_id=HOSTILE,
        lead_id=HOSTILE,
        sender=None,
        recipient=None,
    ),
]
ORDERS = [
    {
        "key": PAUSED,
        "action": "pause",
        "target": {"campaign": "autumn"},
        "note": "wrong price on page 2",
        "by": "bea",
        "at": NOW - 3_600_000,
        "until": None,
        "offset": 7,
        "in_force": True,
        "missing": [],
        "touches": 12_345,
        "state": "in_force",
    },
    {
        "key": "cancel:campaign=spring;channel=sms",
        "action": "cancel",
        "target": {"campaign": "spring", "channel": "sms"},
        "note": HOSTILE,
        "by": "carl",
        "at": NOW - 4_000,
        "until": NOW + 86_400_000,
        "offset": 9,
        "in_force": False,
        "missing": ["sms/main", "sms/second"],
        "touches": None,
        "state": "pending",
    },
]
LANES = [
    {
        "channel": channel,
        "sender": sender,
        "lane": at,
        "backlog": backlog,
        "parked": parked,
        "open_claims": claims,
        "held_by": held,
        "orders": orders,
        "window_open": is_open,
        "next_opens_at": None if is_open else NOW + 5 * HOUR,
        "last_sent_at": last,
        "reported_at": NOW - 700,
    }
    for at, (channel, sender, backlog, parked, claims, held, orders, is_open, last) in enumerate(
        [
            ("email", "shop", 812_345, 0, 4, [], [], True, NOW - 300),
            ("sms", "main", 1_204, 310, 0, ["window"], [], False, NOW - 7 * HOUR),
            ("whatsapp", "main", 52, 0, 1, ["outage"], [], True, NOW - HOUR),
            ("whatsapp", "second", 0, 0, 0, [], [], True, None),
            ("sms", "second", 9, 0, 0, ["limit", "order"], ["pause:channel=sms;sender=second"], True, NOW - 60_000),
        ]
    )
]


POLICIES = {
    Channel.SMS: ChannelPolicy(
        spec=SPECS[Channel.SMS],
        senders=(SenderPolicy("main", 0, daily_cap=8_000), SenderPolicy("second", 1)),
        window=Window(9 * 3600, 20 * 3600, "Europe/Berlin", days=frozenset(range(6))),
        limit=Limit(30, 60_000),
        warm_up=None,
    ),
    Channel.EMAIL: ChannelPolicy(
        spec=SPECS[Channel.EMAIL], senders=(SenderPolicy("shop", 0),), window=None, limit=None, warm_up=None
    ),
}


def sends(since_ms: int) -> list[dict[str, Any]]:
    minutes = range(since_ms // 60_000, NOW // 60_000 + 1)
    return [
        {"minute": at * 60_000, "channel": "sms", "sender": "main", "touches": 20 + at % 11} for at in minutes if at % 7
    ]


def foretold(campaign: str, per_bucket: list[int], **more: Any) -> dict[str, Any]:
    """Return a campaign of the forecast as `--json forecast` says it."""
    ends = dict.fromkeys(["failed", "expired", "cancelled", "suppressed", "unconfirmed"], 0)
    sent = sum(per_bucket)
    return {
        "campaign_id": campaign,
        "channels": ["email", "sms"],
        "left": sent,
        "deferred": 0,
        "sent": sent,
        **ends,
        "done_at": "2026-11-27T20:09:30Z",
        "sent_per_bucket": per_bucket,
        **more,
    }


def foretold_lane(channel: str, sender: str, held_by: str | None, **more: Any) -> dict[str, Any]:
    return {"channel": channel, "sender": sender, "held_by": held_by, "outage": None, "orders": [], **more}


FORETOLD = {
    "now": "2026-11-27T03:10:00Z",
    "until": "2027-11-27T03:10:00Z",
    "not_accepted": 0,
    "buckets": {"start": "2026-11-27T03:00:00Z", "seconds": 1800, "count": 35},
    "lanes": [
        foretold_lane("email", "shop", "2 per 1m"),
        foretold_lane("sms", "main", "closed window"),
        foretold_lane("whatsapp", "main", "outage: HTTP 503", outage="HTTP 503"),
    ],
    "campaigns": [
        foretold("autumn", [1] + [0] * 9 + [1] + [0] * 24),
        foretold("huge", [2_000] * 5 + [0] * 5 + [7_600] * 25, left=200_100, expired=100),
        foretold(HOSTILE, [0] * 35, left=2, expired=2, done_at=None),
    ],
}


def foreseen() -> Foresight:
    return Foresight(FORETOLD, is_being_made=False, has_failed=False)


def suppression(at: int) -> dict[str, Any]:
    return {
        "key": f"phone:{ANN}:opt_out" if at == 0 else f"*:lead:lead-{at}:manual",
        "scope": "phone" if at == 0 else "*",
        "address_hash": ANN if at == 0 else None,
        "lead_id": None if at == 0 else f"lead-{at}",
        "reason": "opt_out" if at == 0 else "manual",
        "note": "STOP" if at == 0 else HOSTILE,
        "touch_id": "t-read" if at == 0 else None,
        "by": "recipient" if at == 0 else "bea",
        "at": NOW - at * 60_000,
    }


def letter(at: int, newest: int = 100) -> dict[str, Any]:
    """Return the dead letter before which `at` are newer; `newest` is the offset of the first."""
    return {
        "partition": at % 4,
        "offset": newest - at,
        "occurred_at": NOW - at * 60_000,
        "reason": ("invalid", "undecodable", "conflict")[at % 3],
        "error": "to: no phone number: " + (HOSTILE if at == 1 else "it has no country code"),
        "source_topic": "touches",
        "source_partition": at % 4,
        "source_offset": 5_000 + at,
        "touch_id": None if at % 3 == 1 else f"t-dead-{at}",
        "key": None,
        "value": None,
        "headers": None,
    }


def paged(rows: int, make: Any, limit: int, after: str | None) -> tuple[list[Any], str | None]:
    """Return a page of a list of `rows` rows that are made when they are asked for."""
    begin = int(after or 0)
    end = min(rows, begin + limit)
    return [make(at) for at in range(begin, end)], str(end) if end < rows else None


def demand(who: Who, needed: Role) -> None:
    """Refuse a role, as the real ones do."""
    if who.role is None or not who.role.covers(needed):
        raise Problem(Code.FORBIDDEN, f"this needs the role {needed}")


class FakeAnswers:
    """Tells of the ten touches, and of campaign `huge` with a million."""

    def __init__(self, *, is_empty: bool = False) -> None:
        self.is_empty = is_empty
        self.is_away = False
        self.as_of = NOW - 400
        self.letters = 100
        self.unmasked: list[str] = []

    def _check(self) -> None:
        if self.is_away:
            raise Problem(Code.KAFKA_AWAY, "Kafka does not answer.")

    async def touch(self, touch_id: str) -> dict[str, Any]:
        found = next((each for each in TOUCHES if each["touch_id"] == touch_id), None)
        if found is None or self.is_empty:
            raise Problem(Code.NOT_FOUND, f"There is no touch {touch_id}.")
        return {**found, "as_of": self.as_of}

    async def touches(self, *, lead=None, campaign=None, address=None, message=None, state=None, limit=100, after=None):
        if address is not None and "@" not in address and not address.startswith("+"):
            raise Problem(Code.BAD_REQUEST, "No address.")
        found: list[dict[str, Any]] = []
        if campaign == "huge" or lead == "huge":
            rows, after = paged(MILLION, lambda at: {**self._row(TOUCHES[at % 9]), "touch_id": f"t-{at}"}, limit, after)
            return {"touches": rows, "next": after, "as_of": self.as_of}
        for each in TOUCHES:
            is_meant = (
                lead == each["lead_id"]
                or campaign == each["campaign_id"]
                or (address == "+12125550001" and each["recipient"] == ANN)
                or (message is not None and message in [said["provider_message_id"] for said in each["statuses"]])
            )
            if is_meant and state in (None, each["state"]) and not self.is_empty:
                found.append(self._row(each))
        return {"touches": found[:limit], "next": None, "as_of": self.as_of}

    def _row(self, each: dict[str, Any]) -> dict[str, Any]:
        row = {name: value for name, value in each.items() if name not in ("waits", "statuses", "deliveries", "as_of")}
        return {**row, "occurred_at": each["statuses"][-1]["occurred_at"]}

    async def campaigns(self, *, limit=100, after=None):
        if self.is_empty:
            return {"campaigns": [], "next": None, "as_of": self.as_of}
        names = ["autumn", "huge", HOSTILE]
        rows, after = paged(
            250,
            lambda at: {"campaign_id": names[at] if at < 3 else f"c-{at}", "touches": MILLION if at == 1 else 10 + at},
            limit,
            after,
        )
        return {"campaigns": rows, "next": after, "as_of": self.as_of}

    async def campaign(self, campaign_id: str) -> dict[str, Any]:
        if campaign_id not in ("autumn", "huge", HOSTILE) or self.is_empty:
            raise Problem(Code.NOT_FOUND, "There is no such campaign.")
        many = 100_000 if campaign_id == "huge" else 1
        counted = [("sent", None, 7), ("accepted", None, 1), ("deferred", "window", 1), ("suppressed", "opt_out", 1)]
        hours = [
            {"hour": NOW // HOUR * HOUR - at * HOUR, "channel": "sms", "state": state, "touches": many * count}
            for at in range(60 if many > 1 else 5)
            for state, count in (("sent", 1 + (at * 7) % 5), ("accepted", at % 2), ("suppressed", at % 3))
            if count
        ]
        return {
            "campaign_id": campaign_id,
            "states": [
                {"channel": "sms", "state": state, "reason": reason, "touches": count * many}
                for state, reason, count in counted
            ],
            "kinds": [{"channel": "sms", "kind": "delivered", "touches": 6 * many}],
            "hours": hours,
            "as_of": self.as_of,
        }

    async def lanes(self) -> dict[str, Any]:
        self._check()
        return {"lanes": [] if self.is_empty else [dict(each) for each in LANES], "as_of": self.as_of}

    async def orders(self, *, state=None, limit=100, after=None):
        self._check()
        found = [each for each in ORDERS if state in (None, each["state"])]
        return {"orders": [] if self.is_empty else found, "next": None}

    async def order(self, key: str) -> dict[str, Any]:
        self._check()
        found = None if self.is_empty else next((each for each in ORDERS if each["key"] == key), None)
        return {"order": found, "as_of": self.as_of}

    async def suppressions(self, *, address=None, hashed=None, lead=None, limit=100, after=None):
        self._check()
        if address or hashed or lead:
            found = [
                each
                for at in range(3)
                if lead == (each := suppression(at))["lead_id"] or hashed == each["address_hash"]
            ]
            return {"suppressions": found, "next": None}
        rows, after = paged(0 if self.is_empty else MILLION, suppression, limit, after)
        return {"suppressions": rows, "next": after}

    async def dead_letters(self, *, reason=None, limit=100, after=None, unmasked_for=None):
        self._check()
        many = 0 if self.is_empty else self.letters
        rows, after = paged(many, lambda at: letter(at, self.letters), limit, after)
        more = self._unmasks(unmasked_for)
        rows = [{**each, **more} for each in rows]
        return {"dead_letters": [each for each in rows if reason in (None, each["reason"])], "next": after}

    async def dead_letter(self, partition, offset, *, unmasked_for=None):
        at = self.letters - offset
        found = letter(at, self.letters)
        if self.is_empty or not 0 <= at < self.letters or found["partition"] != partition:
            raise Problem(Code.NOT_FOUND, "There is no such dead letter.")
        return {**found, **self._unmasks(unmasked_for), "as_of": self.as_of}

    def _unmasks(self, who: Who | None) -> dict[str, Any]:
        if who is None:
            return {}
        demand(who, Role.ADMIN)
        self.unmasked.append(who.name)
        return {"value": "eyJ0b3VjaF9pZCI6ICI8Yj50PC9iPiJ9", "headers": []}

    async def unconfirmed(self, *, limit=100, after=None, unmasked_for=None, is_all=True):
        self._check()
        row = {
            "touch_id": "t-unknown",
            "campaign_id": "autumn",
            "lead_id": "ann",
            "channel": "sms",
            "sender": "main",
            "to": None,
            "occurred_at": NOW - 6_000_000,
            "error": "no answer in 12 h",
        }
        return {"unconfirmed": [] if self.is_empty else [row], "next": None}

    async def opt_outs(self, *, limit=100, after=None):
        self._check()
        return {
            "opt_outs": [] if self.is_empty else [{"id": "o/1 <b>", "at": NOW - 60_000, "sender": "main"}],
            "next": None,
        }

    async def may_audit(self, who):
        if who.role is not Role.ADMIN:
            raise Problem(Code.FORBIDDEN, "The audit is for administrators.")

    async def audit(self, *, limit=100, after=None):
        self._check()
        rows, after = paged(
            0 if self.is_empty else 250,
            lambda at: {
                "id": str(at),
                "at": NOW - at * 60_000,
                "by": "bea",
                "role": "operator",
                "door": "console",
                "action": "pause",
                "target": PAUSED,
                "note": HOSTILE,
                "result": "done" if at % 5 else "forbidden",
                "remote": None,
            },
            limit,
            after,
        )
        return {"audit": rows, "next": after}


class FakeActions:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.refusal: Problem | None = None
        """What every act is answered with."""

    def _demand(self, who: Who) -> None:
        demand(who, Role.OPERATOR)
        if self.refusal is not None:
            raise self.refusal

    async def order(self, who, *, action, target, note, until=None, wait_s=0, is_dry=False):
        self._demand(who)
        if action == "resume" and target == {"campaign": "never"}:
            raise Problem(Code.CONFLICT, "Nothing is paused under this target.")
        if until == "soon":
            raise Problem(Code.BAD_REQUEST, "until: a duration such as 2h, or an instant with its offset.")
        if not note:
            raise Problem(Code.BAD_REQUEST, "A note is needed.")
        written = "all" if target == "all" else ";".join(f"{name}={value}" for name, value in target.items())
        key = f"{'cancel' if action == 'cancel' else 'pause'}:{written}"
        if not is_dry:
            self.done.append(("order", who.name, action, target, note, until))
        return {**ORDERS[0], "key": key, "target": target, "action": action, "touches": 12_345, "in_force": False}

    async def suppress(self, who, entry, *, wait_s=0):
        self._demand(who)
        self.done.append(("suppress", who.name, dict(entry)))
        return {**suppression(1), **entry}

    async def lift(self, who, key, *, note=None, wait_s=0):
        self._demand(who)
        if "complained" in key:
            raise Problem(Code.FORBIDDEN, "Only an administrator may lift a complaint.")
        self.done.append(("lift", who.name, key, note))
        return suppression(0)

    async def replay(self, who, partition, offset, *, new_id=None):
        self._demand(who)
        self.done.append(("replay", who.name, partition, offset, new_id))
        return {"replayed_to": {"partition": partition, "offset": 1}}

    async def resolve(self, who, touch_id, *, resolution, provider_message_id=None):
        self._demand(who)
        self.done.append(("resolve", who.name, touch_id, resolution, provider_message_id))
        return {"touch_id": touch_id}

    async def resolve_opt_out(self, who, opt_out_id, *, note, address=None, is_dismissed=False):
        self._demand(who)
        self.done.append(("resolve_opt_out", who.name, opt_out_id, note, address, is_dismissed))
        return {"id": opt_out_id}


class FakeVisitors:
    """One visitor, whose forms carry `right`."""

    def __init__(self, role: Role = Role.ADMIN) -> None:
        self.role = role

    def who(self, _request: web.Request) -> Who:
        return Who("bea", self.role, Door.CONSOLE, "127.0.0.1")

    def nonce(self, _request: web.Request) -> str:
        return "right"

    def is_ours(self, _request: web.Request, nonce: str) -> bool:
        return nonce == "right"


def login_of(pages: Pages) -> Any:
    async def login(request: web.Request) -> web.Response:
        return pages.shown(request, None)

    return login


def console(
    answers: FakeAnswers | None = None,
    actions: FakeActions | None = None,
    role: Role = Role.ADMIN,
    foreseen: Callable[[], Foresight] = foreseen,
) -> web.Application:
    """Return an application with the pages, and the headers that the private listener gives every answer."""
    app = web.Application()

    async def give_headers(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    app.on_response_prepare.append(give_headers)
    pages = Pages(
        answers=answers or FakeAnswers(),  # type: ignore[arg-type]
        actions=actions or FakeActions(),  # type: ignore[arg-type]
        visitors=FakeVisitors(role),
        now_ms=lambda: NOW,
        policies=POLICIES,
        sends=sends,
        foreseen=foreseen,
    )
    pages.add_to(app)
    app.router.add_get("/login", login_of(pages))
    return app


def guarded(
    answers: FakeAnswers,
    actions: FakeActions,
    *users: str,
    foreseen: Callable[[], Foresight] = foreseen,
    behind_tls: bool = False,
) -> web.Application:
    """Return the pages behind the real guard; without users everybody is an admin."""
    access = Access(web_keys(*users, behind_tls=behind_tls), lambda: NOW)
    pages = Pages(
        answers=answers,  # type: ignore[arg-type]
        actions=actions,  # type: ignore[arg-type]
        visitors=Visiting(access),
        now_ms=lambda: NOW,
        policies=POLICIES,
        sends=sends,
        foreseen=foreseen,
    )
    return private_application(access, [pages], is_tls=False, told=pages.told, shown=pages.shown)


if __name__ == "__main__":
    web.run_app(console(), host="127.0.0.1", port=6099)
