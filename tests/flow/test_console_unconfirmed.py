"""Unconfirmed touches are found out about: asked for, written down, sent again; on a real Kafka, with a worker."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from pipeline.console.place import Place
from pipeline.console.reading import Reader
from pipeline.console.unconfirmed import read_ids
from tests.chaos.stack import Stack, touch
from tests.flow.grouped_commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT = 'resolve_for = "4s"'


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(kafka, topic_prefix, tmp_path, sms=SHORT, whatsapp=SHORT, email=SHORT)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


def provider_of(channel: str) -> str:
    return {"sms": "twilio", "whatsapp": "waha", "email": "resend"}[channel]


async def test_what_nobody_could_tell_is_found_out_later(stack: Stack) -> None:
    faust = Commands("pipeline", "unconfirmed", PIPELINE_CONFIG=str(stack.folder / "worker-0.toml"))

    async def run(*words: str, as_json: bool = False) -> tuple[int, str, str]:
        return await asyncio.to_thread(faust, *words, as_json=as_json)

    async def open_ids() -> set[str]:
        code, out, _ = await run("list", as_json=True)
        assert code == 0
        return {json.loads(line)["touch_id"] for line in out.splitlines()}

    touches = [touch(channel, n, metadata={"k": "v"}) for channel in ("sms", "whatsapp") for n in (1, 2)] + [touch("email", 1)]
    stack.start(0)
    await stack.wait_for_topics()
    for each in touches:
        stack.rule(provider=provider_of(each["channel"]), text=each["body"], drop="before" if "-2" in each["touch_id"] else "after")
    stack.rule(what="ask", status=500)
    await stack.produce(touches)
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert {(s[-1]["state"], s[-1]["reason"]) for s in stack.stories.values()} == {("unconfirmed", "no_answer")}
    assert await open_ids() == {each["touch_id"] for each in touches}
    stack.behave()

    messages = {message["text"]: message["id"] for message in stack.accepted()}
    for touch_id in ("sms-1", "whatsapp-1"):
        code, out, _ = await run("resolve", "--ask-provider", touch_id)
        assert (code, out.strip()) == (0, f"{touch_id} is resolved: sent id={messages[stack.produced[touch_id]['body']]}")
    for touch_id in ("sms-2", "whatsapp-2"):
        code, _, err = await run("resolve", "--ask-provider", touch_id)
        assert (code, f"`unconfirmed resolve --not-sent {touch_id}`" in err) == (1, True)
    code, _, err = await run("resolve", "--ask-provider", "email-1")
    assert (code, "could send it" in err) == (1, True)

    for _ in range(2):
        code, out, _ = await run("resolve", "--not-sent", "sms-2")
        assert (code, out.startswith("sms-2 is sent again as sms-2:again;")) == (0, True)
    assert (await run("resolve", "--sent", "--id", "e-1", "email-1"))[0] == 0
    code, _, err = await run("resolve", "--not-sent", "email-1")
    assert (code, "is resolved as sent id=e-1; --force" in err) == (1, True)
    assert await open_ids() == {"whatsapp-2"}
    assert re.search(r"sms-2 sms default \+1212\d+ not_sent resent_as=sms-2:again", (await run("list", "--all"))[1])

    assert await stack.follow(lambda: [s["state"] for s in stack.stories["sms-2:again"]] == ["accepted", "sent"], deadline_s=30)
    assert stack.stories["sms-2:again"][-1]["metadata"] == {"k": "v", "resends": "sms-2"}
    assert [s["state"] for s in stack.stories["sms-2"]][-1] == "unconfirmed", "its own story has ended and stays"
    assert [m["text"] for m in stack.accepted()].count(stack.produced["sms-2"]["body"]) == 1
    ids = await read_ids(Place({"bootstrap_servers": stack.servers}, stack.prefix), Reader("status"), "default", lambda _: None)
    assert stack.stories["sms-2:again"][-1]["provider_message_id"] in ids


@pytest.mark.parametrize("command", [
    [], ["resolve"], ["resolve", "t"], ["resolve", "--sent", "--not-sent", "t"], ["resolve", "--not-sent", "--id", "x", "t"], ["nonsense"],
], ids=" ".join)  # fmt: skip
def test_wrong_usage_ends_with_2(kafka: list[str], topic_prefix: str, command: list[str]) -> None:
    faust = Commands("tests.flow.console_app", "unconfirmed", CONSOLE_TEST=f"{kafka[0]}|{topic_prefix}")
    code, out, err = faust(*command)
    assert (code, out) == (2, "")
    assert re.match(r"Usage: .* unconfirmed", err)


def test_help_shows_examples_and_exit_codes(kafka: list[str], topic_prefix: str) -> None:
    faust = Commands("tests.flow.console_app", "unconfirmed", CONSOLE_TEST=f"{kafka[0]}|{topic_prefix}")
    assert "faust -A pipeline unconfirmed resolve --ask-provider t-1001" in faust("--help")[1]
    for verb in ("list", "resolve"):
        code, out, _ = faust(verb, "--help")
        assert (code, "Exit codes:" in out) == (0, True)
