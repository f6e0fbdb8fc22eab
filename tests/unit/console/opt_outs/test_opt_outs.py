"""`opt-outs`: what resolving writes, and what is wrong usage."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest

from pipeline.console.operator import operator
from pipeline.console.opt_outs.command import ListOptOuts, ResolveOptOut
from pipeline.console.opt_outs.work import resolution
from pipeline.domain.fact import PendingOptOut, callback_partition
from pipeline.domain.suppression import Covers
from pipeline.flow import AUDIT, CALLBACKS, OPT_OUTS, SUPPRESSIONS
from pipeline.records.callbacks import decode_callback
from pipeline.records.control import decode_suppression
from pipeline.records.published import ValueReader
from pipeline.settings import load
from pipeline.worker import make_context
from tests.unit.stages.test_deliveries import Rig
from tests.unit.stages.test_hidden_accounts import LID, NUMBER, stop

PENDING = PendingOptOut("3A01", 5, "wa", LID)
SMS = """
[web]
public_url = "https://touch.example.com"
[[channels.sms.senders]]
account_sid = "AC1"
auth_token = "t"
from = "+15005550006"
"""


def context_of(folder, more='webhook_secrets = "t"'):
    (folder / "pipeline.toml").write_text(SMS + more)
    return make_context(load({"PIPELINE_CONFIG": "pipeline.toml"}, folder))


def resolved(context, address_hash):
    return {each.topic: each for each in resolution(context, PENDING, address_hash, operator("bob"), note="why")}


def settle(rig, outputs):
    rig.take(decode_callback(outputs[CALLBACKS].value))


def test_resolving_suppresses_the_number_as_an_opt_out_and_settles_it(tmp_path):
    found = resolved(replace(context_of(tmp_path), suppression_covers=Covers.CHANNEL), NUMBER)
    entry = found[SUPPRESSIONS]
    said = decode_suppression(ValueReader("suppression"), entry.key, entry.value, 0)
    assert (entry.key.decode(), said.by, said.note) == (f"whatsapp:{NUMBER}:opt_out", "bob", "why")
    assert (found[OPT_OUTS].key, found[OPT_OUTS].value) == (b"3A01", None)
    assert found[CALLBACKS].partition == callback_partition(f"lid/{LID}", 8)
    rig = Rig()
    rig.take(stop())
    settle(rig, found)
    assert (rig.entries, rig.outputs[-1].value) == ([], None)


def test_a_dismissed_opt_out_suppresses_nobody_and_is_taken_off_the_list(tmp_path):
    found = resolved(context_of(tmp_path), None)
    assert found.keys() == {CALLBACKS, OPT_OUTS, AUDIT}
    audit = ValueReader("audit")(found[AUDIT].value)
    assert (audit["by"], audit["action"], audit["target"], audit["note"]) == ("bob", "resolve", "3A01", "why")
    assert dict(found[OPT_OUTS].headers) == {"by": b"bob", "note": b"why"}
    rig = Rig()
    rig.take(stop())
    settle(rig, found)
    assert (rig.outputs[-1].key, rig.outputs[-1].value) == (b"3A01", None)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"address": None, "is_dismissed": False}, "exactly one of"),
        ({"address": ("phone", "+12125550001"), "is_dismissed": True}, "exactly one of"),
        ({"address": ("email", "a@example.com"), "is_dismissed": False}, "a phone number"),
        ({"address": None, "is_dismissed": True, "note": None}, "--note"),
    ],
)
async def test_wrong_usage_is_told_before_kafka_is_asked(tmp_path, typed, said):
    command = ResolveOptOut.__new__(ResolveOptOut)
    command.ctx = click.Context(click.Command("resolve"))
    with pytest.raises(click.UsageError, match=said):
        await command.serve(context_of(tmp_path), "3A01", **{"note": "n", "by": None, **typed})


async def test_without_callbacks_there_is_nothing_to_list(tmp_path):
    command = ListOptOuts.__new__(ListOptOuts)
    command.ctx = click.Context(click.Command("list"))
    with pytest.raises(click.UsageError, match="no sender has webhook_secrets"):
        await command.serve(context_of(tmp_path, ""))
