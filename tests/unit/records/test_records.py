"""Records survive their own encoding, and no bytes can do worse than be undecodable."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.story import Event, Reason, State
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.value import replace
from pipeline.domain.work import Attachment, Channel, Claim, Content, Phase, Request, Scheduled, Work
from pipeline.records import (
    decode_claim,
    decode_event,
    decode_scheduled,
    decode_unconfirmed,
    decode_work,
    encode_claim,
    encode_event,
    encode_scheduled,
    encode_unconfirmed,
    encode_work,
)
from pipeline.records.framing import TouchReader, Undecodable

text = st.text(st.characters(codec="utf-8"), max_size=20)
maybe = st.none() | text
ms = st.integers(0, 2**45)
maps = st.dictionaries(text, text, max_size=3)
attachments = st.builds(Attachment, text, maybe, st.none() | st.binary(max_size=20), maybe)
contents = st.builds(Content, maybe, maybe, maybe, maybe, maybe, maps, st.lists(attachments, max_size=2).map(tuple))
works = st.builds(
    Work,
    text,
    text,
    text,
    st.sampled_from(Channel),
    text,
    text,
    st.booleans(),
    contents,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 500),
    st.integers(0, 9),
    maybe,
    st.none() | ms,
    st.none() | ms,
    maps,
    ms,
    st.integers(0, 99),
    st.integers(0, 9),
    st.none() | ms,
    st.none() | ms,
    st.none() | ms,
    st.integers(0, 100),
    st.integers(0, 9),
)
requests = st.builds(Request, text, st.binary(max_size=50), text, text)
claims = st.builds(
    Claim,
    text,
    st.lists(works, min_size=1, max_size=3).map(tuple),
    requests,
    ms,
    ms,
    st.sampled_from(Phase),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
    ms,
    ms,
    maybe,
    maybe,
)
events = st.builds(
    Event,
    text,
    text,
    text,
    text,
    st.sampled_from(State),
    ms,
    st.none() | st.sampled_from(Reason),
    st.integers(0, 99),
    maybe,
    maybe,
    maybe,
    maybe,
    st.none() | ms,
    maps,
)


@given(works)
def test_work_survives(work):
    assert decode_work(encode_work(work)) == work


@given(claims)
def test_a_claim_survives_with_its_request_byte_for_byte(claim):
    assert decode_claim(encode_claim(claim)) == claim


@given(events)
def test_an_event_survives(event):
    assert decode_event(encode_event(event)) == event


@given(st.builds(Scheduled, ms, st.sampled_from(Channel), st.integers(0, 99), text, st.binary(max_size=50)))
def test_what_is_scheduled_survives(scheduled):
    assert decode_scheduled(encode_scheduled(scheduled)) == scheduled


@given(
    st.builds(
        Unconfirmed,
        claims.map(lambda claim: replace(claim, works=claim.works[:1])),
        ms,
        text,
        st.none() | st.sampled_from(Resolved),
        st.none() | ms,
        maybe,
        maybe,
    )
)
def test_what_is_unconfirmed_survives_with_its_question(left):
    assert decode_unconfirmed(encode_unconfirmed(left)) == left


@given(
    st.binary(max_size=300) | st.binary(max_size=300).map(lambda b: b"\xc3\x01" + TouchReader()._touch.fingerprint + b)
)
def test_any_bytes_are_a_datum_or_undecodable(value):
    with suppress(Undecodable):
        assert isinstance(TouchReader().read(value), dict)
