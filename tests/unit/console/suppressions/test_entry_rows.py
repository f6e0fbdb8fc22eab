"""A file of entries: what each line says, what stands in for what it does not say, and what is named and skipped."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.console.lines import Broken, UnreadableInput
from pipeline.console.suppressions.rows import EntryRow, ImportDefaults, entry_rows
from pipeline.console.suppressions.view import json_of
from pipeline.domain.address_hash import AddressKind, address_hash
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason

KEY = b"k" * 32
DEFAULTS = ImportDefaults(by="ann", at_ms=1_700_000_000_000, privacy_key=KEY)
NUMBER, MAIL = "+12125550001", "Ann@example.com"
PHONE_HASH = address_hash(AddressKind.PHONE, NUMBER, KEY)
MAIL_HASH = address_hash(AddressKind.EMAIL, MAIL, KEY)


def read(text: str) -> list[Suppression | str]:
    """Return each line's entry, or why it is none."""
    found = entry_rows(io.BytesIO(text.encode("utf-8", "surrogateescape")), DEFAULTS)
    return [row.entry if isinstance(row, EntryRow) else f"{row.line}: {row.why}" for row in found]


def objects(*lines: dict) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_line_needs_no_more_than_an_address_or_a_lead():
    found = read(objects({"address": "+1 (212) 555-0001"}, {"address": MAIL}, {"lead_id": "ann"}))
    assert [(each.scope, each.address_hash, each.lead_id, each.reason, each.by, each.at_ms) for each in found] == [
        ("phone", PHONE_HASH, None, "manual", "ann", DEFAULTS.at_ms),
        ("email", MAIL_HASH, None, "manual", "ann", DEFAULTS.at_ms),
        ("*", None, "ann", "manual", "ann", DEFAULTS.at_ms),
    ]


def test_csv_is_known_by_its_first_line_whatever_program_wrote_it():
    text = '\ufeffsep=;\n"Address";"Reason";"Note";"at"\n+12125550001;opt_out;"by phone; twice";1700000000001\n;;;\n'
    assert read(text) == [
        Suppression(
            Scope.PHONE,
            address_hash=PHONE_HASH,
            reason=SuppressionReason.OPT_OUT,
            note="by phone; twice",
            by="ann",
            at_ms=1_700_000_000_001,
        )
    ]


def test_a_column_is_a_member_however_a_spreadsheet_writes_it():
    (entry,) = read("Lead ID,Touch Id,REASON\nann b,t-1,bounced\n")
    assert (entry.lead_id, entry.touch_id, entry.reason) == ("ann b", "t-1", SuppressionReason.BOUNCED)


ENTRIES = st.builds(
    Suppression,
    st.sampled_from(Scope),
    address_hash=st.none(),
    lead_id=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20),
    reason=st.sampled_from(SuppressionReason),
    note=st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=50),
    touch_id=st.none() | st.just("t-1"),
    by=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20),
    at_ms=st.integers(10**12, 10**13),
) | st.builds(
    Suppression,
    st.sampled_from(Scope),
    address_hash=st.just(PHONE_HASH),
    reason=st.sampled_from(SuppressionReason),
    by=st.just("pipeline"),
    at_ms=st.integers(10**12, 10**13),
)


@given(st.lists(ENTRIES, min_size=1))
def test_an_export_imported_elsewhere_gives_the_same_entries(entries: list[Suppression]):
    assert read("".join(json_of(entry) + "\n" for entry in entries)) == entries


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({}, "one of address, address_hash and lead_id"),
        ({"address": NUMBER, "lead_id": "ann"}, "one of address, address_hash and lead_id"),
        ({"address": "2125550001"}, "must start with +"),
        ({"address": 12125550001}, "address must be text"),
        ({"address": NUMBER, "scope": "email"}, "does not fit"),
        ({"address": MAIL, "scope": "phone"}, "does not fit"),
        ({"address": MAIL, "scope": "fax"}, "scope must be one of whatsapp, email, sms, phone, *"),
        ({"address_hash": PHONE_HASH}, "give a scope"),
        ({"address_hash": "x", "scope": "sms"}, "32 lower-case"),
        ({"lead_id": ""}, "1 to 256"),
        ({"lead_id": "ann", "reason": "window"}, "reason must be one of complained, opt_out"),
        ({"lead_id": "ann", "note": "n" * 501}, "note must not be longer"),
        ({"lead_id": "ann", "by": "n" * 129}, "by must not be longer"),
        ({"lead_id": "ann", "at": "yesterday"}, "ISO 8601"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_does_not_repeat_the_address(line: dict, why: str):
    first, broken, last = read(objects({"lead_id": "a"}, line, {"lead_id": "b"}))
    assert isinstance(first, Suppression)
    assert isinstance(last, Suppression)
    assert broken.startswith("2: ")
    assert why in broken
    assert "2125550001" not in broken


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"lead_id": "a"}\n{nope\n', "2: no JSON"),
        ('{"lead_id": "a"}\n[]\n', "2: no JSON object"),
        ("lead_id\na\nb,c\n", "3: 2 cells"),
        ('lead_id\na\n"b"c\n', "3: no CSV"),
        ("lead_id\na\n\udcff\n", "3: no UTF-8"),
    ],
)
def test_a_damaged_line_is_named_and_the_rest_is_read(text: str, why: str):
    entry, broken = read(text)
    assert isinstance(entry, Suppression)
    assert broken.startswith(why)


def test_a_csv_that_names_nobody_is_refused_as_a_whole():
    with pytest.raises(UnreadableInput, match="address, address_hash or lead_id"):
        read("name,reason\nann,opt_out\n")


def test_an_empty_file_has_no_entries():
    assert read("") == read("\n\n") == []


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes):
    for start in (b"", b"{", b"lead_id\n"):
        try:
            found = list(entry_rows(io.BytesIO(start + content), DEFAULTS))
        except UnreadableInput:
            continue
        assert all(isinstance(row, EntryRow | Broken) for row in found)


@pytest.mark.parametrize(
    "datum",
    [
        {"address": NUMBER, "scope": NUMBER},
        {"address": NUMBER, "scope": [MAIL]},
        {"address": MAIL, "reason": MAIL},
        {"address": MAIL + MAIL},
        {"address": "+1 212 555 0001 0001 0001 0001"},
        {"address": NUMBER, "at": NUMBER},
        {"address_hash": NUMBER, "scope": "sms"},
        {"lead_id": MAIL + "\n"},
        {"address": NUMBER, "note": MAIL * 100},
        {"address": NUMBER, "by": MAIL * 100},
        {"address": NUMBER, "touch_id": MAIL},
        {"address": NUMBER, "touch_id": "t" * 4_000_000},
        {"address": MAIL, "scope": "sms"},
    ],
)
def test_a_line_that_cannot_be_used_is_named_without_what_it_says(datum):
    [why] = read(objects(datum))
    assert isinstance(why, str), why
    assert not any(said in why.casefold() for said in ("555", "ann@", "example.com", "ttt"))
    assert len(why) < 300
    assert "\n" not in why


@pytest.mark.parametrize("at", ["9" * 5_000, "\u0661\u0662", "1" * 21, "-1", "1e9"])
def test_a_number_that_is_no_instant_costs_its_line_only(at):
    found = read(f"address,at\n{NUMBER},{at}\n{MAIL},\n")
    assert [type(each) for each in found] == [str, Suppression]
    assert "9999" not in found[0]
