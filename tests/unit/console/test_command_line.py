"""The command line as a whole: nothing of faust's that fails or misleads, and a help whose every word is true."""

from __future__ import annotations

import sys
from importlib import metadata

import click
import faust
import pytest
from click.testing import CliRunner
from faust.cli.faust import cli  # every command of faust is there, as when a user types one

from pipeline.console import commands as _commands  # noqa: F401 - faust finds commands once they are imported
from pipeline.console.command_line import DEFAULT_PORT, check_log_file, make_ours, versions, worker
from pipeline.web import command as _web  # noqa: F401 - as above

make_ours()
GROUPS = {
    "dead-letters": ["list", "show", "replay"],
    "opt-outs": ["list", "resolve"],
    "suppressions": ["add", "remove", "list", "export", "import"],
    "unconfirmed": ["list", "resolve"],
}
OURS = [
    "cancel",
    "check",
    "dead-letters",
    "forecast",
    "hash",
    "opt-outs",
    "orders",
    "pause",
    "produce",
    "repartition",
    "resume",
    "status",
    "suppressions",
    "token",
    "unconfirmed",
    "version",
    "web",
    "worker",
]
PATHS = [[name] for name in OURS if name not in GROUPS] + [
    [group, verb] for group, verbs in GROUPS.items() for verb in verbs
]


def help_of(*path: str) -> str:
    found = CliRunner().invoke(cli, [*path, "--help"])
    assert found.exit_code == 0, found.output
    return found.output


def test_only_our_commands_are_there():
    assert sorted(cli.commands) == OURS
    assert {name: sorted(cli.commands[name].commands) for name in GROUPS} == {
        name: sorted(verbs) for name, verbs in GROUPS.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "agents",
        "clean-versions",
        "completion",
        "livecheck",
        "model",
        "models",
        "reset",
        "send",
        "tables",
        "nonsense",
        "Worker",
    ],
)
def test_a_command_that_is_not_ours_is_wrong_usage(name: str):
    found = CliRunner().invoke(cli, [name])
    assert (found.exit_code, f"No such command '{name}'" in found.output) == (2, True)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_s_help_has_an_example_and_its_exit_codes(path: list[str]):
    told = help_of(*path)
    assert f"faust -A pipeline {' '.join(path)}" in told
    assert "Exit codes:" in told
    assert "2  wrong usage or configuration" in told


def test_the_help_as_a_whole_is_about_this_program():
    told = help_of()
    assert "faust-streaming.github.io" not in told
    assert "Welcome" not in told
    for name in ("--loop", "--console-port", "--blocking-timeout", "--debug", "{conf.name}-data", "WARN"):
        assert name not in told, name


def test_what_has_no_effect_is_not_offered_by_worker():
    told = help_of("worker")
    for name in ("--web-host", "--web-transport", "--console-port", "--blocking-timeout"):
        assert name not in told, name


def test_the_defaults_that_help_names_are_those_in_effect():
    told = " ".join(help_of("worker").split())
    assert f"by default {DEFAULT_PORT}, or the next one that is free" in told
    assert faust.App("defaults", broker="kafka://127.0.0.1:1").conf.web_port == DEFAULT_PORT
    assert "by default 127.0.0.1" in told
    assert "[default: INFO]" in told


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("worker", "INFO"),
        ("-l warn worker", "WARN"),
        ("worker -l warn", "WARN"),
        ("worker --loglevel=debug", "DEBUG"),
        ("-lerror worker", "ERROR"),
        ("worker -l crit", "CRITICAL"),
        ("-l WARN worker", "WARN"),
        ("--loglevel info worker -l warn", "WARN"),
        ("worker -D x -l info", "INFO"),
    ],
)
def test_the_log_level_is_the_one_that_was_typed_and_info_without(
    monkeypatch: pytest.MonkeyPatch, line: str, level: str
):
    monkeypatch.setattr(sys, "argv", ["faust", "-A", "pipeline", *line.split()])
    assert worker.__new__(worker).loglevel == level


def test_version_tells_ours_first():
    assert versions().startswith(f"touch-pipeline {metadata.version('touch-pipeline')} (faust-streaming ")


def test_a_log_that_cannot_be_written_is_told_before_anything_starts(tmp_path):
    check_log_file(None, None)
    check_log_file(str(tmp_path / "x.log"), None)
    with pytest.raises(click.BadParameter, match="its folder does not exist, or cannot be written to"):
        check_log_file(str(tmp_path / "missing" / "x.log"), None)
