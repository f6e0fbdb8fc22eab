"""`/u/<code>`: one-click unsubscribe (RFC 8058). POST acts, GET and HEAD only show a page with a button that posts."""

from __future__ import annotations

from email import message_from_bytes, policy
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from pipeline.domain.fact import BY_RECIPIENT
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.unsubscribe import ONE_CLICK, PATH
from pipeline.web.intake import NotTaken
from pipeline.web.public import PublicPage, body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.domain.unsubscribe import UnsubscribeLinks
    from pipeline.web.intake import TakesEntries

METHODS: Final = frozenset({"GET", "HEAD", "POST"})
FIELD, VALUE = ONE_CLICK.split("=")
MOST_FIELDS: Final = 20
LARGEST_FORM: Final = 8 * 1024
"""A form has some hundred bytes. Over a quarter of a megabyte the parser of mails takes seconds, and all others wait."""
PAGE: Final = f"""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Unsubscribe</title></head>
<body>
<h1>Unsubscribe</h1>
<form method="post">
<input type="hidden" name="{FIELD}" value="{VALUE}">
<p><button>Send me no more marketing e-mails</button></p>
</form>
</body>
</html>
"""
"""The form names no address: it posts to where the page is, also behind a proxy that takes a prefix off."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class UnsubscribeRoutes:
    """The links that marketing e-mails have."""

    def __init__(self, links: UnsubscribeLinks, intake: TakesEntries, now_ms: Callable[[], int]) -> None:
        self._links, self._intake, self._now_ms = links, intake, now_ms

    def find(self, segments: tuple[str, ...]) -> PublicPage | None:
        """Return the page of a code that was made here, or None."""
        if len(segments) != len((PATH, "code")) or segments[0] != PATH:
            return None
        recipient = self._links.recipient(segments[1])
        return None if recipient is None else PublicPage(METHODS, partial(self._answer, recipient))

    async def _answer(self, recipient: str, request: web.Request) -> web.Response:
        """Answer a click. Raises BodyRefused."""
        if request.method != "POST":
            return web.Response(text=PAGE, content_type="text/html", headers=HEADERS)
        body = await body_of(request)
        if not is_one_click(request.headers.get("Content-Type", ""), body):
            return web.Response(status=400, headers=HEADERS)
        entry = Suppression(
            Scope.EMAIL,
            address_hash=recipient,
            reason=SuppressionReason.UNSUBSCRIBED,
            by=BY_RECIPIENT,
            at_ms=self._now_ms(),
        )
        try:
            await self._intake.suppress(entry)
        except NotTaken:
            return web.Response(status=503, headers=HEADERS)
        return web.Response(headers=HEADERS)


def is_one_click(content_type: str, body: bytes) -> bool:
    """Return whether a form, multipart or urlencoded, says `List-Unsubscribe=One-Click`."""
    if len(body) > LARGEST_FORM:
        return False
    try:
        if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
            return (FIELD, VALUE) in _parts(content_type, body)
        return (FIELD, VALUE) in parse_qsl(body.decode("ascii"), max_num_fields=MOST_FIELDS)
    except (ValueError, LookupError):  # no ASCII, too many fields, a header that is none
        return False


def _parts(content_type: str, body: bytes) -> list[tuple[str, str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("ascii", "replace")
    form = message_from_bytes(head + body, policy=policy.compat32)
    parts = form.get_payload()
    if not isinstance(parts, list):
        return []
    return [
        (str(part.get_param("name", header="Content-Disposition")), _text(part.get_payload(decode=True)))
        for part in parts[:MOST_FIELDS]
        if not isinstance(part, str)
    ]


def _text(payload: object) -> str:
    return payload.decode("ascii", "replace").strip() if isinstance(payload, bytes) else ""
