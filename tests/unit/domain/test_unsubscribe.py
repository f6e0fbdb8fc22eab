"""Unsubscribe codes: the same for the same address, and nobody's who lacks the key."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.unsubscribe import UnsubscribeLinks, with_one_click

HASHES = st.binary(min_size=16, max_size=16).map(bytes.hex)
LINKS = UnsubscribeLinks("https://touch.example.com/hooks", b"k" * 32)


@given(HASHES)
def test_a_code_gives_its_address_back_to_the_same_key_only(recipient):
    code = LINKS.code(recipient)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", code)
    assert LINKS.code(recipient) == code
    assert UnsubscribeLinks("", b"k" * 32).recipient(code) == recipient
    assert UnsubscribeLinks("", b"K" * 32).recipient(code) is None


@given(HASHES, st.integers(0, 43), st.sampled_from("ABCabc019_-"))
def test_an_altered_code_is_nobodys(recipient, at, letter):
    code = LINKS.code(recipient)
    altered = code[:at] + letter + code[at + 1 :]
    assert LINKS.recipient(altered) == (recipient if altered == code else None)


@given(st.text(max_size=60))
def test_any_text_can_be_asked_for(text):
    assert LINKS.recipient(text) is None


def test_the_link_begins_with_the_public_url():
    assert LINKS.url("ab" * 16) == f"https://touch.example.com/hooks/u/{LINKS.code('ab' * 16)}"


def test_headers_of_ones_own_stay():
    both = {"List-Unsubscribe": "<https://x/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    assert with_one_click({}, "https://x/1") == both
    assert with_one_click({"X-A": "b"}, "https://x/1") == {"X-A": "b", **both}
    assert with_one_click({"list-unsubscribe": "<mailto:a@b.c>"}, "u") == {"list-unsubscribe": "<mailto:a@b.c>"}
    assert with_one_click({"LIST-UNSUBSCRIBE-POST": "x"}, "https://x/1") == both
