"""The demo's own decisions: its configuration, its counts, and that nothing is left running."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jgo
import pytest
import requests

from pipeline.domain.window import Closed, Open, gate, zones_of
from pipeline.domain.work import Channel
from pipeline.lab.demo.__main__ import down
from pipeline.lab.demo.afterwards import findings_afterwards, link_of
from pipeline.lab.demo.config import config_of
from pipeline.lab.demo.findings import Measured, findings, why_not
from pipeline.lab.demo.stack import DemoFailed, _born, alone, stop_leftovers
from pipeline.lab.demo.tally import NO_CHANNEL, Tally, _add, channel_of
from pipeline.lab.local.kafka import KafkaFailed, LocalKafka
from pipeline.settings import load

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 24, 17, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("hours", range(0, 24 * 365, 61))
def test_whenever_the_demo_is_started_america_is_open_and_tokyo_asleep(tmp_path: Path, hours: int):
    now_s = NOON + hours * 3600
    (tmp_path / "pipeline.toml").write_text(
        config_of("127.0.0.1:9092", "http://127.0.0.1:1", "templates", now_s, private_port=1, public_port=2)
    )
    settings = load({"PIPELINE_CONFIG": "pipeline.toml"}, tmp_path)
    for channel in (Channel.WHATSAPP, Channel.SMS):
        window = settings.channels[channel].window
        for zone, expected in (("America/New_York", Open), ("America/Los_Angeles", Open), ("Asia/Tokyo", Closed)):
            found = gate(window, zones_of(window, zone, None), int(now_s * 1000))
            assert isinstance(found, expected), (zone, now_s)


def told(touch_id: str, state: str, **more: Any) -> dict[str, Any]:
    empty = {"reason": None, "error": None, "error_code": None, "next_attempt_at": None, "provider_message_id": None}
    return {"touch_id": touch_id, "channel": "sms", "state": state, **empty, **more}


def tally_of(*records: dict[str, Any], dead_letters: tuple[dict[str, Any], ...] = ()) -> Tally:
    tally = Tally()
    for record in records:
        _add(tally, "touches.status", record)
    for letter in dead_letters:
        _add(tally, "touches.dead-letters", letter)
    return tally


def test_a_touch_is_settled_when_it_has_ended_or_waits_for_later():
    tally = tally_of(
        told("a", "sent"),
        told("b", "deferred", next_attempt_at=1_001),
        told("c", "deferred", next_attempt_at=999),
        told("d", "accepted"),
    )
    assert [tally.is_settled(each, until_ms=1_000) for each in "abcde"] == [True, True, False, False, False]


def test_only_the_last_record_of_a_touch_counts():
    tally = tally_of(told("a", "accepted"), told("a", "retrying"), told("a", "sent"))
    assert tally.states() == {("sms", "sent"): 1}


@pytest.mark.parametrize(
    ("value", "channel"),
    [
        (b'{"channel":"sms"}', "sms"),
        (b'{"channel":"fax"}', NO_CHANNEL),
        (b"{nope", NO_CHANNEL),
        (None, NO_CHANNEL),
        (b"[]", NO_CHANNEL),
        (b'{"channel":["sms"]}', NO_CHANNEL),
    ],
)
def test_the_channel_of_a_dead_letter_is_read_where_it_can_be(value: bytes | None, channel: str):
    assert channel_of(value) == channel


def test_why_touches_were_not_sent_is_counted():
    tally = tally_of(told("a", "sent"), told("b", "failed", reason="invalid"), told("c", "failed", reason="invalid"))
    assert why_not(tally) == "2 failed (invalid)"


def test_what_was_not_seen_has_no_proof():
    assert not any(each.proof for each in findings(Tally(), Measured({}, {})))


def test_everything_that_was_seen_has_its_proof():
    tally = tally_of(
        told("w", "sent", channel="whatsapp"),
        told("e", "sent", channel="email"),
        told("s", "retrying", reason="backoff", error_code="500"),
        told("s", "sent"),
        told("d", "deferred", reason="window", next_attempt_at=1_795_521_784_567),
        told("x", "failed", reason="invalid", error="no number"),
        dead_letters=(
            {"reason": "undecodable", "value": b"{nope", "error": "no JSON", "touch_id": None},
            {"reason": "conflict", "value": b"{}", "error": "other content", "touch_id": "w"},
        ),
    )
    proofs = [each.proof for each in findings(tally, Measured({"sms": 1.5}, {"sms": 1.0}))]
    assert all(proofs)
    assert "s: retrying → sent (backoff, 500)" in proofs
    assert "d: sms again at 2026-11-24 12:03 UTC" in proofs


def test_what_was_told_after_sent_has_its_proof_and_nothing_has_one_without():
    assert not any(each.proof for each in findings_afterwards(Tally()))
    tally = tally_of(
        told("mail-after-bounce", "suppressed", reason="bounced"),
        told("sms-after-stop", "suppressed", reason="opt_out"),
        told("mail-after-click", "suppressed", reason="unsubscribed"),
    )
    for channel in ("whatsapp", "email", "sms"):
        _add(tally, "touches.deliveries", {"channel": channel, "kind": "delivered"})
    _add(tally, "touches.suppressions", {"reason": "opt_out", "by": "recipient"})
    proofs = [each.proof for each in findings_afterwards(tally)]
    assert proofs == [
        "1 by whatsapp, 1 by email, 1 by sms",
        "mail-after-bounce: suppressed (bounced), by nobody",
        "sms-after-stop: suppressed (opt_out), by recipient",
        "mail-after-click: suppressed (unsubscribed), by nobody",
    ]
    _add(tally, "touches.status", told("sms-after-stop", "sent"))
    assert [bool(each.proof) for each in findings_afterwards(tally)] == [True, True, False, True]


@pytest.mark.parametrize(
    ("headers", "link"),
    [(None, None), ({}, None), ({"List-Unsubscribe": "<http://127.0.0.1:1/u/x>"}, "http://127.0.0.1:1/u/x")],
)
def test_the_link_of_an_email_is_the_one_its_header_names(headers: dict[str, str] | None, link: str | None):
    assert link_of({"extra": {"headers": headers}}) == link


def test_what_an_earlier_run_left_is_stopped_and_strangers_are_not(tmp_path: Path):
    left, stranger = (subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2))
    try:
        (tmp_path / "pids.json").write_text(
            json.dumps([["sandbox", left.pid, _born(left.pid)], ["worker", stranger.pid, "another birth"]])
        )
        assert str(stop_leftovers(tmp_path)) == "stopped sandbox; worker had ended before"
        assert left.wait(5) == -15
        assert stranger.poll() is None
        assert str(stop_leftovers(tmp_path)) == "nothing was running"
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


def test_down_tells_of_a_worker_that_had_been_dead_and_where_its_log_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    try:
        born = _born(alive.pid)
        (tmp_path / "pids.json").write_text(
            json.dumps([["worker", dead.pid, "long ago"], ["sandbox", alive.pid, born]])
        )
        assert down(tmp_path) == 0
        told = capsys.readouterr().out.splitlines()
        assert told == ["stopped sandbox; worker had ended before", f"why the worker ended: {tmp_path / 'worker.log'}"]
    finally:
        for process in (alive, dead):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route"),
        RuntimeError("404\nNot Found"),
        requests.exceptions.ProxyError("Unable to connect to proxy"),
        requests.exceptions.SSLError("certificate verify failed: self-signed certificate in certificate chain"),
        KeyError("packaging"),
        requests.exceptions.ReadTimeout("x" * 5_000),
        ValueError(""),
        FileNotFoundError(2, "No such file"),
        TimeoutError(),
        EOFError(),
    ],
)
def test_a_kafka_that_cannot_be_fetched_is_one_line_that_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
):
    def refuse(_endpoint: str) -> None:
        raise error

    monkeypatch.setattr(jgo, "build", refuse)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(KafkaFailed) as caught:
        LocalKafka(tmp_path / "kafka").start()
    line = str(caught.value)
    assert type(error).__name__ in line
    assert "HTTPS_PROXY" in line
    assert "\n" not in line
    assert len(line) < 600


def test_two_demos_do_not_run_in_one_folder(tmp_path: Path):
    with alone(tmp_path / "demo"):
        with pytest.raises(DemoFailed, match="another one is at work"), alone(tmp_path / "demo"):
            pytest.fail("both are at work")
        with alone(tmp_path / "up"):
            pass
    with alone(tmp_path / "demo"):
        pass
