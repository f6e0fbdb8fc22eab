"""Touches in, statuses out: WhatsApp, e-mail and SMS over Kafka, each sent at most once and answered exactly once.

    touches ──▶ router ──▶ touches.<channel> ──▶ lane ──▶ touches.results ──▶ dedup ──▶ touches.status

Run with `faust -A pipeline worker`. The road is drawn in `pipeline.flow`, put together in `pipeline.worker`.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _app() -> Any:
    from pipeline.worker import create_app  # noqa: PLC0415 - `import pipeline.domain` must not start faust

    return create_app()


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app()
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
