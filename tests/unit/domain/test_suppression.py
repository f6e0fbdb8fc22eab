"""Suppressions: keys that never meet, the channels of a scope, the reason that is told; and the hash of an address."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import address_hash, key_fingerprint, read_address
from pipeline.domain.suppression import ORDER_OF_REASONS, Scope, Suppression, SuppressionReason, concerns, strongest
from pipeline.domain.work import Channel

ANN = "0123456789abcdef0123456789abcdef"
NUMBER = "+4915112345678"


def entry(scope=Scope.PHONE, reason=SuppressionReason.MANUAL, **more):
    whom = more or {"address_hash": ANN}
    return Suppression(scope, reason=reason, by="ann", at_ms=1, **whom)


def test_the_key_of_an_entry_names_scope_whom_and_reason():
    assert entry().key == f"phone:{ANN}:manual"
    assert entry(Scope.ANY, SuppressionReason.OPT_OUT, lead_id="ann: ü").key == "*:lead:ann%3A%20%C3%BC:opt_out"


@given(
    *(
        st.builds(
            entry,
            st.sampled_from(Scope),
            st.sampled_from(SuppressionReason),
            lead_id=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8),
        )
        for _ in range(2)
    )
)
def test_two_entries_that_differ_never_share_a_key(one, other):
    assert (one.key == other.key) == (one == other)
    assert re.fullmatch(r"[a-z*]+:lead:[A-Za-z0-9._~%-]+:[a-z_]+", one.key)


@pytest.mark.parametrize("whom", [{"address_hash": ANN, "lead_id": "ann"}, {"address_hash": None}])
def test_an_entry_is_for_an_address_or_for_a_lead(whom):
    with pytest.raises(ValueError, match="exactly one"):
        entry(**whom)


@pytest.mark.parametrize(
    ("scope", "channels"),
    [
        (Scope.WHATSAPP, {"whatsapp"}),
        (Scope.EMAIL, {"email"}),
        (Scope.SMS, {"sms"}),
        (Scope.PHONE, {"whatsapp", "sms"}),
        (Scope.ANY, {"whatsapp", "email", "sms"}),
    ],
)
def test_a_scope_concerns_its_channels(scope, channels):
    assert {str(channel) for channel in Channel if concerns(entry(scope), channel, "marketing")} == channels


@pytest.mark.parametrize("reason", SuppressionReason)
def test_a_transactional_touch_passes_an_unsubscribed_entry_and_no_other(reason):
    assert concerns(entry(reason=reason), Channel.SMS, "marketing")
    assert concerns(entry(reason=reason), Channel.SMS, "transactional") == (reason != "unsubscribed")


def test_of_several_entries_the_first_reason_is_told():
    assert [str(reason) for reason in ORDER_OF_REASONS] == [
        "complained",
        "opt_out",
        "unsubscribed",
        "bounced",
        "unreachable",
        "manual",
    ]
    entries = [entry(reason=reason) for reason in reversed(ORDER_OF_REASONS)]
    while entries:
        assert strongest(entries, Channel.SMS, "marketing") is entries.pop()
    assert strongest([], Channel.SMS, "marketing") is None
    assert strongest([entry(Scope.EMAIL)], Channel.SMS, "marketing") is None


def test_an_address_hash_is_blake2b_of_kind_and_address():
    assert address_hash(Channel.SMS, NUMBER) == hashlib.blake2b(b"phone:" + NUMBER.encode(), digest_size=16).hexdigest()
    key = b"k" * 32
    assert (
        address_hash(Channel.EMAIL, "Ann.B@example.com", key)
        == hashlib.blake2b(b"email:ann.b@example.com", digest_size=16, key=key).hexdigest()
    )


def test_a_number_has_one_hash_on_whatsapp_and_sms():
    assert address_hash(Channel.WHATSAPP, NUMBER) == address_hash(Channel.SMS, NUMBER)


@given(st.binary(min_size=32, max_size=64), st.binary(min_size=32, max_size=64))
def test_hash_and_fingerprint_depend_on_the_key(one, other):
    assert (address_hash(Channel.SMS, NUMBER, one) == address_hash(Channel.SMS, NUMBER, other)) == (one == other)
    assert (key_fingerprint(one) == key_fingerprint(other)) == (one == other)
    assert key_fingerprint(one) not in (key_fingerprint(b""), address_hash(Channel.SMS, NUMBER, one))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("+49 151 12345678", ("phone", NUMBER)),
        ("4915112345678@c.us", ("phone", NUMBER)),
        ("4915112345678@s.whatsapp.net", ("phone", NUMBER)),
        ("+1 555 0100", ("phone", "+15550100")),
        (" Ann@Example.COM ", ("email", "Ann@example.com")),
    ],
)
def test_an_address_says_by_itself_whether_it_is_a_number(text, found):
    assert read_address(text) == found


@pytest.mark.parametrize("text", ["", "0151 12345678", "004915112345678", "ann", "ann@", "a@b.c, d@e.f", "+49"])
def test_what_is_no_address_is_refused_and_not_repeated(text):
    with pytest.raises(BadAddress) as caught:
        read_address(text)
    assert not text or text not in str(caught.value)
    assert "region" not in str(caught.value), "a channel's region does not count where no channel is named"
