"""A router on a table in memory: touches in; events, works and dead letters out."""

from __future__ import annotations

import json

import pytest

from pipeline.channels.registry import SPECS
from pipeline.composer import TemplateComposer
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Channel
from pipeline.flow import DEAD_LETTERS, RESULTS, TOUCHES
from pipeline.records import decode_event, decode_work
from pipeline.records.framing import TouchReader
from pipeline.records.single_object import decode
from pipeline.records.writing import dead_letter_value, single_object
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.dead_letters import DeadLetterWriter
from pipeline.stages.forward import Homes
from pipeline.stages.route import Router, RouterDeps

NOW = 1_700_000_000_000
SMS = {"touch_id": "t1", "campaign_id": "c", "lead_id": "l", "channel": "sms", "to": "+1 212 555 2368", "body": "hello"}
EMAIL = {
    "touch_id": "e1",
    "campaign_id": "c",
    "lead_id": "l",
    "channel": "email",
    "to": "Ann@EXAMPLE.com",
    "subject": "s",
    "body": "<p>hi</p>",
}


class Entrance:
    def __init__(self, folder, **senders):
        policies = {
            Channel.SMS: senders.get("sms", (SenderPolicy("default", 2, ("+15005550006",)),)),
            Channel.EMAIL: senders.get("email", (SenderPolicy("default", 1, ("a@example.com", "b@example.com")),)),
            Channel.WHATSAPP: senders.get("whatsapp", ()),
        }
        urls = senders.get("attachment_urls", "public")
        policies = {c: ChannelPolicy(SPECS[c], s, None, None, None, attachment_urls=urls) for c, s in policies.items()}
        self.router = Router(
            RouterDeps(
                policies=policies,
                decoder=TouchReader(),
                composer=TemplateComposer(folder),
                dead_letters=DeadLetterWriter(lambda letter: dead_letter_value(single_object, letter), "p."),
                dedup_for_ms=30 * 86_400_000,
                homes=senders.get("homes", Homes(1)),
                privacy_key=senders.get("privacy_key", b""),
                unsubscribe=senders.get("unsubscribe"),
            )
        )
        self.table = MemoryTable()
        self.offset = 0

    def give(self, *touches, now=NOW, partition=0, key=b"key", headers=(("h", b"v"),)):
        records = []
        for touch in touches:
            value = touch if isinstance(touch, bytes | None) else json.dumps(touch).encode()
            records.append(Record("touches", partition, self.offset, now, key, value, headers))
            self.offset += 1
        step = self.router.step(records, self.table, now)
        self.table.apply(step.changes)
        self.step = step
        self.events = [decode_event(o.value) for o in step.outputs if o.topic == RESULTS]
        self.dead = [decode("dead_letter", o.value) for o in step.outputs if o.topic == DEAD_LETTERS]
        self.hops = [o for o in step.outputs if o.topic == TOUCHES]
        self.works = [
            (o.topic, o.partition, decode_work(o.value))
            for o in step.outputs
            if o.topic not in (RESULTS, DEAD_LETTERS, TOUCHES)
        ]
        assert all(o.partition == partition for o in step.outputs if o.topic == RESULTS)
        return self

    def told(self):
        return [(e.state.value, e.reason.value if e.reason else None) for e in self.events]


@pytest.fixture
def door(tmp_path):
    hello = tmp_path / "hello"
    hello.mkdir()
    (hello / "sms.txt").write_text("Hello {{ name }}\n")
    (hello / "email.html").write_text("<p>{{ name }}</p>\n")
    (hello / "subject.txt").write_text("For {{ name }}\n")
    return Entrance(tmp_path)
