"""The OpenAPI document of the API, made of the schemas of the records and of the bodies that are read."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from pipeline.console.orders.work import OrderState
from pipeline.domain.audit import Role
from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.story import State
from pipeline.records import schemas
from pipeline.web.answers import LONGEST_PAGE
from pipeline.web.bodies import OptOutBody, OrderBody, ReplayBody, ResolveBody, SuppressionBody
from pipeline.web.problem import Code

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_YES_NO: Final[Schema] = {"type": "boolean"}
_INSTANT: Final[Schema] = {"type": "integer", "description": "Epoch milliseconds."}
_PLAIN: Final = {"string": _TEXT, "long": _WHOLE, "int": _WHOLE, "boolean": _YES_NO, "null": {"type": "null"}}
_BYTES: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
_BODIES: Final = (OrderBody, SuppressionBody, ReplayBody, ResolveBody, OptOutBody)
_REF: Final = "#/components/schemas/{name}"


def document() -> Schema:
    """Return the document."""
    _, bodies = msgspec.json.schema_components(_BODIES, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "touch-pipeline",
            "version": "v1",
            "description": "What happened to a touch, and what is to happen. Instants are epoch milliseconds. Ids and keys in paths are percent-encoded as a whole.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**_shapes(), **bodies},
        },
    }


# --- shapes ------------------------------------------------------------------------------------------------------


def _or_null(shape: Schema) -> Schema:
    return {"anyOf": [shape, {"type": "null"}]}


def _list(shape: Schema) -> Schema:
    return {"type": "array", "items": shape}


def _object(**members: Schema) -> Schema:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _named(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _avro(kind: Any) -> Schema:
    """Return the JSON of an Avro type, as this API writes it."""
    match kind:
        case list():
            return {"anyOf": [_avro(each) for each in kind]}
        case {"type": "array"}:
            return _list(_avro(kind["items"]))
        case {"type": "map"}:
            return {"type": "object", "additionalProperties": _avro(kind["values"])}
        case {"type": "record"}:
            return _object(**_members(kind))
        case "bytes":
            return _BYTES
        case _:
            return _PLAIN[kind]


def _members(record: Schema) -> dict[str, Schema]:
    return {each["name"]: {**_avro(each["type"]), "description": each["doc"]} for each in record["fields"]}


def _record(name: str) -> dict[str, Schema]:
    return _members(json.loads(schemas.current(name).text))


def _shapes() -> dict[str, Schema]:
    """Return the shapes of the answers, by name."""
    letter = _record("dead_letter")
    masked = {name: _or_null(letter[name]) for name in ("key", "value", "headers")}
    listed = _touch_members()
    return {
        "Status": _object(**_record("status")),
        "Delivery": _object(**_record("delivery")),
        "Audit": _object(**_record("audit")),
        "Entry": _object(key=_TEXT, **_record("suppression"), offset=_WHOLE),
        "GivenEntry": _object(
            key=_TEXT, **_record("suppression"), offset=_WHOLE, in_force=_YES_NO, missing=_list(_TEXT)
        ),
        "DeadLetter": _object(**{**letter, **masked}, partition=_WHOLE, offset=_WHOLE),
        "Unconfirmed": _object(**_unconfirmed_members()),
        "OptOut": _object(id=_TEXT, at=_INSTANT, sender=_TEXT),
        "Waits": _object(
            why=_one_of(*WHY),
            until=_or_null(_INSTANT),
            orders=_list({**_TEXT, "description": "Keys, the oldest first."}),
        ),
        "Touch": _object(
            **listed,
            waits=_or_null(_named("Waits")),
            statuses=_list(_named("Status")),
            deliveries=_list(_named("Delivery")),
            as_of=_INSTANT,
        ),
        "ListedTouch": _object(**listed, occurred_at=_or_null(_INSTANT)),
        "Campaign": _campaign(),
        "Lane": _lane(),
        "GivenOrder": _object(**_order_members()),
        "ListedOrder": _object(**_order_members(), state=_one_of(*OrderState)),
        "Problem": _object(status=_WHOLE, title=_TEXT, detail=_TEXT, code=_one_of(*Code)),
    }


WHY: Final = ("order", "outage", "window", "not_before", "backoff", "looking_up", "limit", "daily_cap", "gap", "turn")
"""What a touch can wait for."""


def _touch_members() -> dict[str, Schema]:
    return {
        "touch_id": _TEXT,
        "campaign_id": _TEXT,
        "lead_id": _TEXT,
        "channel": _TEXT,
        "sender": _or_null(_TEXT),
        "recipient": _or_null({**_TEXT, "description": "Hash of the address."}),
        "state": _or_null(_one_of(*State)),
        "reason": _or_null(_TEXT),
        "outcome": _or_null(_TEXT),
    }


def _unconfirmed_members() -> dict[str, Schema]:
    words = dict.fromkeys(("touch_id", "campaign_id", "lead_id", "channel", "sender"), _TEXT)
    return {
        **words,
        "to": _or_null({**_TEXT, "description": "Null unless unmasked."}),
        "occurred_at": _INSTANT,
        "error": _TEXT,
        "error_code": _or_null(_TEXT),
        "claimed_at": _INSTANT,
        "resolution": _or_null(_one_of("sent", "not_sent")),
        "resolved_at": _or_null(_INSTANT),
        "provider_message_id": _or_null(_TEXT),
        "resent_as": _or_null(_TEXT),
    }


def _campaign() -> Schema:
    of_state = {"channel": _TEXT, "state": _TEXT}
    return _object(
        campaign_id=_TEXT,
        states=_list(_object(**of_state, reason=_or_null(_TEXT), touches=_WHOLE)),
        kinds=_list(_object(channel=_TEXT, kind=_TEXT, touches=_WHOLE)),
        hours=_list(_object(hour=_INSTANT, **of_state, touches=_WHOLE)),
        as_of=_INSTANT,
    )


def _lane() -> Schema:
    return _object(
        channel=_TEXT,
        sender=_TEXT,
        lane=_WHOLE,
        backlog=_or_null(_WHOLE),
        parked=_WHOLE,
        open_claims=_or_null(_WHOLE),
        held_by=_list(_TEXT),
        orders=_list(_TEXT),
        window_open=_or_null(_YES_NO),
        next_opens_at=_or_null(_INSTANT),
        last_sent_at=_or_null(_INSTANT),
        reported_at=_INSTANT,
    )


def _order_members() -> dict[str, Schema]:
    return {
        "key": _TEXT,
        "action": _one_of("pause", "cancel"),
        "target": {"anyOf": [{"type": "object", "additionalProperties": _TEXT}, {"const": "all"}]},
        "note": _TEXT,
        "by": _TEXT,
        "at": _INSTANT,
        "until": _or_null(_INSTANT),
        "offset": _or_null(_WHOLE),
        "in_force": _YES_NO,
        "missing": _list({**_TEXT, "description": "Lanes, as channel/sender, that do not obey yet."}),
        "touches": _or_null({**_WHOLE, "description": "Touches of the target that have not ended, if counted."}),
    }


# --- requests ----------------------------------------------------------------------------------------------------


def _paths() -> Schema:
    return {
        "/openapi.json": {"get": _get("This document", {"type": "object"})},
        **_touch_paths(),
        **_order_paths(),
        **_entry_paths(),
        **_work_paths(),
        "/audit": {"get": _page(f"What was done, and by whom ({Role.ADMIN})", "audit", _named("Audit"))},
    }


def _touch_paths() -> Schema:
    return {
        "/touches/{id}": {"get": _get("One touch", _named("Touch"), _in_path("id"))},
        "/touches": {
            "get": _page(
                "Touches of a lead, a campaign, an address, or with a provider's id: one of these is needed",
                "touches",
                _named("ListedTouch"),
                *(_asked(name, _TEXT) for name in ("lead", "campaign", "address", "message")),
                _asked("state", _one_of(*State)),
            )
        },
        "/campaigns": {"get": _page("Campaigns", "campaigns", _object(campaign_id=_TEXT, touches=_WHOLE))},
        "/campaigns/{id}": {"get": _get("Counts of a campaign", _named("Campaign"), _in_path("id"))},
        "/lanes": {"get": _page("Lanes, as they told last", "lanes", _named("Lane"))},
    }


def _order_paths() -> Schema:
    state = _asked("state", _one_of(*OrderState))
    return {
        "/orders": {
            "get": _page("Orders that are not over, or those in a state", "orders", _named("ListedOrder"), state),
            "post": _post("Give an order", "OrderBody", _named("GivenOrder"), later=True),
        }
    }


def _entry_paths() -> Schema:
    whom = [_asked(name, _TEXT) for name in ("address", "hash", "lead")]
    said = [_in_path("key"), _asked("note", _TEXT), _asked("wait", _TEXT)]
    return {
        "/suppressions": {
            "get": _page("Entries", "suppressions", _named("Entry"), *whom),
            "post": _post("Add an entry", "SuppressionBody", _named("GivenEntry"), later=True),
        },
        "/suppressions/{key}": {"delete": _done("Lift an entry", _named("GivenEntry"), said, later=True)},
    }


def _work_paths() -> Schema:
    unmask = _asked("unmask", {**_YES_NO, "description": f"Show what is masked ({Role.ADMIN}); is recorded."})
    every = _asked("all", {**_YES_NO, "description": "Also those that are resolved."})
    place = _object(partition=_WHOLE, offset=_WHOLE)
    return {
        "/dead-letters": {
            "get": _page(
                "Dead letters", "dead_letters", _named("DeadLetter"), _asked("reason", _one_of(*DeadReason)), unmask
            )
        },
        "/dead-letters/{partition}/{offset}/replay": {
            "post": _post(
                "Replay a dead letter",
                "ReplayBody",
                _object(replayed_to=place),
                _in_path("partition", _WHOLE),
                _in_path("offset", _WHOLE),
            )
        },
        "/unconfirmed": {
            "get": _page("Touches that ended unconfirmed", "unconfirmed", _named("Unconfirmed"), every, unmask)
        },
        "/unconfirmed/{id}/resolve": {
            "post": _post(
                "Record what became of a touch; one that was not sent is produced again, as another touch",
                "ResolveBody",
                _named("Unconfirmed"),
                _in_path("id"),
            )
        },
        "/opt-outs": {"get": _page("Opt-outs whose number is not known", "opt_outs", _named("OptOut"))},
        "/opt-outs/{id}/resolve": {
            "post": _post("Say whose opt-out it is", "OptOutBody", _named("OptOut"), _in_path("id"))
        },
    }


def _in_path(name: str, shape: Schema = _TEXT) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": shape}


def _asked(name: str, shape: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": shape}


def _answer(about: str, shape: Schema) -> Schema:
    return {"description": about, "content": {"application/json": {"schema": shape}}}


def _answers(about: str, shape: Schema, *, later: bool = False) -> Schema:
    refused = {"description": "Refused.", "content": {"application/problem+json": {"schema": _named("Problem")}}}
    found = {"200": _answer(about, shape)}
    return {**found, **({"202": _answer("Committed, not in force yet.", shape)} if later else {}), "default": refused}


def _get(about: str, shape: Schema, *parameters: Schema) -> Schema:
    return {"summary": about, "parameters": list(parameters), "responses": _answers(about, shape)}


def _page(about: str, name: str, row: Schema, *parameters: Schema) -> Schema:
    limit = _asked("limit", {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": LONGEST_PAGE})
    following = {**_or_null(_TEXT), "description": "The next page's `after`; null at the end."}
    shape = _object(**{name: _list(row), "next": following, "as_of": _INSTANT})
    return _get(about, shape, *parameters, limit, _asked("after", _TEXT))


def _post(about: str, body: str, shape: Schema, *parameters: Schema, later: bool = False) -> Schema:
    done = _done(about, shape, list(parameters), later=later)
    return {**done, "requestBody": {"content": {"application/json": {"schema": _named(body)}}}}


def _done(about: str, shape: Schema, parameters: list[Schema], *, later: bool) -> Schema:
    return {"summary": about, "parameters": parameters, "responses": _answers(about, shape, later=later)}
