"""A faust app that has our commands and no agents, so that commands are tried as users do."""

from __future__ import annotations

import os
import time

import faust

from pipeline import flow
from pipeline.channels.registry import SPECS
from pipeline.console import commands as _commands  # noqa: F401 - faust finds them by their classes
from pipeline.console import dead_letters_command as _dead_letters_command  # noqa: F401 - likewise
from pipeline.console import forecast_command as _forecast_command  # noqa: F401 - likewise
from pipeline.console import unconfirmed_command as _unconfirmed_command  # noqa: F401 - likewise
from pipeline.console.check import Desired
from pipeline.console.command_line import make_ours
from pipeline.console.desk import Desk
from pipeline.console.place import Place
from pipeline.console.reading import Reader
from pipeline.console.shell import install
from pipeline.console.web import WEB_SETTINGS, add_endpoints
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.work import Channel
from pipeline.engine.topics import RequiredTopic, ensure_topics
from pipeline.metrics import Metrics

SERVERS, PREFIX = os.environ["CONSOLE_TEST"].split("|")
PLACE = Place({"bootstrap_servers": [SERVERS]}, PREFIX)
NEEDED = [
    RequiredTopic(PLACE.topic_name(spec.name), spec.partitions, spec.settings)
    for spec in flow.topics(partitions=2, lanes=2, replication=1, dedup_for_ms=86_400_000)
]


def desk() -> Desk:
    return Desk(
        PLACE,
        lambda: ensure_topics(PLACE.connection, NEEDED, 1),
        Reader("status"),
        Reader("dead_letter"),
        Reader("touch"),
        lambda: Desired({topic.name: topic.partitions for topic in NEEDED}, 1, [], ["sms"], None, "environment", []),
        {channel: ChannelPolicy(SPECS[channel], (), window=None, limit=None, warm_up=None) for channel in Channel},
        time.time,
        lambda _channel, _name: None,
    )


app = faust.App(
    "console-test", broker=f"kafka://{SERVERS}", web_tables_enabled=False, topic_disable_leader=True, **WEB_SETTINGS
)
install(desk)
make_ours()
add_endpoints(app, Metrics(), lambda: None, lambda: None)
