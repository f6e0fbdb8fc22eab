"""The port of the composer: takes a touch, returns its content."""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.touch import Touch
from pipeline.domain.work import Content


class NotComposable(Exception):
    """The touch has no content; the message names the missing file or variable."""


class Composer(Protocol):
    """Makes the content of a touch. The router calls it once per touch, before it accepts the touch, and waits for it."""

    def compose(self, touch: Touch) -> Content:
        """Return the content of `touch`. Raises NotComposable."""
