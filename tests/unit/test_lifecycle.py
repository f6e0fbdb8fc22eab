"""The four state machines: their tables, their drawings in docs/lifecycle.md, and the places that check them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import get_args

import pytest

from pipeline.domain.lifecycle import BREAKER, CLAIM, TOUCH, BreakerState
from pipeline.domain.story import TERMINAL, State
from pipeline.domain.value import replace
from pipeline.domain.verdict import (
    Absent,
    AskLater,
    Paused,
    Refused,
    Rejected,
    Resolution,
    Sent,
    Split,
    Unanswerable,
    Unbegun,
    Unknown,
    Verdict,
)
from pipeline.domain.work import Channel, Phase
from pipeline.engine.lifecycle import PARTITION, PartitionState
from pipeline.stage_io import Overlay
from pipeline.stages.lane.breaker import CLOSED, Breaker
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.settle import settle
from pipeline.stages.lane.settlement import Settlement
from pipeline.stages.lane.step import Outcome
from pipeline.state_machine import IllegalTransition, check_transition, is_valid_transition
from tests.harness.lane_rig import T0, Rig, policy, work

DRAWINGS = (Path(__file__).parents[2] / "docs/lifecycle.md").read_text()
MACHINES: dict[str, Mapping[Enum, frozenset[Enum]]] = {
    "Claim": CLAIM,
    "Breaker": BREAKER,
    "Touch": TOUCH,
    "Partition": PARTITION,
}
ANSWERS = [
    Sent(("m",)),
    Rejected("400", "no"),
    Split("422", "one is bad"),
    Refused("409", "later"),
    Paused("429", "slow down"),
    Unbegun(),
    Unknown("timeout", "no answer"),
]
LOOKED_UP = [*ANSWERS, Absent(), AskLater("away"), Unanswerable("the key has expired")]
BY_ANSWER = {type(answer).__name__ for answer in LOOKED_UP}


def drawn(machine: str) -> dict[tuple[str, str], str]:
    """Return the label of each transition of a drawing, by (before, after)."""
    section = DRAWINGS.split(f"## {machine}\n")[1].split("\n## ")[0]
    return {
        (before, after): label or ""
        for before, after, label in re.findall(r"^ +(\w+) --> (\w+)(?:: (.*))?$", section, re.MULTILINE)
    }


@pytest.mark.parametrize("name", MACHINES)
def test_a_drawing_has_the_transitions_of_its_table(name: str) -> None:
    table = {(before.name, after.name) for before, afters in MACHINES[name].items() for after in afters}
    assert set(drawn(name)) == table


@pytest.mark.parametrize("name", MACHINES)
def test_every_transition_is_legal_or_raises(name: str) -> None:
    machine = MACHINES[name]
    assert set(machine) == set(type(next(iter(machine))))
    for before in machine:
        for after in machine:
            if is_valid_transition(machine, before, after):
                check_transition(machine, before, after)
            else:
                with pytest.raises(IllegalTransition, match=f"{before.name} to {after.name}"):
                    check_transition(machine, before, after)


def test_nothing_follows_the_end() -> None:
    assert not CLAIM[Phase.CLOSED]
    assert not PARTITION[PartitionState.CLOSED]
    assert all(not TOUCH[state] for state in TERMINAL)
    assert all(State.ACCEPTED not in afters for afters in TOUCH.values())


def test_the_answers_are_all_there_are() -> None:
    assert {type(answer) for answer in ANSWERS} == set(get_args(Verdict))
    assert {type(answer) for answer in LOOKED_UP} == set(get_args(Resolution))


def settled(phase: Phase, answer: Resolution, *, replays: bool) -> tuple[StepDraft, Settlement]:
    rig = Rig(policy(Channel.EMAIL if replays else Channel.SMS, gather_ms=0), replays=replays, by_text=not replays)
    rig.step(work("t", channel=rig.policy.channel))
    (claim,) = rig.calls
    if phase is Phase.LOOKING_UP:
        rig.answer(Unknown("timeout", "no answer"))
        rig.step()
    draft = StepDraft(
        rig.lane._config, rig.lane._index, Overlay(rig.table), rig.now_ms, lambda: 0.5, control=rig.control
    )
    open_claim = rig.lane._index.claims[claim.claim_id]
    # A replay that begins when the lost call can no longer arrive.
    begun_ms = rig.now_ms + 60_000 if phase is Phase.LOOKING_UP else rig.now_ms
    outcome = Outcome(claim.claim_id, answer, begun_ms, begun_ms)
    return draft, settle(open_claim, outcome, draft.facts)


CASES = [
    *((Phase.CALLING, answer, replays) for answer in ANSWERS for replays in (False, True)),
    *((Phase.LOOKING_UP, answer, True) for answer in LOOKED_UP),
    *((Phase.LOOKING_UP, answer, False) for answer in (Sent(("m",)), Absent(), AskLater("away"))),
]


def name_of(case: tuple[Phase, Resolution, bool]) -> str:
    phase, answer, replays = case
    return f"{phase.name}-{type(answer).__name__}{'-replay' if replays else ''}"


@pytest.mark.parametrize(("phase", "answer", "replays"), CASES, ids=map(name_of, CASES))
def test_an_answer_moves_its_claim_as_drawn(phase: Phase, answer: Resolution, replays: bool) -> None:
    draft, settlement = settled(phase, answer, replays=replays)
    after = Phase.CLOSED if settlement.claim is None else settlement.claim.phase
    assert type(answer).__name__ in drawn("Claim")[phase.name, after.name].split(", ")
    draft.apply(settlement)
    assert (settlement.before.claim_id in draft.index.claims) == (after is not Phase.CLOSED)


def test_every_answer_that_is_drawn_moves_a_claim() -> None:
    moved = {
        (phase.name, "CLOSED" if settlement.claim is None else settlement.claim.phase.name, type(answer).__name__)
        for phase, answer, replays in CASES
        for _, settlement in [settled(phase, answer, replays=replays)]
    }
    named = {
        (before, after, label)
        for (before, after), labels in drawn("Claim").items()
        for label in labels.split(", ")
        if label in BY_ANSWER
    }
    assert named == moved


class TestIllegalTransitionsFailLoudly:
    def draft(self) -> StepDraft:
        rig = Rig(policy())
        rig.step(work("t"))
        return StepDraft(
            rig.lane._config, rig.lane._index, Overlay(rig.table), rig.now_ms, lambda: 0.5, control=rig.control
        )

    def test_a_claim_that_is_looked_up_is_never_calling_again(self):
        draft = self.draft()
        (claim,) = draft.index.claims.values()
        draft.put_claim(replace(claim, phase=Phase.LOOKING_UP))
        with pytest.raises(IllegalTransition, match="LOOKING_UP to CALLING"):
            draft.put_claim(claim)

    def test_a_claim_is_closed_once(self):
        draft = self.draft()
        (claim,) = draft.index.claims.values()
        draft.close(claim)
        with pytest.raises(IllegalTransition, match="CLOSED to CLOSED"):
            draft.close(claim)

    def test_a_closed_breaker_is_never_half_open(self):
        draft = self.draft()
        (claim,) = draft.index.claims.values()
        over = Breaker().opened(T0 - 5_000, code="429", error="slow down")
        assert over.state_at(draft.now_ms) is BreakerState.HALF_OPEN
        with pytest.raises(IllegalTransition, match="CLOSED to HALF_OPEN"):
            draft.apply(Settlement(claim, None, (), over))


def test_a_breaker_opens_for_a_while_is_half_open_and_closes() -> None:
    opened = CLOSED.opened(T0, code="429", error="slow down")
    assert opened.state_at(T0 + 999) is BreakerState.OPEN
    assert opened.state_at(T0 + 1_000) is BreakerState.HALF_OPEN
    waits = []
    for _ in range(5):
        waits.append(opened.until_ms - T0)
        opened = opened.opened(T0, code="429", error="slow down")
    assert waits == [1_000, 2_000, 3_000, 3_000, 3_000]
    assert CLOSED.opened(T0, code="429", error="slow down", retry_after_s=7.0).until_ms == T0 + 7_000
    assert CLOSED.state_at(T0) is BreakerState.CLOSED
