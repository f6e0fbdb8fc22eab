"""What an operator types with an order or an entry: who, why, until when, and how long to wait until it is in force."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, Final

import click
from faust.cli.base import option

from pipeline.domain.audit import Door, Who
from pipeline.domain.instant import FARTHEST_MS, NotAnInstant, instant_ms
from pipeline.records.control import LONGEST_BY, LONGEST_NOTE
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import duration_ms

if TYPE_CHECKING:
    from collections.abc import Callable

NOW: Final = "now"
DEFAULT_TIMEOUT: Final = "60s"


def system_user() -> str:
    """Return the name of the operating system's user, or its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that nobody has named
        return f"uid {os.getuid()}"


def operator(by: str | None = None) -> Who:
    """Return who types a command: as `--by` says, or the operating system's user."""
    return Who(by or system_user(), None, Door.CLI)


def typed_timeout_s(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return a duration in seconds. Raises BadParameter."""
    if value is None:
        return None
    try:
        return duration_ms(value) / 1000
    except InvalidValue:
        raise click.BadParameter(f'{value!r} is no duration such as "250ms", "30s" or "10m"') from None


def until_ms(text: str, now_ms: int) -> int:
    """Return the instant that `text` names: `now`, a duration from now, or ISO 8601 with offset. Raises ValueError."""
    try:
        at = now_ms if text == NOW else _typed_ms(text, now_ms)
    except NotAnInstant:
        raise ValueError(f'{text!r} is neither a duration such as "10m" nor an instant with its offset') from None
    if at > FARTHEST_MS:
        raise ValueError(f"{text!r} is further ahead than can be meant")
    return at


def _typed_ms(text: str, now_ms: int) -> int:
    try:
        return now_ms + duration_ms(text)
    except InvalidValue:
        return instant_ms(text)


def _text(longest: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip() or len(value) > longest or not _is_unicode(value):
            raise click.BadParameter(f"1 to {longest} characters are needed, not all blank")
        return value

    return check


def _is_unicode(text: str) -> bool:
    """Whether the terminal gave text: bytes that are no UTF-8 come as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


NOTE_OPTION: Final = option(
    "--note",
    default=None,
    callback=_text(LONGEST_NOTE),
    metavar="TEXT",
    help=f"Why, for those who read it later: 1 to {LONGEST_NOTE} characters.",
)
BY_OPTION: Final = option(
    "--by",
    default=None,
    callback=_text(LONGEST_BY),
    metavar="NAME",
    help="Who; by default the operating system's user.",
)
WAIT_OPTIONS: Final[list[Any]] = [
    option(
        "--timeout",
        "wait_s",
        default=None,
        callback=typed_timeout_s,
        metavar="DURATION",
        help=f"Wait so long until it is in force; by default {DEFAULT_TIMEOUT}.",
    ),
    option("--no-wait", "is_hasty", is_flag=True, help="Do not wait until it is in force."),
]


def patience_s(ctx: click.Context, wait_s: float | None, *, is_hasty: bool) -> float | None:
    """Return how long to wait, in seconds; None: not at all. Raises UsageError for both options."""
    if is_hasty:
        if wait_s is not None:
            raise click.UsageError("--timeout and --no-wait exclude each other", ctx)
        return None
    return duration_ms(DEFAULT_TIMEOUT) / 1000 if wait_s is None else wait_s
