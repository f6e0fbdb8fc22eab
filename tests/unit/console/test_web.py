"""The endpoints on faust's web application."""

from __future__ import annotations

import errno
import os
import socket

import faust
import pytest
from aiohttp.test_utils import TestClient, TestServer
from faust.cli.worker import worker

from pipeline.console.web import WEB_SETTINGS, add_endpoints, bind
from pipeline.metrics import Metrics


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> faust.App:
    monkeypatch.delenv("WEB_BIND", raising=False)
    return faust.App("web-test", broker="kafka://127.0.0.1:1", web_tables_enabled=False, **WEB_SETTINGS)


@pytest.fixture
async def client(app: faust.App):
    reasons: list[str] = []
    metrics = Metrics()
    metrics.told("sms", "sent", None)
    ended: list[str] = []
    add_endpoints(app, metrics, lambda: reasons[0] if reasons else None, lambda: ended[0] if ended else None)
    async with TestClient(TestServer(await app.web.wsgi())) as client:
        client.reasons, client.ended = reasons, ended
        yield client


async def test_live_answers(client: TestClient):
    answer = await client.get("/live")
    assert (answer.status, await answer.text()) == (200, "live\n")


async def test_live_is_503_when_something_that_must_run_has_ended(client: TestClient):
    client.ended.append("the heartbeat has ended")
    answer = await client.get("/live")
    assert (answer.status, await answer.text()) == (503, "not live: the heartbeat has ended\n")


async def test_ready_is_200_when_nothing_is_in_the_way(client: TestClient):
    assert (await client.get("/ready")).status == 200


async def test_ready_is_503_with_the_reason(client: TestClient):
    client.reasons.append("rebalancing")
    answer = await client.get("/ready")
    assert (answer.status, await answer.text()) == (503, "not ready: rebalancing\n")


async def test_metrics_are_served_in_prometheus_text_format(client: TestClient):
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert 'pipeline_touches_total{channel="sms",reason="",state="sent"} 1.0' in await answer.text()


@pytest.mark.parametrize("path", ["/table/", "/router/", "/graph/", "/assignment/"])
async def test_nothing_of_faust_that_tells_of_data_or_peers_is_served(client: TestClient, path: str):
    assert (await client.get(path)).status == 404


def test_the_port_is_bound_to_loopback_unless_told_otherwise(app: faust.App):
    assert app.conf.web_bind == "127.0.0.1"


def test_the_command_line_wins_over_loopback(app: faust.App):
    command = worker.__new__(worker)
    command.app = app
    command._init_worker_options(with_web=True, web_port=7777, web_bind="0.0.0.0", web_host=None, web_transport=None)
    assert (app.conf.web_bind, app.conf.web_port) == ("0.0.0.0", 7777)


def test_the_environment_wins_over_loopback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WEB_BIND", "0.0.0.0")
    app = faust.App("web-test", broker="kafka://127.0.0.1:1", web_tables_enabled=False, **WEB_SETTINGS)
    assert app.conf.web_bind == "0.0.0.0"


def test_a_port_in_use_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert bind("127.0.0.1", other.getsockname()[1], tries=1) is None
    with bind("127.0.0.1", 0, tries=1) as listener:
        assert listener.getsockname()[1]


def test_an_address_of_another_machine_is_no_port_in_use():
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        bind("203.0.113.7", 6066, tries=5)
