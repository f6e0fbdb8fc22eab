"""The place for an AI copywriter: another Composer, instead of the template composer or around it.

It is not in use. To use one, pass it to the router in `AgentFactory.bindings` (`pipeline/agents/factory.py`). The router
calls `compose` before it accepts a touch: once per touch, and again after a crash before the commit. Only the text that is
committed with the touch is sent; nothing is composed later. Prepare the texts beforehand or keep the calls short, because
the router's partition waits for them.
"""

from __future__ import annotations

from pipeline.composer.port import Composer
from pipeline.domain.touch import Touch
from pipeline.domain.work import Content


class Copywriter:
    """A stub that returns what the composer behind it returns."""

    def __init__(self, otherwise: Composer) -> None:
        self._otherwise = otherwise

    def compose(self, touch: Touch) -> Content:
        """Return the content of `touch`. Raises NotComposable."""
        return self._otherwise.compose(touch)
