"""The web process without a Kafka: its listeners, its exit codes, its signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import click
import pytest
from aiohttp import web
from click.testing import CliRunner
from faust.cli.faust import cli

from pipeline.domain.token import token_hash
from pipeline.kafka.cluster import CommandFailed
from pipeline.kafka.control import ControlLog
from pipeline.settings import load
from pipeline.settings.web import Listen
from pipeline.web import command
from pipeline.web.private import private_application
from pipeline.web.process import WebProcess
from pipeline.worker import make_web_deps
from tests.harness.certificates import Authority

NOWHERE = 'bootstrap_servers = "127.0.0.1:1"'
SMS = """
[[channels.sms.senders]]
account_sid = "AC1"
auth_token = "t"
from = "+15005550006"
webhook_secrets = "t"
"""
WEB = '[web]\nlisten = "127.0.0.1:0"\npublic_listen = "127.0.0.1:0"\npublic_url = "https://touch.example.com"\n'
ANY = Listen("127.0.0.1", 0)


def deps_of(folder: Path, text: str = ""):
    (folder / "pipeline.toml").write_text(f"[kafka]\n{NOWHERE}\n{WEB}{text}{SMS}")
    return make_web_deps(load({"PIPELINE_CONFIG": "pipeline.toml"}, folder))


@asynccontextmanager
async def running(deps):
    """Yield (process, task) once it listens; end it if the test did not."""
    process = WebProcess(deps)
    task = asyncio.ensure_future(process.run())
    try:
        async with asyncio.timeout(30):
            while not process.ports and not task.done():
                await asyncio.sleep(0.01)
        yield process, task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([task])


async def fetch(port: int, path: str, **how):
    scheme = "https" if how.get("ssl") else "http"
    async with aiohttp.ClientSession() as session, session.get(f"{scheme}://127.0.0.1:{port}{path}", **how) as answer:
        return answer.status, await answer.text()


async def test_without_kafka_it_lives_says_why_it_is_not_ready_and_answers_503(tmp_path):
    async with running(deps_of(tmp_path)) as (process, task):
        private, public = process.ports
        assert await fetch(private, "/live") == (200, "live\n")
        status, said = await fetch(private, "/ready")
        assert (status, said.startswith("not ready: Kafka cannot be reached: 127.0.0.1:1: ")) == (503, True)
        assert "pipeline_callbacks_total" in (await fetch(private, "/metrics"))[1]
        assert (await fetch(private, "/callbacks/twilio/default/status"))[0] == 404
        assert (await fetch(public, "/live"))[0] == 404
        assert (await fetch(public, "/callbacks/twilio/default/status"))[0] == 405
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await task == 0


async def test_a_typed_listener_wins_and_the_public_one_can_be_off(tmp_path):
    deps = deps_of(tmp_path).listening(Listen("::1", 0), "")
    assert (deps.settings.web.listen, deps.settings.web.public_listen) == (Listen("::1", 0), None)
    async with running(deps_of(tmp_path).listening(ANY, "")) as (process, _):
        assert len(process.ports) == 1
    assert deps_of(tmp_path).listening(None, None).settings.web.public_listen == ANY


async def test_a_port_in_use_is_one_line_that_names_the_option(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options, name in (
            ((Listen("127.0.0.1", port), None), "--listen"),
            ((None, Listen("127.0.0.1", port)), "--public-listen"),
        ):
            with pytest.raises(CommandFailed, match=f"^127.0.0.1:{port} is in use; choose another with {name}$"):
                await WebProcess(deps_of(tmp_path).listening(*options)).run()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--listen", "6080", '"HOST:PORT"'), ("--public-listen", "0.0.0.0:99999", '"HOST:PORT"')],
)
def test_a_listener_that_cannot_be_is_wrong_usage(monkeypatch, option, value, said):
    monkeypatch.setattr(command.web, "__init__", lambda *_, **__: pytest.fail("the command must not begin"))
    found = CliRunner().invoke(cli, ["web", option, value])
    assert found.exit_code == 2
    assert said in found.output


async def test_the_certificate_is_read_again_on_sighup_and_a_broken_one_is_not_taken(tmp_path, caplog):
    authority = Authority(tmp_path / "ca")
    pair = authority.certify("web", "localhost")
    tls = f'certificate = "{pair.certfile}"\nprivate_key = "{pair.keyfile}"\n'
    async with running(deps_of(tmp_path, tls)) as (process, _):
        first = await shown_by(process.ports[1])
        authority.certify("web", "localhost")
        os.kill(os.getpid(), signal.SIGHUP)
        second = await until(lambda: shown_by(process.ports[1]), lambda shown: shown != first)
        assert await shown_by(process.ports[0]) == second
        pair.certfile.write_text("broken")
        caplog.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: asyncio.sleep(0.01, caplog.text), lambda said: "is not read again" in said)
        assert await shown_by(process.ports[1]) == second


async def shown_by(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def until(look, is_enough):
    async with asyncio.timeout(20):
        while not is_enough(found := await look()):
            await asyncio.sleep(0.01)
        return found


async def test_a_typed_listener_that_others_reach_needs_users_and_tls(tmp_path, monkeypatch):
    typed = SimpleNamespace(logfile=None, ctx=None)
    monkeypatch.setattr(command, "_makers", [lambda: deps_of(tmp_path)])
    monkeypatch.setattr("pipeline.web.process.log_to", lambda *_: None)
    with pytest.raises(click.UsageError, match=r"^--listen: beyond loopback it needs web\.users, and"):
        await command.web.serve(typed, None, listen=Listen("0.0.0.0", 0), public_listen=None, copy_dir=None)


async def test_a_copy_is_one_process_s_own(tmp_path):
    async with running(deps_of(tmp_path).listening(ANY, "", str(tmp_path / "mine"))):
        assert (tmp_path / "mine").is_dir()
        with pytest.raises(CommandFailed, match=r"mine is in use by another web process; .* with --copy-dir$"):
            await WebProcess(deps_of(tmp_path).listening(ANY, "", str(tmp_path / "mine"))).run()


async def test_what_is_told_comes_from_the_copy_and_needs_its_token(tmp_path):
    users = '[[web.users]]\nname = "ada"\nrole = "admin"\ntoken_hash = "{}"\n'.format(token_hash("t"))
    async with running(deps_of(tmp_path, users).listening(ANY, "")) as (process, _):
        (port,) = process.ports
        assert (await fetch(port, "/api/v1/campaigns"))[0] == 401
        assert (await fetch(port, "/metrics"))[0] == 401
        mine = {"headers": {"Authorization": "Bearer t"}}
        status, said = await fetch(port, "/api/v1/campaigns", **mine)
        assert (status, json.loads(said)) == (200, {"campaigns": [], "next": None, "as_of": 0})
        metrics = (await fetch(port, "/metrics", **mine))[1]
        assert 'pipeline_requests_total{door="api",status="200"} 1.0' in metrics
        assert "pipeline_copy_lag_records" in metrics
        answer = await fetch(port, "/api/v1/orders", **mine)
        assert answer[0] == 200, "what the copy has is told while Kafka is away"


async def test_no_path_there_is_answers_without_a_credential_but_those_named(tmp_path, monkeypatch):
    built: list[web.Application] = []

    def remembered(*given, **more):
        built.append(private_application(*given, **more))
        return built[-1]

    monkeypatch.setattr("pipeline.web.process.private_application", remembered)
    users = '[[web.users]]\nname = "ada"\nrole = "admin"\ntoken_hash = "{}"\n'.format(token_hash("t"))
    async with running(deps_of(tmp_path, users).listening(ANY, "")) as (process, _):
        (port,), (app,) = process.ports, built
        routes = {(each.method, re.sub(r"\{[^}]*\}+", "1", each.resource.canonical)) for each in app.router.routes()}
        assert len(routes) > 50
        answered = set()
        async with aiohttp.ClientSession() as session:
            for method, path in sorted(routes):
                asked = session.request(method, f"http://127.0.0.1:{port}{path}", allow_redirects=False)
                async with asked as answer:
                    is_led_away = answer.status == 303 and answer.headers["Location"] == "/login"
                    if answer.status != 401 and not is_led_away:
                        answered.add(path)
    assert answered == {"/live", "/ready", "/login", "/static/console.css", "/static/console.js", "/static/icon.svg"}


async def test_another_privacy_key_than_that_of_the_workers_ends_it(tmp_path, monkeypatch):
    async def read_control(_cluster, _complain):
        return ControlLog(fingerprint="that of another key")

    monkeypatch.setattr("pipeline.web.inside.read_control", read_control)
    async with running(deps_of(tmp_path).listening(ANY, "")) as (_, task):
        async with asyncio.timeout(30):
            with pytest.raises(CommandFailed, match=r"privacy\.key is not the one"):
                await task
