"""The house rules that no linter has: one name for one class, a sentence for each room, a road without a gap."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pipeline import flow

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "pipeline").glob("**/*.py"))
ROOMS = sorted({path.parent for path in PRODUCT})
LONGEST_FUNCTION = 40
AGENTS = {"router", "lanes", "scheduler", "dedup", "deliveries"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_every_room_says_what_it_is_for(room: Path):
    said = ast.get_docstring(tree_of(room / "__init__.py"))
    assert said, "a room begins with a sentence in its __init__.py"
    assert re.search(r"[.:]$", said.split("\n\n")[0]), said


def test_no_class_name_stands_twice():
    places = defaultdict(list)
    for path in PRODUCT:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_function_is_longer_than_forty_lines():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in PRODUCT
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and statements(node) > LONGEST_FUNCTION
    ]
    assert long == []


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return its lines without the signature and the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def test_whatever_connects_to_kafka_does_so_with_all_that_is_configured():
    """Servers alone are no connection: TLS and the login come with them (`kafka/connection.py`)."""
    clients = {
        "AIOKafkaClient",
        "AIOKafkaConsumer",
        "RecordConsumer",
        "AIOKafkaProducer",
        "TransactionalProducer",
        "AIOKafkaAdminClient",
        "create_conn",
    }
    calls = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", [ast.unparse(each.value) for each in node.keywords if not each.arg])
        for path in PRODUCT
        if "lab" not in path.relative_to(ROOT).parts
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in clients
    ]
    assert len(calls) > len(clients)
    assert [place for place, spread in calls if not any("connection" in each or each == "how" for each in spread)] == []


def test_every_topic_that_an_agent_writes_is_read_or_public():
    names = [stretch.topic for stretch in flow.ROAD]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    ends = {stretch.topic for stretch in flow.ROAD if stretch.read_by is None}
    views = {flow.CONTROL, flow.SUPPRESSIONS, flow.LANES, flow.AUDIT, flow.OPT_OUTS}
    assert ends == {flow.STATUS, flow.DELIVERIES, flow.DEAD_LETTERS, flow.UNCONFIRMED, *views}


def test_the_road_leads_from_every_agent_to_the_statuses_or_deliveries():
    reads = {
        agent: [stretch for stretch in flow.ROAD if stretch.read_by is not None and agent in stretch.read_by]
        for agent in AGENTS
    }
    assert all(reads.values()), "an agent that reads nothing"
    writes = {agent: [each.topic for each in flow.ROAD if agent in each.written_by] for agent in AGENTS}

    def reaches(topic: str, seen: frozenset[str]) -> bool:
        if topic in (flow.STATUS, flow.DELIVERIES):
            return True
        takers = [agent for agent in AGENTS if topic in {each.topic for each in reads[agent]} - seen]
        return any(reaches(after, seen | {topic}) for agent in takers for after in writes[agent])

    inner = {stretch.topic for stretch in flow.ROAD if stretch.read_by is not None}
    assert {topic for topic in inner if not reaches(topic, frozenset())} == set()


def test_no_files_import_each_other_in_a_circle():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PRODUCT}
    imports = {name: imported(tree_of(path)) & names.keys() - {name} for name, path in names.items()}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def imported(tree: ast.Module) -> set[str]:
    """Return the modules that a file imports, those for type checkers included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def test_every_client_of_kafka_is_stopped_in_a_task_of_its_own():
    """Awaited directly, it may cancel whoever stops it, or keep a cancellation from him (`engine/stop_client.py`)."""
    direct = re.compile(r"await (?:self\._)?(?:admin|client|kafka|consumer|(?<!self\._)producer)\.(?:stop|close)\(\)")
    assert [str(path.relative_to(ROOT)) for path in PRODUCT if direct.search(path.read_text())] == []
