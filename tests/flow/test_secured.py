"""A Kafka with TLS, SASL and ACLs: every way in from touch to status, and each closed door as one line."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from pipeline import flow
from pipeline.console.check.work import Desired, check
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed, partition_counts
from pipeline.kafka.configured import connection_of
from pipeline.kafka.connection import Connection, why_unreachable
from pipeline.settings import load
from tests.harness.judge import CHANNELS
from tests.harness.secured import SecuredKafka, SmallStack, Way, token_of
from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture
def stack(secured: SecuredKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = SmallStack(secured.admin, topic_prefix, tmp_path)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


def ways(kafka: SecuredKafka) -> dict[str, Way]:
    return {
        "SCRAM": kafka.by_password("pipeline", "SASL_PLAINTEXT", "SCRAM-SHA-256"),
        "client certificate": kafka.by_certificate("pipeline"),
        "PLAIN over TLS": kafka.by_password("pipeline", "SASL_SSL", "PLAIN"),
        "token": kafka.by_token("pipeline", "SASL_PLAINTEXT"),
    }


def faust(
    way: Way, folder: Path, *words: str, prefix: str = "", wait_s: float = 60, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *words],
        check=False,
        cwd=folder,
        input=stdin,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KAFKA_TOPIC_PREFIX": prefix, **way.environment},
        capture_output=True,
        text=True,
        timeout=wait_s,
    )


async def test_touches_come_and_go_by_every_way_in_with_the_permissions_that_the_docs_list(
    secured: SecuredKafka, stack: Stack
) -> None:
    await secured.grant(OPERATIONS, stack.prefix)
    for number, (name, way) in enumerate(ways(secured).items()):
        stack.worker_servers, stack.config["kafka"] = way.servers, way.toml
        stack.start(0)
        if number == 0:
            await stack.wait_for_topics()
        await stack.produce([touch(channel, 10 * number + n) for n in range(3) for channel in CHANNELS])
        assert await stack.follow(stack.all_ended, deadline_s=60), name
        assert await stack.stop_gently(0) == 0, name
    assert all(story[-1]["state"] == "sent" for story in stack.stories.values())
    assert len(stack.stories) == len(stack.produced)


MINT = """
import base64, json, sys, time
now = int(time.time())
parts = ({{"alg": "none"}}, {{"sub": "pipeline", "iat": now, "exp": now + {lasts_s}}})
with open({log!r}, "a") as log:
    log.write("x")
