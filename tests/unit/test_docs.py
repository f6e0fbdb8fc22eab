"""The documents name tests and files: those must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]


def test_every_test_that_a_document_names_exists() -> None:
    known = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    known |= {path.stem for path in ROOT.glob("tests/**/test_*.py")}
    named = {(doc.name, name) for doc in DOCS for name in re.findall(r"\btest_\w+", doc.read_text())}
    assert {each for each in named if each[1] not in known} == set()


def test_every_file_that_a_document_links_to_exists() -> None:
    links = [(doc, target) for doc in DOCS for target in re.findall(r"\]\(([^)#\s]+)", doc.read_text()) if "://" not in target]
    assert [f"{doc.name}: {target}" for doc, target in links if not (doc.parent / target).exists()] == []
