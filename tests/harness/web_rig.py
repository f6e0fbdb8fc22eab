"""The private listener as the web process puts it together, over a copy and a Kafka that the test makes up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer

from pipeline.channels.registry import SPECS
from pipeline.console.command_context import CommandContext
from pipeline.console.dead_letters.view import ShownLetter
from pipeline.console.order.view import ShownOrder
from pipeline.console.order.work import Giving
from pipeline.domain.audit import Role, Who
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.domain.fact import PendingOptOut
from pipeline.domain.order import Action, Order, PlacedOrder, Target
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.token import token_hash
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Channel, Claim, Request
from pipeline.kafka.cluster import Cluster, CommandFailed, Conflicting, NothingSuch
from pipeline.kafka.control import ControlLog
from pipeline.kafka.topic import RecordPosition
from pipeline.lookup.queries import BadCursor
from pipeline.records.control import suppression_datum
from pipeline.records.lane_report import LaneReport
from pipeline.records.published import ValueReader
from pipeline.records.writing import single_object
from pipeline.secret import Secret
from pipeline.settings.users import UserKeys
from pipeline.settings.web import Listen, WebKeys
from pipeline.web import actions as acting
from pipeline.web import answers as answering
from pipeline.web import rights as righting
from pipeline.web.access import Access
from pipeline.web.actions import Actions
from pipeline.web.answers import Answers
from pipeline.web.api import Api
from pipeline.web.private import private_application
from pipeline.web.rights import Rights
from tests.harness.lane_rig import work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

T0 = 1_795_000_000_000
TOKENS = {"vera": "v" * 43, "otto": "o" * 43, "ada": "a" * 43}
ROLES = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN}
STATUS = {
    "touch_id": "t/1",
    "campaign_id": "spring",
    "lead_id": "ann",
    "channel": "sms",
    "state": "accepted",
    "reason": None,
    "attempt": 0,
    "sequence": 1,
    "sender": None,
    "provider_message_id": None,
    "error_code": None,
    "error": None,
    "next_attempt_at": None,
    "metadata": {"k": "v"},
    "occurred_at": T0,
    "recipient": "0" * 32,
    "order": None,
}
TOUCH = {
    **{
        name: STATUS[name] for name in ("touch_id", "campaign_id", "lead_id", "channel", "recipient", "state", "reason")
    },
    "sender": "a",
    "outcome": None,
    "occurred_at": T0,
}
DELIVERY = {
    "touch_id": "t/1",
    "campaign_id": "spring",
    "lead_id": "ann",
    "channel": "sms",
    "sender": "a",
    "sequence": 1,
    "kind": "delivered",
    "provider_message_id": "SM1",
    "recipient": None,
    "detail": None,
    "error_code": None,
    "error": None,
    "occurred_at": None,
    "received_at": T0,
    "metadata": {},
}
LETTER = {
    "reason": "invalid",
    "error": "wrong",
    "source_topic": "touches",
    "source_partition": 0,
    "source_offset": 4,
    "key": b"k",
    "value": b"\xff{}",
    "headers": [{"name": "h", "value": b"v"}],
    "touch_id": None,
    "occurred_at": T0,
    "partition": 0,
    "offset": 7,
}
ENTRY = Suppression(Scope.SMS, lead_id="ann ü", reason=SuppressionReason.MANUAL, note="said so", by="bob", at_ms=T0)
COMPLAINT = Suppression(
    Scope.EMAIL, address_hash="1" * 32, reason=SuppressionReason.COMPLAINED, by="provider", at_ms=T0
)
REPORT = LaneReport(
    channel="sms",
    sender="a",
    lane=0,
    control_seen=9,
    control_in_force=9,
    suppressions_seen=9,
    suppressions_in_force=9,
    parked=2,
    at_ms=T0,
)
PAUSE = Order(Action.PAUSE, Target(campaign="spring"), note="wrong", by="bob", at_ms=T0)
AUDIT = {
    "id": "a1",
    "at": T0,
    "by": "ada",
    "role": "admin",
    "door": "api",
    "action": "pause",
    "target": "pause:all",
    "note": None,
    "result": "done",
    "remote": "127.0.0.1",
}
LEFT = Unconfirmed(Claim("c1", (work("u/1"),), Request("/send", b"", "text/plain", ""), T0, T0 + 1), T0, "no answer")


class MadeUpCopy:
    """A copy with one of each."""

    as_of_ms = T0
    lag_records = 0
    lag_s = 0.0

    def touch(self, touch_id: str) -> dict[str, Any] | None:
        return {**TOUCH, "statuses": [STATUS], "deliveries": [DELIVERY]} if touch_id == "t/1" else None

    def touches(self, **asked: Any) -> tuple[list[dict[str, Any]], str | None]:
        self._check(asked.get("after"))
        return ([dict(TOUCH)] if "nobody" not in asked.values() else []), None

    def campaigns(self, limit: int, after: str | None) -> tuple[list[dict[str, Any]], str | None]:
        self._check(after)
        return [{"campaign_id": "spring", "touches": 1, "occurred_at": T0}][:limit], "more"

    def campaign(self, campaign_id: str) -> dict[str, Any] | None:
        state = {"channel": "sms", "state": "accepted"}
        return (
            {
                "campaign_id": campaign_id,
                "touches": 1,
                "states": [{**state, "reason": None, "touches": 1}],
                "kinds": [{"channel": "sms", "kind": "delivered", "touches": 1}],
                "hours": [{"hour": T0, **state, "touches": 1}],
            }
            if campaign_id == "spring"
            else None
        )

    def dead_letters(
        self, *, reason: str | None, limit: int, after: str | None, is_unmasked: bool
    ) -> tuple[list[dict[str, Any]], str | None]:
        self._check(after)
        masked = {} if is_unmasked else {"key": None, "value": None, "headers": None}
        return [{**LETTER, **masked}], None

    def unconfirmed(
        self, limit: int, after: str | None, *, is_unmasked: bool
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Three: the second is resolved."""
        self._check(after)
        start = int(after or 0)
        told = {**acting.resolved_members(LEFT), "to": LEFT.work.to if is_unmasked else None}
        rows = [{**told, "resolution": "sent" if number == 1 else None} for number in range(3)]
        end = min(start + limit, len(rows))
        return rows[start:end], None if end == len(rows) else str(end)

    def audit(self, limit: int, after: str | None) -> tuple[list[dict[str, Any]], str | None]:
        self._check(after)
        return [dict(AUDIT)], None

    def orders(self) -> list[PlacedOrder]:
        return [PlacedOrder(8, PAUSE)]

    def suppressions(self, **asked: Any) -> tuple[list[dict[str, Any]], str | None]:
        self._check(asked["after"])
        return [self._told(ENTRY)], None

    def suppression(self, key: str) -> dict[str, Any] | None:
        return next((self._told(each) for each in (ENTRY, COMPLAINT) if each.key == key), None)

    def lanes(self) -> dict[str, LaneReport]:
        return {REPORT.key: REPORT}

    @staticmethod
    def _told(entry: Suppression) -> dict[str, Any]:
        return {"key": entry.key, **suppression_datum(entry), "offset": 5}

    @staticmethod
    def _check(after: str | None) -> None:
        if after == "wrong":
            raise BadCursor


