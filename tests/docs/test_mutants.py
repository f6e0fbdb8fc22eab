"""A mutant that no longer finds its place breaks nothing, and so proves nothing."""

from __future__ import annotations

from tests.mutants import LEFT_OUT, MUTANTS, ROOT


def test_every_mutant_still_finds_its_place() -> None:
    assert [what for what, file, text, *_ in MUTANTS if text not in (ROOT / file).read_text()] == []


def test_the_copy_that_a_mutant_is_planted_in_lacks_no_file() -> None:
    files = [file.relative_to(ROOT) for room in ("pipeline", "tests") for file in (ROOT / room).rglob("*.py")]
    parts = {part for file in files for part in file.parts}
    assert LEFT_OUT(str(ROOT), sorted(parts)) == set()
