"""The composer of the pipeline: a body byte for byte, or a template rendered in a sandbox."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.composer.port import NotComposable
from pipeline.domain.touch import Touch
from pipeline.domain.work import Channel, Content

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
RENDERED_BYTES = 1_000_000
"""Of one file: what is composed travels in records of 4 MiB."""


class TemplateComposer:
    """Reads `templates/<name>/{whatsapp.txt,sms.txt,email.html,email.txt,subject.txt}`; reads a changed file anew."""

    def __init__(self, folder: Path) -> None:
        loader = FileSystemLoader(folder)
        # Jinja itself drops one line break at a template's end (keep_trailing_newline=False).
        self._plain = ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=False)
        self._html = ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=True)

    def compose(self, touch: Touch) -> Content:
        """Return what `touch` says. Raises NotComposable."""
        if touch.template is None:
            return self._content(touch, touch.subject, touch.body, touch.text)
        if NAME.fullmatch(touch.template) is None:
            raise NotComposable(f"template {touch.template!r} is no name of a template")
        if touch.channel is not Channel.EMAIL:
            return self._content(touch, None, self._need(touch, f"{touch.channel.value}.txt"), None)
        html, text = self._render(touch, "email.html"), self._render(touch, "email.txt")
        if html is None and text is None:
            raise NotComposable(f"template {touch.template!r} has neither email.html nor email.txt")
        subject = touch.subject if touch.subject is not None else self._need(touch, "subject.txt")
        if not subject.strip() or any(c in subject for c in "\r\n\0"):
            raise NotComposable(f"template {touch.template!r}: the subject must be one line, and not empty")
        return self._content(touch, subject, html, text)

    def _content(self, touch: Touch, subject: str | None, body: str | None, text: str | None) -> Content:
        if touch.channel is not Channel.EMAIL:
            return Content(body=body)
        return Content(subject, body, text, touch.from_, touch.reply_to, touch.headers, touch.attachments)

    def _need(self, touch: Touch, file: str) -> str:
        said = self._render(touch, file)
        if said is None:
            raise NotComposable(f"template {touch.template!r} has no {file}")
        if not said:
            raise NotComposable(f"template {touch.template!r}: {file} says nothing")
        return said

    def _render(self, touch: Touch, file: str) -> str | None:
        environment: Environment = self._html if file.endswith(".html") else self._plain
        try:
            template = environment.get_template(f"{touch.template}/{file}")
        except TemplateNotFound:
            return None
        except TemplateError as error:
            raise NotComposable(f"template {touch.template!r}, {file}: {error}") from None
        try:
            said = template.render(touch.variables)
        except UndefinedError as error:
            raise NotComposable(f"template {touch.template!r}, {file}: variable {error}") from None
        except (TemplateError, SecurityError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as error:
            raise NotComposable(f"template {touch.template!r}, {file}: {error}") from None
        if len(said.encode()) > RENDERED_BYTES:
            raise NotComposable(f"template {touch.template!r}, {file}: longer than {RENDERED_BYTES} bytes")
        return said
