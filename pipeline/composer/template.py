"""The composer of the pipeline: a body byte for byte, or a template rendered within bounds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from jinja2 import Template, TemplateNotFound, TemplateSyntaxError, UndefinedError

from pipeline.composer.bounded import BoundedEnvironment, TooMuch, metered
from pipeline.composer.files import Stamp, TemplateFiles
from pipeline.composer.port import NotComposable
from pipeline.domain.touch import Touch
from pipeline.domain.work import Channel, Content

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
REASON_CHARACTERS: Final = 300
PATIENCE: Final = 3
"""After this many consecutive touches for which a template exceeded its bounds, it is not rendered for a while."""
REST_S: Final = 60.0


@dataclass(slots=True)
class _Spent:
    """A file that is not rendered until it changes or the time is over."""

    stamp: Stamp
    reason: str
    until_s: float
    times: int = 1


class TemplateComposer:
    """Reads `templates/<name>/{whatsapp.txt,sms.txt,email.html,email.txt,subject.txt}`; reads a changed file anew."""

    def __init__(self, folder: Path) -> None:
        self.files = TemplateFiles(folder)
        # Jinja itself drops one line break at a template's end (keep_trailing_newline=False).
        self._plain = BoundedEnvironment(loader=self.files, autoescape=False)
        self._html = BoundedEnvironment(loader=self.files, autoescape=True)
        self._spent: dict[str, _Spent] = {}

    def compose(self, touch: Touch) -> Content:
        """Return the content of `touch`. Raises NotComposable."""
        if touch.template is None:
            return self._content(touch, touch.subject, touch.body, touch.text)
        if NAME.fullmatch(touch.template) is None:
            raise NotComposable(f"template {touch.template[:REASON_CHARACTERS]!r} is no name of a template")
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
        name = f"{touch.template}/{file}"
        if (spent := self._resting(name)) is not None:
            raise NotComposable(f"template {touch.template!r}, {file}: {spent.reason}")
        environment = self._html if file.endswith(".html") else self._plain
        try:
            template = environment.get_template(name)
        except TemplateNotFound:
            return None
        except Exception as error:  # noqa: BLE001 - what cannot be loaded says why, whatever it is
            raise self._refused(touch, file, self._rest(name, _reason(error, name), PATIENCE)) from None
        try:
            with metered():
                said = environment.concat(template.root_render_func(template.new_context(dict(touch.variables))))
        except TooMuch as error:
            raise self._refused(touch, file, self._rest(name, _reason(error, name))) from None
        except Exception as error:  # noqa: BLE001 - whatever a template does, it is the touch's own
            raise self._refused(touch, file, _reason(error, name)) from None
        self._spent.pop(name, None)
        return str(said)

    def _refused(self, touch: Touch, file: str, reason: str) -> NotComposable:
        return NotComposable(f"template {touch.template!r}, {file}: {reason}")

    def _resting(self, name: str) -> _Spent | None:
        spent = self._spent.get(name)
        if spent is None or spent.times < PATIENCE:
            return None
        if time.monotonic() < spent.until_s and spent.stamp == self.files.stamp(name):
            return spent
        del self._spent[name]
        return None

    def _rest(self, name: str, reason: str, times: int = 1) -> str:
        """Note that `name` failed, so that further touches fail cheaply; return the reason."""
        before = self._spent.get(name)
        times += before.times if before is not None else 0
        self._spent[name] = _Spent(self.files.stamp(name), reason, time.monotonic() + REST_S, times)
        return reason


def _reason(error: Exception, name: str) -> str:
    """Return the line and the error."""
    where, line = (error.name, error.lineno) if isinstance(error, TemplateSyntaxError) else _place(error.__traceback__)
    elsewhere = f"{where}, " if where is not None and where != name else ""
    what = str(error) or type(error).__name__
    if isinstance(error, UndefinedError):
        what = f"variable {what}"
    elif isinstance(error, RecursionError):
        what = "it calls itself without end"
    elif isinstance(error, TemplateNotFound):
        what = f"it needs {error.name}, which is not there"
    return elsewhere + (f"line {line}: " if line else "") + what[:REASON_CHARACTERS]


def _place(trace: TracebackType | None) -> tuple[str | None, int | None]:
    """Return the template and line of the error: the innermost frame of a template."""
    found: tuple[str | None, int | None] = (None, None)
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            found = template.name, template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return found
