"""What all suites share: one real Kafka for the whole run, names of their own for every test, stacks, and one report."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from pipeline import secret
from pipeline.lab.local.kafka import LocalKafka
from tests.harness.judge import Judgement
from tests.harness.reporting import SHOTS
from tests.harness.secured import SecuredKafka
from tests.harness.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from tests.harness.reporting import MakeStack, Report

_TABLES = pytest.StashKey[list[str]]()

# A shared machine is slow at times; a wall-clock deadline per example would fail for that alone.
hypothesis.settings.register_profile("ci", deadline=None)
hypothesis.settings.load_profile("ci")


def pytest_collection_finish() -> None:
    """Forget the secrets that modules of tests have made: one of them may be a word in what another test reads."""
    secret._known.clear()
    secret._pattern.cache_clear()


@pytest.fixture(autouse=True)
def secrets_of_its_own() -> Iterator[None]:
    """Let no test mask what another one's secrets were."""
    before = dict(secret._known)
    yield
    if secret._known.keys() != before.keys():
        secret._known.clear()
        secret._known.update(before)
        secret._pattern.cache_clear()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Bootstrap servers of a running Kafka: one for the run, or the one that PIPELINE_TEST_KAFKA names."""
    running = os.environ.get("PIPELINE_TEST_KAFKA")
    if running:
        yield running.split(",")
        return
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as local:
        yield local.bootstrap_servers


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A Kafka with TLS, SASL and ACLs."""
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture
def topic_prefix() -> str:
    """A prefix no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."


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


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape half a surrogate pair in what a test printed or compared: a report goes from process to process as UTF-8."""
    return _escaped((yield))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    return type(value)(map(_escaped, value)) if isinstance(value, list | tuple) else value


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the tables to the process that shows them, if this is one of several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tables"] = session.config.stash.get(_TABLES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(_TABLES, []).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if any(each.nodeid.startswith("tests/pages/") for each in terminalreporter.stats.get("passed", [])):
        terminalreporter.write_line(f"screenshots of the pages: {len(list(SHOTS.glob('*.png')))} in {SHOTS}")
    tables = config.stash.get(_TABLES, [])
    if tables:
        terminalreporter.section("what became of every touch")
        terminalreporter.write_line("\n\n".join(tables))
