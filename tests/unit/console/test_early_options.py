"""Options as they are typed: the same as click reads them."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.console.early_options import typed

LINES = [
    ["--datadir", "a", "worker"],
    ["--datadir=a", "worker"],
    ["-D", "a", "worker"],
    ["-Da", "worker"],
    ["worker", "--datadir", "a"],
    ["worker", "--datadir=a"],
    ["worker", "-D", "a"],
    ["worker", "-Da"],
    ["-A", "pipeline", "worker", "-l", "info", "--datadir", "a"],
    ["--datadir", "b", "worker", "--datadir", "a"],
]


@pytest.mark.parametrize("line", LINES)
def test_each_form_is_read(line):
    assert typed(line, "--datadir", "-D") == "a"


@pytest.mark.parametrize("line", [[], ["worker"], ["worker", "-d", "x"], ["worker", "--", "-D", "x"], ["--data", "x"]])
def test_what_is_not_typed_is_none(line):
    assert typed(line, "--datadir", "-D") is None


@given(st.lists(st.sampled_from(["--datadir", "-D", "--datadir=x y", "-Dz", "v", "w"]), max_size=6))
def test_click_reads_the_same(line):
    seen = []

    @click.command(context_settings={"ignore_unknown_options": False})
    @click.option("--datadir", "-D")
    @click.argument("rest", nargs=-1)
    def command(datadir, rest):
        del rest
        seen.append(datadir)

    if (
        CliRunner().invoke(command, line).exit_code == 0
        and "--datadir" not in (seen[0] or "")
        and (seen[0] or "") not in ("-D", "-Dz")
    ):
        assert typed(line, "--datadir", "-D") == seen[0]
