"""Facts are told once per touch, in whatever order they and its `sent` come; wishes are fulfilled once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.callback import DeliveryRules
from pipeline.domain.fact import BY_PROVIDER, BY_RECIPIENT, Callback, Entry, FactKind, SentTouch, callback_partition
from pipeline.domain.story import Event, State
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.value import replace
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, DEAD_LETTERS, DELIVERIES, RESULTS, STATUS, SUPPRESSIONS
from pipeline.records import encode_event
from pipeline.records.callbacks import decode_sent, delivery_value, encode_callback, encode_sent
from pipeline.records.control import encode_suppression
from pipeline.records.published import ValueReader
from pipeline.records.writing import json_object, single_object, status_value
from pipeline.stage_io import EXPIRES, MemoryTable, Record
from pipeline.stages.dedup import Dedup
from pipeline.stages.deliveries import MOST_HELD, Deliveries, SentMarks, silent_touches
from pipeline.stages.step import DeliveryTold, FactDropped

T0 = 1_790_000_000_000
HOUR, DAY = 3_600_000, 86_400_000
PARTITIONS = 8
RULES = DeliveryRules(
    senders=frozenset({(Channel.SMS, "main")}),
    early_for_ms=13 * HOUR,
    remember_for_ms=30 * DAY,
    silent_after_ms=6 * HOUR,
)
TOUCH = SentTouch("t-1", "c-1", "l-1", Channel.SMS, "main", "SM1", T0, 5, "ab" * 16, {"k": "v"})
HASH = "cd" * 16
STOP = Entry(Scope.PHONE, SuppressionReason.OPT_OUT, BY_RECIPIENT, "STOP", HASH)


class Rig:
    """The stage, its table, and everything it has written."""

    def __init__(self, partitions=1, number=0):
        self.partitions, self.number = partitions, number
        self.table = MemoryTable()
        self.outputs, self.counts = [], Counter()
        self.restart()

    def restart(self):
        self.stage = Deliveries(
            RULES,
            self.partitions,
            lambda *fact: delivery_value(single_object, *fact),
            lambda entry: encode_suppression(single_object, entry),
        )

    def take(self, *values, at=T0):
        batch = [Record(CALLBACKS, self.number, n, at, b"k", value) for n, value in enumerate(map(encoded, values))]
        step = self.stage.step(batch, self.table, at)
        self.table.apply(step.changes)
        self.outputs += step.outputs
        self.counts += step.counts
        return step

    def pass_until(self, at):
        """Step whenever the stage wishes to, up to `at`."""
        step = self.take(at=at)
        while step.wake_ms is not None and step.wake_ms <= at:
            step = self.take(at=at)

    @property
    def told(self):
        read = ValueReader("delivery")
        return [read(each.value) for each in self.outputs if each.topic == DELIVERIES]

    @property
    def kinds(self):
        return [each["kind"] for each in self.told]

    @property
    def entries(self):
        return [(each.key.decode(), each.value) for each in self.outputs if each.topic == SUPPRESSIONS]

    def rows(self):
        return [value for _, value in self.table.scan(b"", b"\xff") if value[:2] == EXPIRES]


def encoded(value):
    return (
        encode_sent(value)
        if isinstance(value, SentTouch)
        else encode_callback(value)
        if isinstance(value, Callback)
        else value
    )


def fact(kind, message_id="SM1", **more):
    return Callback(Channel.SMS, "main", message_id, T0 + 5, kind, **{"acts_as": message_id, **more})


def test_a_fact_after_sent_is_told_with_its_touch():
    rig = Rig()
    rig.take(TOUCH)
    rig.take(fact(FactKind.UNDELIVERED, error_code="30003", error="off", occurred_at_ms=T0 + 1, detail="d"))
    (told,) = rig.told
    assert told == {
        "touch_id": "t-1",
        "campaign_id": "c-1",
        "lead_id": "l-1",
        "channel": "sms",
        "sender": "main",
        "sequence": 1,
        "kind": "undelivered",
        "provider_message_id": "SM1",
        "recipient": "ab" * 16,
        "detail": "d",
        "error_code": "30003",
        "error": "off",
        "occurred_at": T0 + 1,
        "received_at": T0 + 5,
        "metadata": {"k": "v"},
    }
    (output,) = rig.outputs
    assert (output.key, output.partition) == (b"t-1", 5)


def test_a_fact_before_sent_is_told_as_soon_as_it_is_known():
    rig = Rig()
    rig.take(fact(FactKind.DELIVERED))
    assert rig.told == []
    rig.take(TOUCH, at=T0 + 12 * HOUR)
    assert rig.kinds == ["delivered"]


KINDS = st.sampled_from(FactKind)


@given(st.lists(KINDS, unique=True, max_size=10), st.data())
def test_whatever_the_order_and_however_often_each_fact_is_told_once_without_a_gap(kinds, data):
    copies = [fact(kind) for kind in kinds for _ in range(5)]
    stream = data.draw(st.permutations([TOUCH, *copies]))
    rig = Rig()
    for value in stream:
        rig.take(value)
        if data.draw(st.integers(0, 9)) == 0:
            rig.restart()
    assert sorted(rig.kinds) == sorted(kinds)
    assert [each["sequence"] for each in rig.told] == list(range(1, len(kinds) + 1))
    assert rig.counts == Counter(
        {DeliveryTold(Channel.SMS, kind): 1 for kind in kinds}
        | ({FactDropped(Channel.SMS, "repeated"): 4 * len(kinds)} if kinds else {})
    )


@given(st.lists(KINDS, max_size=12), st.data())
def test_one_step_or_many_tell_the_same(kinds, data):
    stream = data.draw(st.permutations([TOUCH, *map(fact, kinds)]))
    at_once, one_by_one = Rig(), Rig()
    at_once.take(*stream)
    for value in stream:
        one_by_one.take(value)
    assert at_once.told == one_by_one.told
    assert sorted(at_once.rows()) == sorted(one_by_one.rows())


def test_an_inbox_read_again_from_its_beginning_tells_nothing_again():
    rig = Rig()
    for _ in range(2):
        rig.take(fact(FactKind.DELIVERED), TOUCH, fact(FactKind.READ))
    assert rig.kinds == ["delivered", "read"]


def test_a_fact_about_another_message_waits_for_it():
    rig = Rig()
    rig.take(TOUCH, fact(FactKind.DELIVERED, "SM2"))
    rig.take(replace(fact(FactKind.DELIVERED), channel=Channel.EMAIL))
    assert rig.told == []


def test_what_never_finds_a_touch_counts_as_unmatched_and_is_forgotten():
    rig = Rig()
    rig.take(fact(FactKind.DELIVERED), fact(FactKind.READ))
    rig.pass_until(T0 + 13 * HOUR - 1)
    assert rig.counts == Counter()
    rig.pass_until(T0 + 13 * HOUR)
    assert rig.counts == Counter({FactDropped(Channel.SMS, "unmatched"): 2})
    assert rig.rows() == []
    rig.take(TOUCH, at=T0 + 14 * HOUR)
    assert rig.told == []


def test_a_touch_is_known_as_long_as_configured():
    rig = Rig()
    rig.take(TOUCH, fact(FactKind.DELIVERED))
    rig.pass_until(T0 + 30 * DAY - 1)
    rig.take(fact(FactKind.COMPLAINED), at=T0 + 30 * DAY - 1)
    rig.pass_until(T0 + 30 * DAY)
    rig.take(fact(FactKind.READ), at=T0 + 30 * DAY)
    assert rig.kinds == ["delivered", "complained"]


def test_a_touch_of_which_nothing_is_heard_is_silent_until_something_is():
    rig = Rig()
    other = replace(TOUCH, touch_id="t-2", message_id="SM2")
    rig.take(TOUCH, other, replace(TOUCH, touch_id="t-3", message_id="SM3"))
    rig.take(fact(FactKind.DELIVERED, "SM3"))
    rig.pass_until(T0 + 6 * HOUR - 1)
    assert silent_touches(rig.table)[Channel.SMS] == 0
    rig.pass_until(T0 + 6 * HOUR)
    assert silent_touches(rig.table) == {Channel.SMS: 2, Channel.EMAIL: 0, Channel.WHATSAPP: 0}
    rig.take(fact(FactKind.DELIVERED), at=T0 + 7 * HOUR)
    assert silent_touches(rig.table)[Channel.SMS] == 1
    rig.pass_until(T0 + 30 * DAY)
    assert silent_touches(rig.table)[Channel.SMS] == 0
    assert rig.rows() == []


def test_a_mark_that_comes_when_its_touch_is_silent_already_counts_at_once():
    rig = Rig()
    rig.take(TOUCH, at=T0 + DAY)
    rig.pass_until(T0 + DAY + 1)
    assert silent_touches(rig.table)[Channel.SMS] == 1


# --- suppressions ------------------------------------------------------------------------------------------------------


def test_what_a_callback_asks_for_is_written_with_the_touch_that_led_to_it():
    rig = Rig()
    entry = Entry(Scope.SMS, SuppressionReason.UNREACHABLE, BY_PROVIDER, "30005", HASH)
    rig.take(TOUCH, fact(FactKind.UNDELIVERED, entries=(entry,)))
    ((key, value),) = rig.entries
    assert key == f"sms:{HASH}:unreachable"
    assert ValueReader("suppression")(value) == {
        "scope": "sms",
        "address_hash": HASH,
        "lead_id": None,
        "reason": "unreachable",
        "note": "30005",
        "touch_id": "t-1",
        "by": "provider",
        "at": T0 + 5,
    }


def test_whose_message_it_is_does_not_matter_nor_whether_the_fact_is_new():
    rig = Rig()
    entry = Entry(Scope.SMS, SuppressionReason.UNREACHABLE, BY_PROVIDER, None, HASH)
    rig.take(fact(FactKind.UNDELIVERED, "SM-of-others", entries=(entry,)))
    rig.take(TOUCH, fact(FactKind.UNDELIVERED))
    rig.take(fact(FactKind.UNDELIVERED, entries=(entry,)))
    assert len(rig.entries) == 2
    assert rig.kinds == ["undelivered"]


def said(message_id="SM9", **asks):
    return Callback(Channel.SMS, "main", "", T0, acts_as=message_id, **asks)


def test_a_stop_acts_once_so_that_an_old_one_undoes_no_start():
    rig = Rig()
    stop, back = said("SM8", entries=(STOP,)), said("SM9", lifts=(HASH,))
    for value in (stop, stop, back, stop, back):
        rig.take(value)
        rig.restart()
    key = f"phone:{HASH}:opt_out"
    assert [each for each, value in rig.entries if value is not None] == [key]
    assert [each for each, value in rig.entries if value is None] == [
        key,
        f"sms:{HASH}:opt_out",
        f"whatsapp:{HASH}:opt_out",
    ]
    assert rig.entries[0][1] is not None
    rig.take(said("SM10", entries=(STOP,)))
    assert rig.entries[-1][1] is not None


def test_a_person_who_writes_has_one_partition_whatever_they_write():
    assert said("SM8", entries=(STOP,)).place == said("SM9", lifts=(HASH,)).place


def test_a_stop_of_somebody_without_a_number_is_resolved_by_the_message_that_it_quotes():
    nobody = replace(STOP, recipient=None)
    for stream in ([TOUCH, "stop"], ["stop", TOUCH], ["stop", TOUCH, "stop"]):
        rig = Rig()
        for value in stream:
            rig.take(fact(FactKind.REPLIED, entries=(nobody,), acts_as="3A") if value == "stop" else value)
        assert [key for key, _ in rig.entries] == [f"phone:{'ab' * 16}:opt_out"]
        assert rig.kinds == ["replied"]
    rig.take(fact(None, lifts=(None,), acts_as="3B"))
    assert next(key for key, value in rig.entries if value is None) == f"phone:{'ab' * 16}:opt_out"


def test_who_answers_a_message_of_nobodys_for_ever_fills_no_row_and_is_obeyed_when_it_is_known():
    rig, stop = Rig(), replace(STOP, recipient=None)
    rig.take(fact(FactKind.DELIVERED))
    for n in range(1_000):
        rig.take(replace(fact(None), entries=(stop,), acts_as=f"m{n}"))
    assert max(len(value) for _, value in rig.table.scan(b"", b"\xff" * 9)) < 50_000
    assert rig.counts[FactDropped(Channel.SMS, "unmatched")] == 1_001 - MOST_HELD
    rig.take(TOUCH)
    assert rig.entries[0][0] == f"phone:{TOUCH.recipient}:opt_out"
    assert len({key for key, _ in rig.entries}) == 1
    assert len(rig.entries) == MOST_HELD


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on():
    rig = Rig()
    rig.take(TOUCH, b"nonsense", encode_callback(fact(FactKind.READ))[:-3], fact(FactKind.DELIVERED))
    assert rig.kinds == ["delivered"]
    assert len([each for each in rig.outputs if each.topic == DEAD_LETTERS]) == 2


def test_metadata_that_json_makes_too_large_is_left_out():
    huge = replace(TOUCH, metadata={"k": "\x01" * 800_000})
    assert len(delivery_value(json_object, huge, fact(FactKind.READ), 1)) < 4_000_000


# --- partitions that were added ----------------------------------------------------------------------------------------


def forwarded(rig):
    return [(each.partition, each.value) for each in rig.outputs if each.topic == CALLBACKS]


def test_after_partitions_were_added_what_the_earlier_one_knows_is_told_there_and_the_rest_goes_on():
    place, before, now = TOUCH.place, 3, 8
    earlier, home = callback_partition(place, before), callback_partition(place, now)
    assert earlier != home
    rig = Rig(before, earlier)
    rig.take(TOUCH)
    grown = Rig(now, earlier)
    grown.table = rig.table
    grown.take(fact(FactKind.DELIVERED))
    assert (grown.kinds, forwarded(grown)) == (["delivered"], [])
    new = Rig(now, earlier)
    new.take(TOUCH, fact(FactKind.READ))
    assert new.told == []
    assert forwarded(new) == [(home, encode_sent(TOUCH)), (home, encode_callback(fact(FactKind.READ)))]
    there = Rig(now, home)
    there.take(fact(FactKind.READ), TOUCH)
    assert (there.kinds, forwarded(there)) == (["read"], [])


def test_after_partitions_were_added_a_wish_still_acts_once():
    stop = said("SM8", entries=(STOP,))
    before, now = 3, 8
    earlier = callback_partition(stop.place, before)
    assert earlier != callback_partition(stop.place, now)
    rig = Rig(before, earlier)
    rig.take(stop)
    grown = Rig(now, earlier)
    grown.table = rig.table
    grown.take(stop)
    assert grown.outputs == []
    grown.take(said("SM9", entries=(STOP,)))
    assert len(forwarded(grown)) == 1


# --- the mark that the dedup writes ------------------------------------------------------------------------------------


def sent(**more):
    said = {"provider_message_id": "SM1", "sender": "main", "recipient": "ab" * 16, "metadata": {"k": "v"}, **more}
    return Event("t-1", "c-1", "l-1", said.pop("channel", "sms"), said.pop("state", State.SENT), T0, **said)


def marks_of(event, marks=SentMarks(RULES.senders, PARTITIONS)):  # noqa: B008 - a value
    dedup = Dedup(lambda event, sequence: status_value(single_object, event, sequence), DAY, marks=marks)
    table, found = MemoryTable(), []
    for _ in range(2):
        step = dedup.step([Record(RESULTS, 5, 0, T0, b"t-1", encode_event(event))], table, T0)
        table.apply(step.changes)
        found += [each for each in step.outputs if each.topic != STATUS]
    return found


def test_what_was_sent_is_marked_once_with_its_status():
    (output,) = marks_of(sent())
    assert decode_sent(output.value) == TOUCH
    assert (output.topic, output.key) == (CALLBACKS, b"sms/SM1")
    assert (
        output.partition
        == callback_partition("sms/SM1", PARTITIONS)
        == callback_partition(fact(None).place, PARTITIONS)
    )


@pytest.mark.parametrize(
    "event",
    [
        sent(sender="other"),
        sent(channel="email"),
        sent(provider_message_id=None),
        sent(state=State.FAILED),
        sent(state=State.UNCONFIRMED),
    ],
)
def test_what_can_have_no_callback_is_not_marked(event):
    assert marks_of(event) == []


def test_without_callbacks_nothing_is_marked():
    assert marks_of(sent(), marks=None) == []
