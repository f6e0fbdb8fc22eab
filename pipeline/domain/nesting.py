"""How deep values may be nested: what a stranger sends is bounded before anything walks through it."""

from __future__ import annotations

from typing import Any


def is_deeper_than(levels: int, datum: dict[str, Any], text: bytes) -> bool:
    """Return whether the JSON object `datum`, read from `text`, has more levels of lists and objects than `levels`."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    level: list[Any] = [datum]
    for _ in range(levels):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