print(".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts) + ".")
"""
LASTS_S, TOKENS = 6, 6
"""Each token's life in seconds, and how many are fetched while touches flow: more than connections are opened at a start."""


async def test_a_token_that_ends_while_a_worker_runs_is_fetched_anew_and_the_worker_goes_on(
    secured: SecuredKafka, stack: Stack, tmp_path: Path
) -> None:
    await secured.grant(OPERATIONS, stack.prefix)
    fetched, mint = tmp_path / "fetched", tmp_path / "mint.py"
    mint.write_text(MINT.format(lasts_s=LASTS_S, log=str(fetched)))
    way = secured.by_command("pipeline", "SASL_PLAINTEXT", f"{sys.executable} -S {mint}")
    stack.worker_servers, stack.config["kafka"] = way.servers, way.toml
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    began = fetched.stat().st_size
    round_, deadline = 0, time.monotonic() + 120
    while fetched.stat().st_size < began + TOKENS:
        await stack.produce([touch(channel, 10 * round_ + n) for n in range(3) for channel in CHANNELS])
        assert await stack.follow(stack.all_ended, deadline_s=60), (stack.folder / "worker-0.log").read_text()[-3000:]
        assert time.monotonic() < deadline, "the broker does not end sessions"
        round_ += 1
    assert await stack.stop_gently(0) == 0
    log = (stack.folder / "worker-0.log").read_text()
    assert "[CRITICAL]" not in log
    assert "Traceback" not in log
    stack.judge()


CLOSED = [
    # why, and what the one line says
    ("a wrong password", "the broker refuses the credentials (SCRAM-SHA-256)"),
    ("a wrong password over TLS", "the broker refuses the credentials (PLAIN): Authentication failed"),
    ("no login", "the broker does not let us in; security_protocol is PLAINTEXT"),
    ("no TLS", "does this port speak SASL_PLAINTEXT?"),
    ("no client certificate", "TLS fails"),
    ("no trust", "the broker's certificate is not trusted"),
    ("no such token command", "the token command no-such-command cannot be run: No such file or directory"),
    ("a token that is none", "the broker does not let us in"),
    ("a token that is over", "the broker does not let us in"),
]


def closed_ways(kafka: SecuredKafka) -> dict[str, Way]:
    bearer = {"sasl_mechanism": "OAUTHBEARER"}
    over = kafka.folder / "over.token"
    over.write_text(token_of("pipeline", lasts_s=-60))
    distrusted = kafka.by_certificate("pipeline")
    return {
        "a wrong password": kafka.by_password("pipeline", "SASL_PLAINTEXT", "SCRAM-SHA-256", "a wrong s3cret"),
        "a wrong password over TLS": kafka.by_password("pipeline", "SASL_SSL", "PLAIN", "a wrong s3cret"),
        "no login": kafka.without_login("PLAINTEXT", "SASL_PLAINTEXT"),
        "no TLS": kafka.by_password("pipeline", "SASL_PLAINTEXT", "PLAIN")._replace(
            servers=kafka.by_password("pipeline", "SASL_SSL", "PLAIN").servers
        ),
        "no client certificate": kafka.without_login("SSL", "SSL"),
        "no trust": distrusted._replace(
            keys={key: value for key, value in distrusted.keys.items() if key != "ssl_cafile"}
        ),
        "no such token command": kafka.without_login(
            "SASL_PLAINTEXT", "SASL_PLAINTEXT", sasl_token_command="no-such-command", **bearer
        ),
        "a token that is none": kafka.without_login(
            "SASL_PLAINTEXT", "SASL_PLAINTEXT", sasl_token_command="echo abc", **bearer
        ),
        "a token that is over": kafka.without_login("SASL_SSL", "SASL_SSL", sasl_token_file=str(over), **bearer),
    }


@pytest.mark.parametrize(("name", "said"), CLOSED, ids=[name for name, _ in CLOSED])
async def test_a_closed_door_is_told_at_once_and_in_one_line(secured: SecuredKafka, name: str, said: str) -> None:
    way = closed_ways(secured)[name]
    connection = connection_of(load(way.environment, secured.folder))
    began = time.monotonic()
    why = await why_unreachable(connection)
    assert time.monotonic() - began < 5
    assert said in why
    assert way.servers[0] in why
    assert "s3cret" not in why
    assert "\n" not in why
    with pytest.raises(CommandFailed, match=re.escape(said)):
        await partition_counts(Cluster(connection))


def test_worker_and_commands_end_with_that_line_and_1(secured: SecuredKafka, tmp_path: Path) -> None:
    way = closed_ways(secured)["a wrong password"]
    for words in (["worker", "--without-web"], ["status"], ["produce", "-"], ["check"]):
        done = faust(way, tmp_path, *words, wait_s=30)
        assert done.returncode == 1, done
        told = [
            line for line in (done.stderr + done.stdout).splitlines() if "the broker refuses the credentials" in line
        ]
        assert len(told) == 1, done
        assert "s3cret" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


async def test_check_looks_as_a_worker_connects_by_every_way_in(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path
) -> None:
    await secured.grant(OPERATIONS, topic_prefix)
    for name, way in {**ways(secured), "token command": secured.by_command("pipeline", "SASL_SSL")}.items():
        cluster = Cluster(connection_of(load(way.environment, tmp_path)), topic_prefix)
        findings = [found async for found in check(cluster, desired(topic_prefix), time.time)]
        assert all(found.is_ok for found in findings), (name, findings)
        assert "permissions" in [found.item for found in findings]


@pytest.mark.parametrize(
    ("left_out", "said"),
    [("--group", "grant Read on group"), ("--transactional-id", "grant Write on the transactional ids")],
)
async def test_check_names_a_permission_that_is_missing(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path, left_out: str, said: str
) -> None:
    granted = "\n".join(line for line in OPERATIONS.splitlines() if left_out not in line)
    await secured.grant(granted, topic_prefix)
    way = secured.by_password("pipeline", "SASL_PLAINTEXT", "PLAIN")
    cluster = Cluster(connection_of(load(way.environment, tmp_path)), topic_prefix)
    findings = [found async for found in check(cluster, desired(topic_prefix), time.time)]
    [wrong] = [found for found in findings if found.item == "permissions"]
    assert not wrong.is_ok
    assert said in wrong.what


async def test_producers_and_readers_may_do_theirs_and_strangers_nothing(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path
) -> None:
    await secured.grant(OPERATIONS, topic_prefix)
    specs = flow.topics(partitions=1, lanes=1, replication=1, dedup_for_ms=86_400_000)
    await ensure_topics(
        {"bootstrap_servers": secured.admin}, [RequiredTopic(topic_prefix + spec.name, 1) for spec in specs], 1
    )

    def connection(user: str) -> Connection:
        return connection_of(load(secured.by_password(user, "SASL_PLAINTEXT", "PLAIN").environment, tmp_path))

    assert await may_write(connection("shop"), f"{topic_prefix}touches")
    assert await may_read(connection("reporting"), f"{topic_prefix}touches.status", "reporting")
    assert not await may_read(connection("reporting"), f"{topic_prefix}touches.status", f"{topic_prefix}pipeline")
    assert not await may_read(connection("shop"), f"{topic_prefix}touches")
    assert not await may_write(connection("reporting"), f"{topic_prefix}touches.status")
    # Reading and writing both include the right to see a topic: what is not seen can be neither.
    assert await seen(connection("shop"), topic_prefix) == {"touches"}
    assert await seen(connection("reporting"), topic_prefix) == {"touches.status"}
    assert await seen(connection("stranger"), topic_prefix) == set()
    assert await seen(connection("pipeline"), topic_prefix) == {spec.name for spec in specs}


def test_a_worker_that_may_not_have_a_topic_names_it_and_ends(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path
) -> None:
    asyncio.run(
        secured.grant(
            "\n".join(line for line in OPERATIONS.splitlines() if "states-changelog" not in line), topic_prefix
        )
    )
    way = secured.by_password("pipeline", "SASL_PLAINTEXT", "PLAIN")
    done = faust(way, tmp_path, "worker", "--without-web", prefix=topic_prefix)
    assert done.returncode == 1
    assert f"TopicAuthorizationFailedError: cannot create topic {topic_prefix}" in done.stderr
    assert "-changelog" in done.stderr
    assert "Traceback" not in done.stderr


async def seen(connection: Connection, prefix: str) -> set[str]:
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        return {name.removeprefix(prefix) for name in await admin.list_topics() if name.startswith(prefix)}
    finally:
        await admin.close()


def desired(prefix: str) -> Desired:
    return Desired({}, 1, [], [], None, "environment", [], f"{prefix}pipeline")


async def may_write(connection: Connection, topic: str) -> bool:
    producer = AIOKafkaProducer(**connection, request_timeout_ms=5_000)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"x", partition=0)
    except TopicAuthorizationFailedError:
        return False
    finally:
        await producer.stop()
    return True


async def may_read(connection: Connection, topic: str, group: str | None = None) -> bool:
    consumer = AIOKafkaConsumer(
        **connection, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        if group is not None:
            await consumer.committed(TopicPartition(topic, 0))
        await consumer.beginning_offsets([TopicPartition(topic, 0)])
        await consumer.getmany(timeout_ms=100)
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError):
        return False
    finally:
        await consumer.stop()
    return True
