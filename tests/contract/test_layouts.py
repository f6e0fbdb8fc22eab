"""Internal records are read for ever: what a published version wrote is kept here, and a changed layout needs a new version."""

from __future__ import annotations

import json
from enum import EnumType
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.domain.fact import Callback, Entry, FactKind, PendingOptOut, SentTouch
from pipeline.domain.story import Event, Reason, State
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.value import Value
from pipeline.domain.work import Attachment, Channel, Claim, Content, Phase, Purpose, Request, Scheduled, Work
from pipeline.records import callbacks, codec

LAYOUTS = Path(__file__).parent / "layouts"
CONTENT = Content("s", "b", "t", "f@x.org", "r@x.org", {"h": "1"}, (Attachment("f", "text/plain", b"x", None),))
WORK = Work(
    *("t", "c", "l", Channel.SMS, "+12125550123", "main", True, CONTENT, b"d" * 16, 3, 6, "Europe/Paris", 1, 2),
    *({"m": "1"}, 4, 5, 6, 7, 8, 9, 10, 11, Purpose.TRANSACTIONAL, "ab12", 12),
)
REQUEST = Request("/messages", b"body", "application/json", "key")
SAMPLES: dict[str, Value] = {
    "work": WORK,
    "claim": Claim("id", (WORK,), REQUEST, 1, 2, Phase.LOOKING_UP, True, True, 3, 4, 5, "500", "down", 6, 7),
    "event": Event(
        *("t", "c", "l", "sms", State.DEFERRED, 1, Reason.PAUSED, 2, "main", "SM1", "500", "down", 3, {"m": "1"}),
        *("ab12", "pause:all"),
    ),
    "scheduled": Scheduled(1, Channel.EMAIL, 2, "t", b"work"),
}
SENT = SentTouch("t", "c", "l", Channel.SMS, "main", "SM1", 1, 5, "ab12", {"m": "1"})
ENTRY = Entry(Scope.PHONE, SuppressionReason.OPT_OUT, "recipient", "STOP", "ab12")
CALLBACK = Callback(
    *(Channel.EMAIL, "main", "e-1", 1, FactKind.BOUNCED, 2, "Permanent/General", "500", "no such user"),
    *((ENTRY,), ("ab12", None), "e-1", "99@lid", ("ab12", "cd34"), "3A01"),
)
SAMPLES |= {
    "callback": CALLBACK,
    "sent": SENT,
    "tracked": callbacks.TrackedTouch(SENT, (FactKind.READ,), True),
    "held": callbacks.HeldCallbacks((CALLBACK,)),
    "hidden": callbacks.HiddenPerson(("ab12",), (CALLBACK,)),
    "pending": PendingOptOut("3A01", 1, "main", "99@lid"),
}
KINDS = {"work": codec.WORK, "claim": codec.CLAIM, "event": codec.EVENT, "scheduled": codec.SCHEDULED}
KINDS |= {
    name: getattr(callbacks, name.upper()) for name in ("callback", "sent", "tracked", "held", "hidden", "pending")
}


def layout(kind: Any) -> Any:
    """Return what a record of this type consists of, down to the members of its closed sets."""
    if isinstance(kind, EnumType):
        return sorted(each.value for each in kind)
    if isinstance(kind, type) and issubclass(kind, Value):
        return {each.name: layout(each.type) for each in msgspec.structs.fields(kind)}
    inner = [layout(each) for each in getattr(kind, "__args__", ())]
    return [str(getattr(kind, "__name__", kind)), *inner] if inner else str(getattr(kind, "__name__", kind))


def newest(name: str) -> Any:
    return json.loads((LAYOUTS / f"{name}.{KINDS[name]._version}.json").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_a_layout_that_has_changed_is_a_new_version(name):
    assert layout(type(SAMPLES[name])) == newest(name)["layout"], (
        f"{name} has changed: raise its version in records/codec.py, and add layouts/{name}.<version>.json: python -m tests.contract.test_layouts"
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_the_sample_differs_from_its_default(name):
    sample = SAMPLES[name]
    same = [each.name for each in msgspec.structs.fields(sample) if getattr(sample, each.name) == each.default]
    assert same == []


@pytest.mark.parametrize("path", sorted(LAYOUTS.glob("*.json")), ids=lambda path: path.stem)
def test_what_a_published_version_wrote_is_read(path):
    name, told = path.stem.partition(".")[0], json.loads(path.read_text())
    found = KINDS[name].decode(bytes.fromhex(told["record"]))
    assert_same(found, SAMPLES[name], told["layout"])


def assert_same(found: Any, sample: Any, told: Any) -> None:
    """Compare as far as an earlier layout goes, also inside of it."""
    if isinstance(told, dict):
        for field, inner in told.items():
            assert_same(getattr(found, field), getattr(sample, field), inner)
    elif isinstance(told, list) and told[0] == "tuple" and isinstance(told[1], dict):
        assert len(found) == len(sample)
        for mine, theirs in zip(found, sample, strict=True):
            assert_same(mine, theirs, told[1])
    else:
        assert found == sample


if (
    __name__ == "__main__"
):  # writes the layouts of today's versions, if they are new: python -m tests.contract.test_layouts
    LAYOUTS.mkdir(exist_ok=True)
    for each, record_kind in KINDS.items():
        to = LAYOUTS / f"{each}.{record_kind._version}.json"
        if not to.exists():
            published = {"layout": layout(type(SAMPLES[each])), "record": record_kind.encode(SAMPLES[each]).hex()}  # type: ignore[arg-type]
            to.write_text(json.dumps(published, indent=2) + "\n")
