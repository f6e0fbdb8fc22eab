"""Writes docs/configuration.md from the declared keys: `python -m pipeline.settings.reference > docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pipeline.domain.work import Channel
from pipeline.settings.calendars import HoursKeys
from pipeline.settings.hours import CalendarKeys, WindowKeys
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import InlineTable, to_toml
from pipeline.settings.keys import ChannelKeys, FileKeys
from pipeline.settings.pacing import GapKeys, LimitKeys, RetryKeys, WarmUpKeys, WarmUpStepKeys
from pipeline.settings.privacy import PrivacyKeys, SuppressionKeys
from pipeline.settings.schema import ABSENT, REQUIRED, ByChannel, Key, keys_of
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys
from pipeline.settings.users import UserKeys
from pipeline.settings.web import DeliveriesKeys, UnsubscribeKeys, WebKeys

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m pipeline.settings.reference`: change pipeline/settings, not this file. -->

The configuration is read once, when a worker or a command starts.

- **With a file**: the environment variable `PIPELINE_CONFIG` names a TOML file; [examples/pipeline.toml](../examples/pipeline.toml) is one
  with every key explained. Any value in it may be `{ env = "NAME" }`, which is replaced by that variable's value, so that the file
  needs no secrets. Paths are relative to the file's folder. The variables below are not read then.
- **Without one**: the [variables](#without-a-file) below set one sender per channel, named `default`; every other key has its default.

An unknown key or an invalid value stops the start with exit code 2. Each error is one line: the key, the value found, the
values allowed. Secrets are never shown.

```
channels.sms.window.zone: found "America/New_Yrok"; allowed: an IANA time zone such as "America/New_York", or "recipient" (did you mean "America/New_York"?)
```

A duration is text: `"250ms"` `"5s"` `"10m"` `"12h"` `"30d"`.
"""
TABLES: list[tuple[str, str, type[Any] | None]] = [
    ("Keys at the top of the file", "", FileKeys),
    ("`[kafka]`", "", KafkaSettings),
    ("`[privacy]`", "[How recipients are named in records](control.md#recipients-by-hash).", PrivacyKeys),
    ("`[suppression]`", "[Suppressions](control.md#suppressions) are always on.", SuppressionKeys),
    ("`[web]`", "[Where providers call back](callbacks.md).", WebKeys),
    ("`[[web.users]]`", "[Who may do what](api.md#who-may-do-what).", UserKeys),
    ("`[unsubscribe]`", "[One-click unsubscribe](callbacks.md#one-click-unsubscribe).", UnsubscribeKeys),
    ("`[deliveries]`", "[What becomes of a touch after `sent`](callbacks.md).", DeliveriesKeys),
    (
        "`[channels.whatsapp]` `[channels.email]` `[channels.sms]`",
        "The same keys on each channel. A channel without senders is off: its touches end `failed` with reason `channel_off`.",
        ChannelKeys,
    ),
    (
        "`window`",
        (
            '`window = { opens = "08:00", closes = "20:00", zone = "America/New_York" }`, or `"always"`. Open from `opens` until\n'
            "`closes` by the wall clock, also on the nights when daylight saving starts or ends. For SMS the last 5 s count as closed."
        ),
        WindowKeys,
    ),
    (
        "`calendar`",
        (
            '`calendar = "us-2026.1"`, or `{ name = "us-2026.1", override = { FL = { opens = "09:00", closes = "20:00" } } }`, or `"none"`.\n'
            "[What the calendars say, and which recipients they apply to](calendars.md)."
        ),
        CalendarKeys,
    ),
    ("`calendar.override`", "Hours of one place, instead of the calendar's.", HoursKeys),
    (
        "`limit`",
        (
            '`limit = { rate = 30, per = "1m", burst = 1 }`, or `"none"`. Calls are spaced evenly, and no stretch of time as long as `per` holds\n'
            "more than `rate` calls at the provider, whatever the network delay; the cost is one network latency per `per`."
        ),
        LimitKeys,
    ),
    (
        "`warm_up`",
        '`warm_up = { rate = 10, per = "1m", lasts = "7d" }`, or `"none"`: the limit of a sender until it is as old as `lasts`.',
        WarmUpKeys,
    ),
    (
        "`warm_up`, in steps",
        (
            '`warm_up = [{ until = "7d", rate = 10, per = "1m" }, { until = "14d", rate = 20, per = "1m" }]`: each step\'s limit until the sender\n'
            "is as old as its `until`; after the last the channel's `limit` holds."
        ),
        WarmUpStepKeys,
    ),
    (
        "`daily_cap`",
        (
            '`daily_cap = 500`, or `"none"`: the most messages of a sender between two midnights. Messages count, not calls: those that\n'
            "the provider took or may have taken. When the cap is reached, the lane waits for the next day; no attempt is used."
        ),
        None,
    ),
    (
        "`gap`",
        (
            '`gap = { least = "30s", most = "60s" }`, or `"none"`: from the answer to one call to the next call of the same sender. WAHA advises a\n'
            'random 30 to 60 s between messages to people who have not written first, against bans (its guide "How to Avoid Blocking").'
        ),
        GapKeys,
    ),
    ("`retry`", '`retry = { first = "2s", most = "15m" }`.', RetryKeys),
    ("`[[channels.whatsapp.senders]]`", "One session of a WAHA server.", WahaKeys),
    ("`[[channels.email.senders]]`", "A Resend account.", ResendKeys),
    (
        "`[[channels.sms.senders]]`",
        "A Twilio number or Messaging Service: `from` or `messaging_service_sid`, not both.",
        TwilioKeys,
    ),
]
VARIABLES: list[tuple[str, type[Any]]] = [
    ("kafka", KafkaSettings),
    ("privacy", PrivacyKeys),
    ("channels.whatsapp.senders", WahaKeys),
    ("channels.email.senders", ResendKeys),
    ("channels.sms.senders", TwilioKeys),
]


def reference() -> str:
    """Return the text of docs/configuration.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    for title, about, table in TABLES:
        yield f"## {title}\n"
        if about:
            yield about + "\n"
        if table is not None:
            yield from _rows(
                ("Key", "Default", "Allowed", "Meaning"), (_row(each) for each in keys_of(table) if each.about)
            )
    yield "## Without a file\n"
    yield "A channel is on when its credentials or its address are set. An empty variable is one that is not set.\n"
    rows = (
        (f"`{each.variable}`", f"`{path}.{each.name}`")
        for path, table in VARIABLES
        for each in keys_of(table)
        if each.variable
    )
    yield from _rows(("Variable", "Stands for"), rows)


def _rows(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _row(each: Key) -> tuple[str, ...]:
    only = f" (only {each.only})" if each.only else ""
    return f"`{each.name}`{only}", _default(each), each.kind.allowed.replace("<", "&lt;"), each.about


def _default(each: Key) -> str:
    if isinstance(each.default, ByChannel):
        return "<br>".join(f"{channel}: `{_toml(each.default_on(channel))}`" for channel in Channel)
    if each.default is REQUIRED:
        return "required"
    return "left out" if each.default in (ABSENT, {}, []) else f"`{_toml(each.default)}`"


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    return to_toml(InlineTable(value)) if isinstance(value, dict) else to_toml(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
