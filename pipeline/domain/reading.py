"""From a datum (of Avro or JSON) to a Touch: every fault is found, none stops the search for the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from pipeline.domain.attachment import read_attachment
from pipeline.domain.instant import FARTHEST_MS, NotAnInstant, instant_ms
from pipeline.domain.rules import MOST_ENTRIES, NAME_LENGTH, header_fault, is_name, is_one_line, is_touch_id
from pipeline.domain.touch import InvalidTouch, Touch, TouchHeader
from pipeline.domain.work import Attachment, Channel, Purpose
from pipeline.domain.zone import is_zone

SHOWN = 60
LINE_LENGTH = 1_000
"""Characters of whatever is one line: an address with its name, a subject, the name of a sender."""
MOST_HEADERS = 100
MOST_ATTACHMENTS = 100
KEY_LENGTH = 256
_E_MAIL_ONLY = ("attachments", "from", "reply_to", "headers")


def parse_touch(datum: Mapping[str, Any], timestamp_ms: int) -> Touch:
    """Return the touch of `datum`; `timestamp_ms` is its record's. Raises InvalidTouch with all that is wrong."""
    reader = _Members(datum)
    fields = _fields(reader, timestamp_ms)
    _together(reader, fields)
    if reader.faults:
        raise InvalidTouch(reader.faults, _header(datum))
    return Touch(**fields)


def _fields(read: _Members, timestamp_ms: int) -> dict[str, Any]:
    """Return the fields of a touch that `read` has; the others have their defaults."""
    fields: dict[str, Any] = {
        field: text
        for name, field, is_required, rule, allowed in _TEXTS
        if (text := read.text(name, is_required, rule, allowed)) is not None
    }
    fields["channel"] = read.channel()
    for name, field, value_of in _OTHERS:
        if read.has(name):
            fields[field] = value_of(read)
    fields.setdefault("created_at_ms", timestamp_ms)
    return fields


_NAME = "1-256 characters, no control characters"


def _is_short(value: str) -> bool:
    return len(value) <= LINE_LENGTH


def _is_line(value: str) -> bool:
    return 0 < len(value) <= LINE_LENGTH


_TEXTS: Final[tuple[tuple[str, str, bool, Callable[[str], bool] | None, str], ...]] = (
    ("touch_id", "touch_id", True, is_touch_id, "1-128 of A-Z a-z 0-9 . _ : -"),
    ("campaign_id", "campaign_id", True, is_name, _NAME),
    ("lead_id", "lead_id", True, is_name, _NAME),
    ("to", "to", True, _is_line, "an address"),
    ("subject", "subject", False, _is_short, f"at most {LINE_LENGTH} characters"),
    ("body", "body", False, None, "text"),
    ("text", "text", False, None, "text"),
    ("template", "template", False, _is_line, "the name of a template"),
    ("sender", "sender", False, _is_line, "the name of a sender"),
    ("time_zone", "time_zone", False, is_zone, "an IANA time zone"),
    ("from", "from_", False, _is_short, "one of the sender's addresses"),
    ("reply_to", "reply_to", False, _is_short, "an address"),
)
"""Members that are text: member, field, whether it is required, rule, what is allowed."""


def _together(read: _Members, f: dict[str, Any]) -> None:
    """The rules that tie fields to each other."""
    if f.get("body") is not None and f.get("template") is not None:
        read.fault("body and template are given; one of them is allowed")
    if f.get("text") is not None and f.get("template") is not None:
        read.fault("text and template are given; one of them is allowed")
    channel: Channel | None = f["channel"]
    match channel:
        case Channel.EMAIL:
            _email(read, f)
        case Channel.WHATSAPP | Channel.SMS:
            _plain_text(read, f)
        case None:  # noted as a fault already
            pass
        case _:
            assert_never(channel)


def _plain_text(read: _Members, f: dict[str, Any]) -> None:
    for name in _E_MAIL_ONLY:
        if f.get("from_" if name == "from" else name):
            read.fault(f"{name} is given; it is allowed for email only")
    if f.get("template") is None and not f.get("body"):
        read.fault("neither body nor template is given; one of them is needed")


def _email(read: _Members, f: dict[str, Any]) -> None:
    if f.get("template") is None:
        if not f.get("subject"):
            read.fault("subject is missing; an e-mail needs one")
        if not f.get("body") and not f.get("text"):
            read.fault("neither body nor text nor template is given; an e-mail needs content")
    if not is_one_line(f.get("subject", "")):
        read.fault("subject has a line break; it must be one line")
    for name, value in f.get("headers", {}).items():
        if (wrong := header_fault(name, value)) is not None:
            read.fault(f"headers.{_shown(name)}: {wrong}")


