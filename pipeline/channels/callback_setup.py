"""What `check` says of callbacks: what is set at a provider, beside what should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pipeline.channels.callback_body import told_error
from pipeline.channels.http import Unreached
from pipeline.channels.words import http_words
from pipeline.domain.callback import CallbackSetup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.channels.http import HttpAnswer, Wire

NOTHING: Final = "nothing"


async def read_setup(wire: Wire, url: str, params: Mapping[str, str | int] | None = None) -> HttpAnswer | str:
    """Return the provider's answer, or why it cannot be read, in words."""
    try:
        answer = await wire.get(url, params)
    except Unreached as error:
        return f"cannot be read: {error}"
    if not answer.is_accepted or not answer.is_object:
        return f"cannot be read: {told_error(http_words(answer)) or answer.status}"
    return answer


def unreadable(why: str, wanted: str) -> CallbackSetup:
    """Return what is said where the account may not read its settings: no difference is known."""
    return CallbackSetup(found=why, wanted=wanted, differs=None)


def compared(found: str, faults: list[str], wanted: str) -> CallbackSetup:
    """Return what was found; `faults` name what differs."""
    return CallbackSetup(found="; ".join(faults) if faults else found, wanted=wanted, differs=bool(faults))


def shown_url(url: object) -> str:
    """Return a URL that a provider tells, without login, query and fragment."""
    if not isinstance(url, str) or not url:
        return NOTHING
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "no URL"
    return "".join(c if c.isprintable() else "?" for c in f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}")