@dataclass
class WebRig:
    """The application with what was done by it."""

    access: Access
    away: bool = False
    """Whether Kafka is away."""
    done: list[tuple[str, Who]] = field(default_factory=list)
    """What reached the work below, and by whom."""
    audits: list[Any] = field(default_factory=list)
    """What was recorded of its own: refusals and unmaskings."""

    def application(self) -> Any:
        copy: Any = MadeUpCopy()
        context = _context_without_kafka()
        actions = Actions(context, copy, Rights(context))
        return private_application(self.access, [Api(self.answers(copy), actions)], is_tls=False)

    def answers(self, copy: Any) -> Answers:
        """Return what is told of a copy; no touch of it waits."""
        context = _context_without_kafka()
        return Answers(copy, context, Rights(context), lambda _touch, _orders, _lanes: None)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[TestClient[Any, Any]]:
        async with TestClient(TestServer(self.application())) as client:
            yield client

    def check(self) -> None:
        if self.away:
            raise CommandFailed("Kafka at 127.0.0.1:1 cannot be reached: refused")


def _context_without_kafka() -> CommandContext:
    return command_context(Cluster({"bootstrap_servers": ["127.0.0.1:1"]}))


def command_context(cluster: Cluster) -> CommandContext:
    """Return a context over `cluster`, with one sender of SMS."""
    nothing: Any = None
    policies = {channel: _policy(channel) for channel in Channel}
    return CommandContext(
        cluster=cluster,
        create_topics=nothing,
        add_partitions=None,
        read_status=ValueReader("status"),
        read_delivery=ValueReader("delivery"),
        read_dead_letter=ValueReader("dead_letter"),
        read_touch=nothing,
        desired=nothing,
        policies=policies,
        read_suppression=ValueReader("suppression"),
        read_audit=ValueReader("audit"),
        writer=lambda: single_object,
        privacy_key=b"",
        callback_partitions=4,
        dedup_for_ms=86_400_000,
        now_s=lambda: T0 / 1000,
        sender_of=nothing,
    )


