"""Opt-outs of WhatsApp accounts that hide their number: pending until it is learnt, or an operator resolves them."""

from __future__ import annotations

import pytest

from pipeline.domain.fact import BY_RECIPIENT, Callback, Entry, FactKind, SentTouch, callback_partition
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.value import replace
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, OPT_OUTS
from pipeline.records.callbacks import decode_callback, decode_pending
from pipeline.stages.deliveries import Deliveries, hidden_accounts, learnt_number, pending_opt_outs
from tests.unit.stages.test_deliveries import DAY, RULES, T0, Rig

LID, NUMBER, OTHER = "99@lid", "cd" * 16, "ef" * 16
STOP = Entry(Scope.PHONE, SuppressionReason.OPT_OUT, BY_RECIPIENT, "STOP")
KEY = f"phone:{NUMBER}:opt_out"


def stop(name: str = "3A01", **more) -> Callback:
    said = {"entries": (STOP,), "acts_as": name, "lid": LID, **more}
    return Callback(Channel.WHATSAPP, "wa", "", T0, **said)


def start(name: str = "3A02") -> Callback:
    return stop(name, entries=(), lifts=(None,))


LEARNT = learnt_number(LID, "wa", (NUMBER,), T0)


@pytest.fixture
def rig():
    return Rig()


def shown(rig) -> dict[str, str]:
    """Return the pending opt-outs as `touches.opt-outs` has them, compacted: id → lid."""
    latest = {each.key.decode(): each.value for each in rig.outputs if each.topic == OPT_OUTS}
    return {name: decode_pending(value).lid for name, value in latest.items() if value is not None}


def test_one_whose_number_is_not_known_is_pending_and_shown(rig):
    rig.take(stop())
    assert (rig.entries, shown(rig), pending_opt_outs(rig.table)) == ([], {"3A01": LID}, 1)
    assert hidden_accounts(rig.table) == [("wa", LID)]
    (told,) = [decode_pending(each.value) for each in rig.outputs if each.topic == OPT_OUTS]
    assert (told.id, told.at_ms, told.sender) == ("3A01", T0, "wa")


def test_it_stays_pending_for_ever(rig):
    rig.take(stop())
    rig.pass_until(T0 + 3650 * DAY)
    assert (pending_opt_outs(rig.table), shown(rig)) == (1, {"3A01": LID})
    rig.take(LEARNT, at=T0 + 3651 * DAY)
    assert [key for key, _ in rig.entries] == [KEY]


@pytest.mark.parametrize("order", [(stop(), LEARNT), (LEARNT, stop()), (stop(), stop(), LEARNT, LEARNT, stop())])
def test_it_is_an_entry_once_the_number_is_learnt_before_or_after(rig, order):
    for each in order:
        rig.take(each)
        rig.restart()
    assert [key for key, _ in rig.entries] == [KEY]
    assert (shown(rig), pending_opt_outs(rig.table), hidden_accounts(rig.table)) == ({}, 0, [])


def test_what_the_provider_was_asked_for_counts_as_learnt(rig):
    rig.take(stop())
    step = rig.stage.step([], rig.table, T0 + 1, [LEARNT])
    rig.table.apply(step.changes)
    rig.outputs += step.outputs
    assert ([key for key, _ in rig.entries], shown(rig)) == ([KEY], {})


def test_every_way_to_write_the_number_is_suppressed(rig):
    rig.take(stop(), replace(LEARNT, people=(NUMBER, OTHER)))
    assert {key for key, _ in rig.entries} == {KEY, f"phone:{OTHER}:opt_out"}


def test_the_message_that_is_quoted_tells_the_number_whenever_it_is_known(rig):
    touch = SentTouch("t-1", "c", "l", Channel.WHATSAPP, "wa", "3EB0", T0, 0, NUMBER)
    reply = Callback(Channel.WHATSAPP, "wa", "3EB0", T0, FactKind.REPLIED, lid=LID)
    rig.take(stop(), reply)
    assert rig.entries == []
    rig.take(touch)
    told = [decode_callback(each.value) for each in rig.outputs if each.topic == CALLBACKS]
    assert [(each.lid, each.people) for each in told] == [(LID, (NUMBER,))]
    rig.take(*told)
    assert ([key for key, _ in rig.entries], shown(rig), rig.kinds) == ([KEY], {}, ["replied"])


def test_an_operator_resolves_it_and_an_old_copy_does_not_bring_it_back(rig):
    rig.take(stop())
    rig.take(Callback(Channel.WHATSAPP, "wa", "", T0, lid=LID, settles="other"))
    assert pending_opt_outs(rig.table) == 1
    rig.take(Callback(Channel.WHATSAPP, "wa", "", T0, lid=LID, settles="3A01"))
    assert (pending_opt_outs(rig.table), shown(rig), rig.entries) == (0, {}, [])
    rig.take(stop(), LEARNT)
    assert (rig.entries, shown(rig)) == ([], {})


def test_the_last_word_counts(rig):
    rig.take(stop(), start())
    assert (shown(rig), pending_opt_outs(rig.table)) == ({}, 0)
    rig.take(LEARNT)
    assert all(value is None for _, value in rig.entries)
    again = Rig()
    again.take(stop("3A01"), start("3A02"), stop("3A03"), LEARNT)
    assert [key for key, value in again.entries if value is not None] == [KEY]


def test_after_partitions_were_added_it_is_kept_where_it_is_at_home():
    place = stop().place
    home = callback_partition(place, 8)
    before = Rig(partitions=8, number=(home + 1) % 8)
    before.take(stop())
    (forwarded,) = before.outputs
    assert (forwarded.topic, forwarded.partition, pending_opt_outs(before.table)) == (CALLBACKS, home, 0)
    at_home = Rig(partitions=8, number=home)
    at_home.take(decode_callback(forwarded.value))
    assert pending_opt_outs(at_home.table) == 1


def test_what_is_learnt_is_told_where_the_account_was_kept_before_partitions_were_added():
    touch = SentTouch("t-1", "c", "l", Channel.WHATSAPP, "wa", "3EB0", T0, 0, NUMBER)
    grown = Rig(partitions=8, number=callback_partition(touch.place, 8))
    grown.stage = Deliveries(RULES, 8, lambda *_: b"told", lambda _: b"entry", before=3)
    grown.take(touch, Callback(Channel.WHATSAPP, "wa", "3EB0", T0, FactKind.REPLIED, lid=LID))
    told = [each for each in grown.outputs if each.topic == CALLBACKS]
    assert [each.partition for each in told] == [callback_partition(f"lid/{LID}", 3)]
