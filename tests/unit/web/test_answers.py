"""What is asked for by its name, not in a list: one order, one dead letter."""

from __future__ import annotations

import pytest

from pipeline import flow
from pipeline.domain.audit import Door, Role, Who
from pipeline.domain.order import Action, Order, Target
from pipeline.records.control import encode_order
from pipeline.web.problem import Code, Problem
from tests.harness import web_rig
from tests.harness.lookup import Copy, Topics

ADA, VERA = (Who(name, role, Door.CONSOLE, None) for name, role in (("ada", Role.ADMIN), ("vera", Role.VIEWER)))
SHOWN = {name: web_rig.LETTER[name] for name in ("key", "value", "headers")}
MASKED = dict.fromkeys(SHOWN)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> web_rig.WebRig:
    return web_rig.web_rig(monkeypatch)


@pytest.fixture
def answers(rig: web_rig.WebRig):
    topics = Topics()
    for number in range(2):
        letter = {name: value for name, value in web_rig.LETTER.items() if name not in ("partition", "offset")}
        topics.add(flow.DEAD_LETTERS, {**letter, "occurred_at": web_rig.T0 + number}, form="json")
    for number in range(101):
        order = Order(Action.CANCEL, Target(campaign=f"c{number}"), note="n", by="b", at_ms=web_rig.T0)
        topics.put(flow.CONTROL, order.key.encode(), encode_order(order))
    return rig.answers(Copy(topics).read_all().lookup)


async def test_a_dead_letter_is_masked_and_unmasked_for_an_admin_once_it_is_recorded(rig, answers):
    found = await answers.dead_letter(0, 1)
    assert {**found, **MASKED} == found
    assert (found["offset"], found["occurred_at"], "as_of" in found) == (1, web_rig.T0 + 1, True)
    assert rig.audits == []
    assert await answers.dead_letter(0, 1, unmasked_for=ADA) == {**found, **SHOWN}
    assert rig.audits == [("ada", "unmask", flow.DEAD_LETTERS, "done")]


async def test_a_viewer_unmasks_no_dead_letter_and_nobody_while_it_cannot_be_recorded(rig, answers):
    with pytest.raises(Problem) as refused:
        await answers.dead_letter(0, 1, unmasked_for=VERA)
    assert refused.value.code is Code.FORBIDDEN
    assert rig.audits == [("vera", "unmask", flow.DEAD_LETTERS, "forbidden")]
    rig.away = True
    with pytest.raises(Problem) as refused:
        await answers.dead_letter(0, 1, unmasked_for=ADA)
    assert refused.value.code is Code.KAFKA_AWAY


@pytest.mark.parametrize("place", [(0, 2), (1, 0), (999_999_999, 10**18 - 1)])
async def test_where_there_is_no_dead_letter_nothing_is_unmasked(rig, answers, place):
    with pytest.raises(Problem) as refused:
        await answers.dead_letter(*place, unmasked_for=ADA)
    assert (refused.value.code, rig.audits) == (Code.NOT_FOUND, [])


async def test_an_order_is_told_as_the_list_tells_it_also_behind_the_first_page(answers):
    listed = (await answers.orders())["orders"]
    assert (await answers.order(listed[0]["key"]))["order"] == listed[0]
    oldest = await answers.order("cancel:campaign=c0")
    assert oldest["order"]["offset"] == 0
    assert "cancel:campaign=c0" not in [each["key"] for each in listed]
    assert (await answers.order("cancel:campaign=x"))["order"] is None