def _policy(channel: Channel) -> ChannelPolicy:
    senders = (SenderPolicy("a", 0),) if channel is Channel.SMS else ()
    return ChannelPolicy(SPECS[channel], senders, window=None, limit=None, warm_up=None)


def web_keys(*users: str, **more: Any) -> WebKeys:
    """Return `[web]` with these users."""
    said = {
        "listen": Listen("127.0.0.1", 0),
        "behind_tls": False,
        "session_for_ms": 60_000,
        "users": tuple(
            UserKeys(name=name, role=ROLES[name], token_hash=Secret(token_hash(TOKENS[name]))) for name in users
        ),
    }
    return WebKeys(**{**dict.fromkeys(WebKeys.__dataclass_fields__), **said, **more})


def web_rig(monkeypatch: pytest.MonkeyPatch, *users: str) -> WebRig:
    """Return the rig; everything below `Actions` that needs a Kafka is replaced."""
    rig = WebRig(Access(web_keys(*users), lambda: T0))

    async def current_orders(_context: Any, _complain: Any) -> ControlLog:
        rig.check()
        return ControlLog({PAUSE.key: PlacedOrder(8, PAUSE)})

    async def give(_context: Any, order: Order, how: Giving, **_: Any) -> ShownOrder:
        rig.check()
        rig.done.append((order.key, how.who))
        missing = ["sms/a"] if how.patience_s is None or how.is_dry else []
        return ShownOrder(order=order, offset=None if how.is_dry else 9, missing=missing, touches=3)

    async def add(_context: Any, entry: Suppression, who: Who) -> int:
        rig.check()
        rig.done.append((entry.key, who))
        return 9

    async def lift(_context: Any, entries: list[Suppression], who: Who, *, note: str | None) -> int:
        rig.check()
        rig.done.extend((f"{each.key} lifted: {note}", who) for each in entries)
        return 9

    async def missing_lanes(
        _context: Any, scopes: Any, offset: int, *, patience_s: float | None, **_: Any
    ) -> list[str]:
        return ["sms/a"] if patience_s is None else []

    async def replay(_context: Any, letters: Any, who: Who, *, new_id: str | None, refuse: Any, **_: Any) -> list[Any]:
        rig.check()
        await letters.aclose()
        if new_id == "refused":
            refuse("0/7", "it cannot be")
            return []
        rig.done.append(("0/7", who))
        return [RecordPosition(1, 42)]

    async def record(_context: Any, touch_id: str, answer: Any, who: Who, _complain: Any) -> tuple[Unconfirmed, bool]:
        rig.check()
        if touch_id != "u/1":
            raise NothingSuch("it has not ended unconfirmed")
        if answer.resolution is Resolved.NOT_SENT:
            raise Conflicting("it is recorded as sent")
        rig.done.append((touch_id, who))
        return LEFT, True

    async def pending_opt_outs_of(_context: Any, _complain: Any) -> list[PendingOptOut]:
        rig.check()
        return [PendingOptOut("3A/0", T0, "wa", "9@lid"), PendingOptOut("3A/1", T0 + 1, "wa", "99@lid")]

    async def resolve_opt_out(_context: Any, pending: PendingOptOut, whom: str | None, who: Who, *, note: str) -> None:
        rig.check()
        rig.done.append((pending.id if whom is None else f"{pending.id} {whom} {note}", who))

    async def write_audit(_cluster: Any, records: Any) -> None:
        rig.check()
        rig.audits.extend(records)

    class Letters:
        def __init__(self, *_: Any) -> None:
            pass

        async def at(self, places: list[RecordPosition]) -> Any:
            if places == [RecordPosition(0, 7)]:
                dead = DeadLetter(DeadReason.INVALID, "wrong", "touches", 0, 4, b"k", b"v", [], None, T0)
                yield ShownLetter(places[0], dead)

    class Kept(righting.Auditor):
        def record(self, action: Any, target: str, note: str | None = None, result: Any = "done") -> Any:
            return self.who.name, str(action), target, str(result)

    for module, made in (
        (
            acting,
            (current_orders, give, add, lift, missing_lanes, replay, record, pending_opt_outs_of, resolve_opt_out),
        ),
        (righting, (write_audit,)),
        (answering, (pending_opt_outs_of,)),
    ):
        for each in made:
            monkeypatch.setattr(module, each.__name__, each)
    monkeypatch.setattr(acting, "DeadLetters", Letters)
    monkeypatch.setattr(righting, "Auditor", Kept)
    return rig
