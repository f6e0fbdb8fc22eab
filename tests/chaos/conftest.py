"""What the chaos tests share: stacks that are stopped, and one report of every table at the end of the run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.chaos.judge import Judgement
from tests.chaos.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = bool(os.environ.get("LONG"))
_TABLES = pytest.StashKey[list[str]]()


class MakeStack(Protocol):
    """Makes a stack with its sandbox running; `config` are the blanks of its configuration. A `name` keeps several apart."""

    def __call__(self, servers: list[str] | None = None, *, name: str = "", replication: int = 1, **config: str) -> Stack: ...


class Report(Protocol):
    """Judges a stack, shows the table now and at the end of the run, and fails with the stories of what went wrong."""

    def __call__(self, title: str, found: Stack | Judgement, *notes: str) -> Judgement: ...


@pytest.fixture
def make_stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[MakeStack]:
    made: list[Stack] = []

    def make(servers: list[str] | None = None, *, name: str = "", replication: int = 1, **config: str) -> Stack:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        stack = Stack(servers or kafka, topic_prefix + name, folder, replication=replication, **config)
        made.append(stack)
        stack.start_sandbox()
        return stack

    yield make
    for stack in made:
        stack.stop_all()


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    tables = request.config.stash.setdefault(_TABLES, [])

    def show(title: str, found: Stack | Judgement, *notes: str) -> Judgement:
        judgement = Judgement(found) if isinstance(found, Stack) else found
        shown = "\n".join([judgement.table(title), *(f"  {note}" for note in notes)])
        tables.append(shown)
        print(f"\n{shown}", flush=True)
        judgement.demand_innocence()
        return judgement

    return show


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tables = config.stash.get(_TABLES, [])
    if tables:
        terminalreporter.section("chaos: what became of every touch")
        terminalreporter.write_line("\n\n".join(tables))
