"""From a datum (of Avro or JSON) to a Touch: every fault is found, none stops the search for the others."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.domain.rules import header_fault, is_name, is_one_line, is_time_zone, is_touch_id
from pipeline.domain.touch import InvalidTouch, Story, Touch
from pipeline.domain.work import Attachment, Channel

SHOWN = 60
LATEST_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z."""
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)")
_E_MAIL_ONLY = ("attachments", "from", "reply_to", "headers")


def parse_touch(datum: Mapping[str, Any], timestamp_ms: int) -> Touch:
    """Return the touch of `datum`; `timestamp_ms` is its record's. Raises InvalidTouch with all that is wrong."""
    reader = _Reader(datum)
    fields = _fields(reader, timestamp_ms)
    _together(reader, fields)
    if reader.faults:
        raise InvalidTouch(reader.faults, _story(datum))
    return Touch(**fields)


def _fields(read: _Reader, timestamp_ms: int) -> dict[str, Any]:
    return {
        "touch_id": read.text("touch_id", required=True, rule=is_touch_id, allowed="1-128 of A-Z a-z 0-9 . _ : -"),
        "campaign_id": read.text("campaign_id", required=True, rule=is_name, allowed=_NAME),
        "lead_id": read.text("lead_id", required=True, rule=is_name, allowed=_NAME),
        "channel": read.channel(),
        "to": read.text("to", required=True, rule=bool, allowed="an address"),
        "subject": read.text("subject"), "body": read.text("body"), "text": read.text("text"),
        "template": read.text("template", rule=bool, allowed="the name of a template"),
        "variables": read.mapping("variables"),
        "sender": read.text("sender", rule=bool, allowed="the name of a sender"),
        "time_zone": read.text("time_zone", rule=is_time_zone, allowed="an IANA time zone"),
        "not_before_ms": read.instant("not_before"), "expires_at_ms": read.instant("expires_at"),
        "attachments": read.attachments(), "from_": read.text("from"), "reply_to": read.text("reply_to"),
        "headers": read.mapping("headers"), "priority": read.priority(), "metadata": read.mapping("metadata"),
        "created_at_ms": timestamp_ms if (at := read.instant("created_at")) is None else at,
    }  # fmt: skip


_NAME = "1-256 characters, no control characters"


def _together(read: _Reader, f: dict[str, Any]) -> None:
    """The rules that tie fields to each other."""
    if f["body"] is not None and f["template"] is not None:
        read.fault("body and template are given; one of them is allowed")
    if f["text"] is not None and f["template"] is not None:
        read.fault("text and template are given; one of them is allowed")
    if f["channel"] is Channel.EMAIL:
        _email(read, f)
    elif f["channel"] is not None:
        for name in _E_MAIL_ONLY:
            if f["from_" if name == "from" else name]:
                read.fault(f"{name} is given; it is allowed for email only")
        if f["template"] is None and not f["body"]:
            read.fault("neither body nor template is given; one of them is needed")


def _email(read: _Reader, f: dict[str, Any]) -> None:
    if f["template"] is None:
        if not f["subject"]:
            read.fault("subject is missing; an e-mail needs one")
        if not f["body"] and not f["text"]:
            read.fault("neither body nor text nor template is given; an e-mail needs content")
    if f["subject"] is not None and not is_one_line(f["subject"]):
        read.fault("subject has a line break; it must be one line")
    for name, value in f["headers"].items():
        if (wrong := header_fault(name, value)) is not None:
            read.fault(f"headers.{_shown(name)}: {wrong}")


class _Reader:
    """Reads members of one datum, and keeps what is wrong with them."""

    def __init__(self, datum: Mapping[str, Any]) -> None:
        self._datum = datum
        self.faults: list[str] = []

    def fault(self, line: str) -> None:
        self.faults.append(line)

    def _wrong(self, name: str, found: object, allowed: str) -> None:
        self.fault(f"{name} is {_shown(found)}; allowed: {allowed}")

    def text(self, name: str, *, required: bool = False, rule: Any = None, allowed: str = "text") -> Any:
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
            self._wrong("channel", value, "whatsapp, email, sms")
            return None

    def priority(self) -> int:
        value = self._datum.get("priority")
        if value is None:
            return 5
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:  # noqa: PLR2004
            self._wrong("priority", value, "a whole number from 0 to 9")
            return 5
        return value

    def mapping(self, name: str) -> dict[str, str]:
        value = self._datum.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._wrong(name, value, "a map of strings")
            return {}
        return {key: text for key, each in value.items() if (text := self._map_value(f"{name}.{str(key)[:SHOWN]}", each)) is not None}

    def _map_value(self, name: str, value: object) -> str | None:
        text = as_text(value)
        if text is None and value is not None:
            self._wrong(name, value, "a string, a number, true or false")
        return text

    def instant(self, name: str) -> int | None:
        value = self._datum.get(name)
        if value is None:
            return None
        at = _instant_ms(value)
        if at is None or not 0 <= at <= LATEST_MS:
            self._wrong(name, value, "integer milliseconds since 1970, or ISO 8601 with offset")
            return None
        return at

    def attachments(self) -> tuple[Attachment, ...]:
        value = self._datum.get("attachments")
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong("attachments", value, "a list")
            return ()
        found = [self._attachment(f"attachments[{at}]", each) for at, each in enumerate(value)]
        return tuple(each for each in found if each is not None)

    def _attachment(self, name: str, value: object) -> Attachment | None:
        if not isinstance(value, Mapping):
            self._wrong(name, value, "filename, content_type, and content or url")
            return None
        filename, kind, url = value.get("filename"), value.get("content_type"), value.get("url")
        content = _bytes(value.get("content"))
        texts = isinstance(filename, str) and filename and all(v is None or isinstance(v, str) for v in (kind, url))
        if not texts or content is False or (content is None) == (url is None):
            self._wrong(name, filename, "a filename, a content_type, and either content (base64) or url")
            return None
        if url is not None and not url.startswith(("https://", "http://")):
            self._wrong(f"{name}.url", url, "an http(s) address")
            return None
        return Attachment(str(filename), kind, content or (b"" if content == b"" else None), url)


def as_text(value: object) -> str | None:
    """Return a map's value as text: strings as they are, numbers and booleans in their JSON form; None otherwise."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _bytes(value: object) -> Any:
    """Return bytes, None for none, False for what is neither bytes nor base64."""
    if value is None or isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else False
    except (binascii.Error, ValueError):
        return False


def _instant_ms(value: object) -> int | None:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or _ISO.fullmatch(value) is None:
        return None
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _story(datum: Mapping[str, Any]) -> Story:
    """What can be told of a touch that is not valid."""
    def text(name: str) -> str:
        value = datum.get(name)
        return value if isinstance(value, str) else ""

    metadata = datum.get("metadata")
    known = metadata.items() if isinstance(metadata, Mapping) else ()
    touch_id = datum.get("touch_id")
    return Story(
        str(touch_id) if is_touch_id(touch_id) else None, text("campaign_id"), text("lead_id"), text("channel"),
        {str(key): said for key, value in known if (said := as_text(value)) is not None},
    )  # fmt: skip


def _shown(value: object) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    except ValueError:
        text = str(value)
    quoted = json.dumps(text[:SHOWN]) if isinstance(value, str) else text[:SHOWN]
    return quoted if len(text) <= SHOWN else f"{quoted}…"
