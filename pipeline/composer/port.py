"""The composer's port: a touch in, what it says out."""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.touch import Touch
from pipeline.domain.work import Content


class NotComposable(Exception):
    """The touch cannot be put into words; the message names the file or the variable that is missing."""


class Composer(Protocol):
    """Puts a touch into words. Called once per touch, by the router, before it is accepted: fast, and without surprise."""

    def compose(self, touch: Touch) -> Content:
        """Return what `touch` says. Raises NotComposable."""
