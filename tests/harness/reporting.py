"""What the tests of the whole product under harm share: how long they may take, and the shapes of their fixtures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.harness.judge import Judgement
    from tests.harness.stack import Stack

LONG = bool(os.environ.get("LONG"))
SHOTS = Path(__file__).parents[2] / ".artifacts" / "pages"
"""Where the tests of the pages leave their screenshots."""


class MakeStack(Protocol):
    """Makes a stack with its sandbox running; `config` are the blanks of its configuration. A `name` keeps several apart."""

    def __call__(
        self, servers: list[str] | None = None, *, name: str = "", replication: int = 1, **config: str
    ) -> Stack: ...


class Report(Protocol):
    """Judges a stack, shows the table now and at the end of the run, and fails with the stories of what went wrong."""

    def __call__(self, title: str, found: Stack | Judgement, *notes: str) -> Judgement: ...
