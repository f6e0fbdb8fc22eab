"""OAUTHBEARER: every connection gets a token that is valid now, however it is fetched, and no log line has it."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.kafka import connection
from pipeline.kafka.connection import TOKEN_S, NoToken, TokenCommand, TokenFile, TokenProvider
from pipeline.secret import MASK, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_790_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that the test moves; a token is judged by both clocks."""
    passed = SimpleNamespace(s=0.0)
    monkeypatch.setattr(
        connection, "time", SimpleNamespace(monotonic=lambda: 50.0 + passed.s, time=lambda: NOW_S + passed.s)
    )
    return passed


def token(ends_s: object, number: int = 0) -> str:
    parts = ({"alg": "none"}, {"sub": "me", "exp": ends_s, "jti": number})
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts) + "."


class Minting(TokenCommand):
    """A command whose tokens end `lasts_s` after they were fetched."""

    def __init__(self, lasts_s: float, clock: Any) -> None:
        super().__init__("mint")
        self.lasts_s, self.clock, self.fetched = lasts_s, clock, 0

    def _run(self) -> str:
        self.fetched += 1
        return token(NOW_S + self.clock.s + self.lasts_s, self.fetched)


@pytest.mark.parametrize(("lasts_s", "serves_s"), [(3_600, TOKEN_S), (60, TOKEN_S), (20, 10), (2, 1)])
def test_a_commands_token_serves_further_connections_but_none_after_half_of_its_time(lasts_s, serves_s, clock):
    source = Minting(lasts_s, clock)
    first = source.read()
    clock.s = serves_s - 0.5
    assert source.read() == first
    clock.s = serves_s + 0.5
    assert source.read() != first
    assert source.fetched == 2


def test_a_token_that_is_over_already_serves_nobody_twice(clock):
    source = Minting(-60, clock)
    assert source.read() != source.read()


@pytest.mark.parametrize(
    "text",
    ["opaque", "a.b", "a.b.c", "a.####.c", "..", token("soon"), token([1]), token(None), token(10**400), "a.WzFd.c"],
)
def test_a_token_that_does_not_say_when_it_ends_serves_half_a_minute(text, clock, monkeypatch):
    source, fetched = TokenCommand("mint"), list[int]()
    monkeypatch.setattr(source, "_run", lambda: fetched.append(1) or text)
    assert source.read() == text
    clock.s = TOKEN_S - 1
    assert source.read() == text
    assert len(fetched) == 1
    clock.s = TOKEN_S
    source.read()
    assert len(fetched) == 2


async def test_each_connection_reads_the_file_as_it_is_then(tmp_path: Path):
    path = tmp_path / "token"
    provider = TokenProvider(TokenFile(path))
    for each in ("first-token-0001", "second-token-0002", "second-token-0002", "third-token-0003"):
        path.write_text(f"{each}\n")
        assert await provider.token() == each
    path.unlink()
    with pytest.raises(NoToken, match="cannot be read: No such file"):
        await provider.token()
    path.write_text("")
    with pytest.raises(NoToken, match="the token is empty"):
        await provider.token()


async def test_a_token_is_masked_as_long_as_it_is_the_last_one(tmp_path: Path):
    path = tmp_path / "token"
    provider = TokenProvider(TokenFile(path))
    path.write_text("first-token-0001")
    await provider.token()
    assert without_secrets("sent first-token-0001") == f"sent {MASK}"
    await provider.token()
    assert without_secrets("sent first-token-0001") == f"sent {MASK}"
    path.write_text("second-token-0002")
    await asyncio.gather(*(provider.token() for _ in range(5)))
    assert without_secrets("sent second-token-0002") == f"sent {MASK}"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit('no\\nway')", "ended with exit code 1: no way"),
        ("import sys; print('half-a-token'); sys.exit(3)", "ended with exit code 3: "),
        ("import sys; sys.stderr.write('x' * 9000); sys.exit(1)", "ended with exit code 1: xxx"),
    ],
)
def test_a_command_that_fails_is_one_line_and_says_nothing_of_what_it_printed(script, says):
    with pytest.raises(NoToken) as failed:
        TokenCommand(f"{sys.executable} -c {shlex.quote(script)}").read()
    [line] = failed.value.args
    assert says in line
    assert "half-a-token" not in line
    assert "\n" not in line
    assert len(line) < 400


def test_a_command_that_failed_is_run_again_for_the_next_connection(tmp_path: Path):
    done = tmp_path / "done"
    script = f"import pathlib, sys; p = pathlib.Path({str(done)!r}); print('t') if p.exists() else sys.exit(1)"
    source = TokenCommand(f"{sys.executable} -c {shlex.quote(script)}")
    with pytest.raises(NoToken):
        source.read()
    done.touch()
    assert source.read() == "t"