class _Members:
    """Reads the members of one datum and collects their faults."""

    def __init__(self, datum: Mapping[str, Any]) -> None:
        self._datum = datum
        self.faults: list[str] = []

    def fault(self, line: str) -> None:
        self.faults.append(line)

    def _wrong(self, name: str, found: object, allowed: str) -> None:
        self.fault(f"{name} is {_shown(found)}; allowed: {allowed}")

    def has(self, name: str) -> bool:
        return self._datum.get(name) is not None

    def text(self, name: str, required: bool, rule: Callable[[str], bool] | None, allowed: str) -> str | None:
        value = self._datum.get(name)
        if value is None:
            if required:
                self.fault(f"{name} is missing; allowed: {allowed}")
            return None
        if not isinstance(value, str) or (rule is not None and not rule(value)):
            self._wrong(name, value, allowed)
            return None
        return value

    def channel(self) -> Channel | None:
        value = self._datum.get("channel")
        try:
            return Channel(value)  # type: ignore[arg-type]
        except ValueError:
            self._wrong("channel", value, ", ".join(Channel))
            return None

    def purpose(self) -> Purpose:
        value = self._datum.get("purpose")
        try:
            return Purpose(value)  # type: ignore[arg-type]
        except ValueError:
            self._wrong("purpose", value, ", ".join(Purpose))
            return Purpose.MARKETING

    def priority(self) -> int:
        value = self._datum.get("priority")
        if isinstance(value, float) and value.is_integer():  # a data frame's column with an empty cell
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:  # noqa: PLR2004
            self._wrong("priority", value, "a whole number from 0 to 9")
            return 5
        return value

    def mapping(self, name: str, most: int) -> dict[str, str]:
        value = self._datum.get(name)
        if not isinstance(value, Mapping):
            self._wrong(name, value, "a map of strings")
            return {}
        if len(value) > most:
            self.fault(f"{name} has {len(value)} entries; at most {most} are allowed")
            return {}
        return {key: text for key, each in value.items() if (text := self._map_value(name, key, each)) is not None}

    def _map_value(self, name: str, key: str, value: object) -> str | None:
        if len(key) > KEY_LENGTH:
            self.fault(f"{name} has a key of {len(key)} characters; at most {KEY_LENGTH} are allowed")
            return None
        text = as_text(value)
        if text is None and value is not None:
            self._wrong(f"{name}.{key[:SHOWN]}", value, "a string, a number, true or false")
        return text

    def instant(self, name: str, **bounds: int) -> int | None:
        value = self._datum.get(name)
        try:
            return instant_ms(value, **bounds)
        except NotAnInstant as error:
            self._wrong(name, value, str(error))
            return None

    def attachments(self) -> tuple[Attachment, ...]:
        value = self._datum.get("attachments")
        if not isinstance(value, list):
            self._wrong("attachments", value, "a list")
            return ()
        if len(value) > MOST_ATTACHMENTS:
            self.fault(f"attachments has {len(value)} entries; at most {MOST_ATTACHMENTS} are allowed")
            return ()
        found = [read_attachment(f"attachments[{at}]", each, self._wrong) for at, each in enumerate(value)]
        return tuple(each for each in found if each is not None)


_OTHERS: Final[tuple[tuple[str, str, Callable[[_Members], object]], ...]] = (
    ("variables", "variables", lambda read: read.mapping("variables", MOST_ENTRIES)),
    ("not_before", "not_before_ms", lambda read: read.instant("not_before", latest_ms=FARTHEST_MS)),
    ("expires_at", "expires_at_ms", lambda read: read.instant("expires_at")),
    ("attachments", "attachments", lambda read: read.attachments()),
    ("headers", "headers", lambda read: read.mapping("headers", MOST_HEADERS)),
    ("priority", "priority", lambda read: read.priority()),
    ("purpose", "purpose", lambda read: read.purpose()),
    ("metadata", "metadata", lambda read: read.mapping("metadata", MOST_ENTRIES)),
    ("created_at", "created_at_ms", lambda read: read.instant("created_at", earliest_ms=0)),  # decides nothing
)
"""Members of other kinds: member, field, reader."""


def as_text(value: object) -> str | None:
    """Return a map's value as text: strings as they are, numbers and booleans in their JSON form; None otherwise."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _header(datum: Mapping[str, Any]) -> TouchHeader:
    """Return the header of an invalid touch."""

    def text(name: str) -> str:
        value = datum.get(name)
        return value[:NAME_LENGTH] if isinstance(value, str) else ""

    metadata = datum.get("metadata")
    known = metadata.items() if isinstance(metadata, Mapping) and len(metadata) <= MOST_ENTRIES else ()
    touch_id = datum.get("touch_id")
    return TouchHeader(
        str(touch_id) if is_touch_id(touch_id) else None,
        text("campaign_id"),
        text("lead_id"),
        text("channel"),
        {str(key): said for key, value in known if len(key) <= KEY_LENGTH and (said := as_text(value)) is not None},
    )


def _shown(value: object) -> str:
    """Return what was found, in a few characters, at no cost that grows with it."""
    match value:
        case str():
            return json.dumps(value[:SHOWN]) + ("…" if len(value) > SHOWN else "")
        case Mapping():
            return f"a map of {len(value)}" if value else "{}"
        case list():
            return f"a list of {len(value)}" if value else "[]"
        case bytes():
            return f"{len(value)} bytes"
        case None | bool() | int() | float():
            return json.dumps(value)[:SHOWN]
        case _:
            return type(value).__name__
