"""Where an AI copywriter goes: another Composer, in place of (or around) the template's.

It is not wired. To use one, give it to the router in `pipeline/worker.py`. The router calls `compose` before a touch is
accepted, once per touch and, after a crash before the commit, once more: the words that count are those committed with
the touch, and nothing is composed again afterwards. Write the texts beforehand, or keep calls short: the router's
partition waits for them.
"""

from __future__ import annotations

from pipeline.composer.port import Composer
from pipeline.domain.touch import Touch
from pipeline.domain.work import Content


class Copywriter:
    """A stub: asks nobody and leaves the words to the composer it stands before."""

    def __init__(self, otherwise: Composer) -> None:
        self._otherwise = otherwise

    def compose(self, touch: Touch) -> Content:
        """Return what `touch` says. Raises NotComposable."""
        return self._otherwise.compose(touch)
