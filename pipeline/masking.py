"""Masks secrets, addresses and message texts in every log line, of any level and any library."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

from pipeline.secret import MASK, without_secrets

if TYPE_CHECKING:
    from types import TracebackType

_AT: Final = r"(?:@|%40)"
_PHONE: Final = re.compile(
    rf"(?:[+\uff0b]|%2[Bb])\d[\d ().-]{{4,22}}\d|\d{{6,20}}(?={_AT}(?:c\.us|s\.whatsapp\.net|lid|g\.us)\b)|(?<=phone=)\d{{6,20}}"
)
_LABEL: Final = r"[^\W_](?:[\w-]{0,62}[^\W_])?"
_MAIL: Final = re.compile(
    rf"(?:\"[^\"\n]{{1,64}}\"|[^\s\"'<>()\[\],;:=/\\{{}}?&]{{1,64}}){_AT}(?:{_LABEL}\.){{1,10}}{_LABEL}"
)
_BYTES: Final = re.compile(r"""\bb(?:'(?:[^'\\]|\\.)+'|"(?:[^"\\]|\\.)+")""", re.DOTALL)
"""Bytes in the form of repr: keys, values, logins."""
_PROSE: Final = r"(?=[^{0}\n]{{0,200}}(?:[^\x21-\x7e]|\\))(?:[^{0}\\]|\\.){{12,}}"
_TEXT: Final = re.compile(rf"""(?<![\w\\])(?:'{_PROSE.format("'")}'|"{_PROSE.format('"')}")""", re.DOTALL)
"""Text in the form of repr, with a space or a non-ASCII letter in it: identifiers have neither."""
_PHONE_MARKS: Final = ("+", "\uff0b", "%2", "phone=")
_CREDENTIALS: Final = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def masked(text: str, *, dumps: bool = False) -> str:
    """Return `text` without secrets, phone numbers, e-mail addresses and raw bytes.

    `dumps` masks quoted texts, too: for debug output, where libraries write whole values.
    """
    text = _BYTES.sub(f"b'{MASK}'", text)
    if dumps:
        text = _TEXT.sub(f"'{MASK}'", text)
    text = _CREDENTIALS.sub(rf"\1 {MASK}", without_secrets(text))
    if "@" in text or "%40" in text:
        text = _MAIL.sub(MASK, _PHONE.sub(MASK, text))
    elif any(mark in text for mark in _PHONE_MARKS):
        text = _PHONE.sub(MASK, text)
    return text


class MaskedRecord(logging.LogRecord):
    """A log record whose message and traceback are masked for every handler and formatter."""

    _traceback: str | None = None

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        """Return the message, masked."""
        try:
            message = super().getMessage()
        except Exception as error:  # noqa: BLE001 - logging would print the unmasked arguments
            message = f"{self.msg} [its arguments do not fit: {type(error).__name__}]"
        return masked(message, dumps=self.levelno <= logging.DEBUG)

    @property
    def exc_text(self) -> str | None:
        """The traceback, masked."""
        return self._traceback

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._traceback = None if text is None else masked(text)


def mask_all() -> None:
    """Mask all log lines of this process from now on, and the traceback of an error that ends it."""
    logging.setLogRecordFactory(MaskedRecord)
    sys.excepthook = _write_masked
    threading.excepthook = lambda ended: _write_masked(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _write_masked(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, where))))
