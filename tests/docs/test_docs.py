"""The documents name tests and files: those must exist."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline import flow
from pipeline.domain.story import Reason, State
from tests.harness.secured import OPERATIONS, PATTERNS, RESOURCES, acls_of

ROOT = Path(__file__).parents[2]
DOCS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]


def test_every_test_that_a_document_names_exists() -> None:
    known = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    known |= {path.stem for path in ROOT.glob("tests/**/test_*.py")}
    named = {(doc.name, name) for doc in DOCS for name in re.findall(r"\btest_\w+", doc.read_text())}
    assert {each for each in named if each[1] not in known} == set()


def test_every_file_that_a_document_links_to_exists() -> None:
    links = [
        (doc, target)
        for doc in DOCS
        for target in re.findall(r"\]\(([^)#\s]+)", doc.read_text())
        if "://" not in target
    ]
    assert [f"{doc.name}: {target}" for doc, target in links if not (doc.parent / target).exists()] == []


def test_the_permissions_listed_for_a_worker_are_those_of_every_topic_there_is() -> None:
    acls = list(acls_of((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), "p."))

    def may(principal: str, topic: str) -> set[str]:
        names = {number: name for name, number in OPERATIONS.items()}
        return {
            names[acl.operation]
            for acl in acls
            if acl.principal == principal
            and acl.resource == RESOURCES["topic"]
            and (topic == acl.name or (acl.pattern == PATTERNS["prefixed"] and topic.startswith(acl.name)))
        }

    trimmed = {stretch.topic for stretch in flow.ROAD if stretch.trims}
    for spec in flow.topics(partitions=1, lanes=1, replication=1, dedup_for_ms=1, callbacks=True):
        wanted = {"Create", "Describe", "DescribeConfigs", "Read", "Write"} | (
            {"Delete"} if spec.name in trimmed else set()
        )
        assert may("User:pipeline", f"p.{spec.name}") == wanted, spec.name
        assert may("User:shop", f"p.{spec.name}") == ({"Write"} if spec.name == flow.TOUCHES else set())
        assert may("User:reporting", f"p.{spec.name}") == ({"Read"} if spec.name == flow.STATUS else set())


def test_every_state_and_reason_of_a_touch_is_explained():
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\|", (ROOT / "docs" / "reasons.md").read_text(), re.MULTILINE)
    assert {state for state, _ in rows} == {state.value for state in State}
    assert {reason for _, reason in rows if reason} == {reason.value for reason in Reason}
