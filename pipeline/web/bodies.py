"""What may stand in a request's body and query; anything else is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from aiohttp import ClientError, web
from msgspec import Meta, Struct

from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import duration_ms
from pipeline.web.answers import LONGEST_PAGE
from pipeline.web.problem import Code, Problem

if TYPE_CHECKING:
    from collections.abc import Collection

BodyT = TypeVar("BodyT", bound=Struct)

BODY_S: Final = 10.0
"""Seconds in which a body must be whole."""
LONGEST_WAIT_S: Final = 60
JSON: Final = "application/json"
Note = Annotated[str, Meta(min_length=1, max_length=500, description="Why, in a human's words.")]
Wait = Annotated[
    float | str,
    Meta(description="How long to wait until it is in force: seconds from 0 to 60, or a duration such as 10s."),
]


class TargetBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The touches for which all given members hold."""

    campaign: str | None = None
    channel: Literal["whatsapp", "email", "sms"] | None = None
    sender: str | None = None
    lead: str | None = None
    touch: str | None = None

    def named(self) -> dict[str, str]:
        """Return the given members."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class OrderBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An order."""

    action: Literal["pause", "resume", "cancel"]
    target: TargetBody | Literal["all"]
    note: Note
    until: Annotated[
        int | str | None, Meta(description="A duration from now, an instant (ISO 8601, or epoch milliseconds), or now.")
    ] = None
    wait: Wait = 0
    dry_run: Annotated[bool, Meta(description="Nothing is written.")] = False


class SuppressionBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry; one of `address`, `address_hash` and `lead_id` is needed."""

    address: Annotated[str | None, Meta(description="A number with its +, or an e-mail address.")] = None
    address_hash: str | None = None
    lead_id: str | None = None
    scope: Literal["whatsapp", "email", "sms", "phone", "*"] | None = None
    reason: Literal["complained", "opt_out", "unsubscribed", "bounced", "unreachable", "manual"] | None = None
    note: Annotated[str, Meta(max_length=500)] | None = None
    touch_id: str | None = None
    by: Annotated[str, Meta(max_length=128)] | None = None
    at: int | str | None = None
    wait: Wait = 0

    def entry(self) -> dict[str, Any]:
        """Return the given members of the entry."""
        said = msgspec.structs.asdict(self)
        return {name: value for name, value in said.items() if value is not None and name != "wait"}


class ReplayBody(Struct, frozen=True, forbid_unknown_fields=True):
    """How a dead letter is replayed."""

    new_id: Annotated[str | None, Meta(description="Replay as a new touch: is appended to its touch_id.")] = None


class ResolveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of an unconfirmed touch."""

    resolution: Literal["sent", "not_sent"]
    provider_message_id: str | None = None


class OptOutBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose opt-out it is: one of `address` and `dismiss` is needed."""

    note: Annotated[str, Meta(min_length=1, max_length=500)]
    address: Annotated[str | None, Meta(description="The person's number with its +.")] = None
    dismiss: bool = False


async def read_body(request: web.Request, kind: type[BodyT]) -> BodyT:
    """Return the body as a `kind`; no body is an empty object. Raises Problem `bad_request`, `too_large`, `bad_type`."""
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise Problem(Code.BAD_REQUEST, f"the body was not whole within {BODY_S:.0f} s") from None
    except (ClientError, ConnectionError, web.RequestPayloadError):
        raise Problem(Code.BAD_REQUEST, "the body broke off") from None
    if raw and request.content_type != JSON:
        raise Problem(Code.BAD_TYPE, f"the body must be {JSON}")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Problem(Code.BAD_REQUEST, f"body: {error}") from None


def seconds_of(wait: float | str) -> float:
    """Return how long to wait, in seconds. Raises Problem `bad_request`."""
    try:
        found = duration_ms(wait) / 1000 if isinstance(wait, str) else wait
    except InvalidValue:
        found = -1
    if not 0 <= found <= LONGEST_WAIT_S:
        raise Problem(Code.BAD_REQUEST, f"wait is 0 to {LONGEST_WAIT_S} seconds")
    return found


class Query:
    """The parameters behind the `?` of a request. Raises Problem `bad_request` for others than `known`, or one given twice."""

    def __init__(self, request: web.Request, known: Collection[str]) -> None:
        self._given = request.query
        for name in self._given:
            if name not in known:
                raise Problem(Code.BAD_REQUEST, f"unknown parameter {name!r}; known: {', '.join(known) or 'none'}")
            if len(self._given.getall(name)) > 1:
                raise Problem(Code.BAD_REQUEST, f"{name} is given twice")

    def text(self, name: str) -> str | None:
        """Return a parameter, None if it is not given. Raises Problem for an empty one."""
        value = self._given.get(name)
        if value == "":
            raise Problem(Code.BAD_REQUEST, f"{name} is empty")
        return value

    def page(self) -> dict[str, Any]:
        """Return `limit` and `after`."""
        said = self._given.get("limit", str(LONGEST_PAGE))
        if not (said.isascii() and said.isdecimal() and len(said) < 4 and 1 <= int(said) <= LONGEST_PAGE):  # noqa: PLR2004 - digits
            raise Problem(Code.BAD_REQUEST, f"limit is 1 to {LONGEST_PAGE}")
        return {"limit": int(said), "after": self.text("after")}

    def flag(self, name: str) -> bool:
        """Return whether a parameter is `true`. Raises Problem for anything but true and false."""
        value = self._given.get(name, "false")
        if value not in {"true", "false"}:
            raise Problem(Code.BAD_REQUEST, f"{name} is true or false")
        return value == "true"
