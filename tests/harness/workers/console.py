"""A faust app that has our commands and no agents, so that commands are tried as users do."""

from __future__ import annotations

import os
import time

import faust

from pipeline import flow
from pipeline.channels.registry import SPECS
from pipeline.console import commands as _commands  # noqa: F401 - faust finds commands once they are imported
from pipeline.console.check.work import Desired
from pipeline.console.command import install
from pipeline.console.command_context import CommandContext
from pipeline.console.command_line import make_ours
from pipeline.console.web import WEB_SETTINGS, add_endpoints
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.work import Channel
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster
from pipeline.metrics import Metrics
from pipeline.records.published import ValueReader
from pipeline.records.writing import single_object

SERVERS, PREFIX = os.environ["CONSOLE_TEST"].split("|")
CLUSTER = Cluster({"bootstrap_servers": [SERVERS]}, PREFIX)
NEEDED = [
    RequiredTopic(CLUSTER.topic_name(spec.name), spec.partitions, spec.settings)
    for spec in flow.topics(partitions=2, lanes=2, replication=1, dedup_for_ms=86_400_000)
]


def context() -> CommandContext:
    return CommandContext(
        cluster=CLUSTER,
        create_topics=lambda: ensure_topics(CLUSTER.connection, NEEDED, 1),
        add_partitions=None,
        read_status=ValueReader("status"),
        read_delivery=ValueReader("delivery"),
        read_dead_letter=ValueReader("dead_letter"),
        read_touch=ValueReader("touch"),
        desired=lambda: Desired(
            {topic.name: topic.partitions for topic in NEEDED}, 1, [], ["sms"], None, "environment", []
        ),
        policies={
            channel: ChannelPolicy(SPECS[channel], (), window=None, limit=None, warm_up=None) for channel in Channel
        },
        read_suppression=ValueReader("suppression"),
        read_audit=ValueReader("audit"),
        writer=lambda: single_object,
        privacy_key=b"",
        dedup_for_ms=86_400_000,
        now_s=time.time,
        sender_of=lambda _channel, _name: None,
    )


app = faust.App(
    "console-test", broker=f"kafka://{SERVERS}", web_tables_enabled=False, topic_disable_leader=True, **WEB_SETTINGS
)
install(context)
make_ours()
add_endpoints(app, Metrics(), lambda: None, lambda: None)
