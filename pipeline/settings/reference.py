"""docs/configuration.md from the declared keys: `python -m pipeline.settings.reference > docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pipeline.domain.work import Channel
from pipeline.settings.calendars import HoursKeys
from pipeline.settings.keys import (
    CalendarKeys,
    ChannelKeys,
    FileKeys,
    KafkaSettings,
    LimitKeys,
    PauseKeys,
    RetryKeys,
    WarmUpKeys,
    WarmUpStepKeys,
    WindowKeys,
)
from pipeline.settings.place import Inline, shown
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys
from pipeline.settings.table import ABSENT, REQUIRED, ByChannel, Key, keys_of

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m pipeline.settings.reference`: change pipeline/settings/keys.py, not this file. -->

The configuration is read once, when a worker or a command starts.

- **With a file**: the environment variable `PIPELINE_CONFIG` names a TOML file; [examples/pipeline.toml](../examples/pipeline.toml) is one
  with every key explained. Any value in it may be `{ env = "NAME" }`, which stands for that variable's value, so that no
  secret need be in the file. Paths are relative to the file's folder. The variables below do not count then.
- **Without one**: the [variables](#without-a-file) below make one sender per channel, named `default`; all else has its default.

An unknown key or a bad value stops the start with exit code 2 and one line for each: the key, what was found, what is allowed.
Secrets are never shown.

```
channels.sms.window.zone: found "America/New_Yrok"; allowed: an IANA time zone such as "America/New_York", or "recipient" (did you mean "America/New_York"?)
```

Durations are text: `"250ms"` `"5s"` `"10m"` `"12h"` `"30d"`.
"""
TABLES: list[tuple[str, str, type[Any] | None]] = [
    ("The file's own keys", "", FileKeys),
    ("`[kafka]`", "", KafkaSettings),
    (
        "`[channels.whatsapp]` `[channels.email]` `[channels.sms]`",
        "The same keys on each channel. A channel without senders is off: its touches end `failed`, `channel_off`.",
        ChannelKeys,
    ),
    (
        "`window`",
        (
            '`window = { opens = "08:00", closes = "20:00", zone = "America/New_York" }`, or `"always"`. Open from `opens` on and closed from\n'
            "`closes` on, by the wall clock, on the nights of daylight saving too. For SMS the last 5 s count as closed."
        ),
        WindowKeys,
    ),
    (
        "`calendar`",
        (
            '`calendar = "us-2026.1"`, or `{ name = "us-2026.1", override = { FL = { opens = "09:00", closes = "20:00" } } }`, or `"none"`.\n'
            "[What the calendars say, and whom they bind](calendars.md)."
        ),
        CalendarKeys,
    ),
    ("`calendar.override`", "Hours of one place, in place of the calendar's.", HoursKeys),
    (
        "`limit`",
        (
            '`limit = { rate = 30, per = "1m", burst = 1 }`, or `"none"`. Calls are spaced evenly, and no stretch of time as long as `per` holds\n'
            "more than `rate` at the provider, whatever the network does; the price is one latency per `per`."
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
            '`daily_cap = 500`, or `"none"`: what each sender may send from one midnight to the next. Messages count, not calls: those that the\n'
            "provider took or may have taken. When it is reached, the lane waits for the next day; no attempt is spent."
        ),
        None,
    ),
    (
        "`pause`",
        (
            '`pause = { least = "30s", most = "60s" }`, or `"none"`: from the answer to one call to the next call of the same sender. WAHA advises a\n'
            'random 30 to 60 s between messages to people who have not written first, against bans (its guide "How to Avoid Blocking").'
        ),
        PauseKeys,
    ),
    ("`retry`", '`retry = { first = "2s", most = "15m" }`.', RetryKeys),
    ("`[[channels.whatsapp.senders]]`", "A session of a WAHA server.", WahaKeys),
    ("`[[channels.email.senders]]`", "A Resend account.", ResendKeys),
    (
        "`[[channels.sms.senders]]`",
        "A Twilio number or Messaging Service: `from` or `messaging_service_sid`, not both.",
        TwilioKeys,
    ),
]
VARIABLES: list[tuple[str, type[Any]]] = [
    ("kafka", KafkaSettings),
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
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return shown(Inline(value)) if isinstance(value, dict) else shown(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
