"""What the console has of the demo's touches: the same as the statuses tell."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from pipeline.lab.demo.findings import DemoFinding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pipeline.lab.demo.tally import Tally

PATIENCE_S = 10.0
"""A record is visible within 2 s of its commit (docs/lookup.md)."""


def finding_of_console(private_web: str, tally: Tally) -> DemoFinding:
    """Return whether the console finds each touch in the state that its latest status tells."""
    left, deadline = tally.last(), time.monotonic() + PATIENCE_S
    with httpx.Client(base_url=private_web, timeout=5) as client:
        while left and time.monotonic() < deadline:
            left = [told for told in left if not _is_found(client, told)]
            time.sleep(0.1)
    count = len(tally.stories)
    return DemoFinding("the console has every touch", f"{count} of {count}, on {private_web}" if not left else "")


def _is_found(client: httpx.Client, told: Mapping[str, Any]) -> bool:
    with suppress(httpx.HTTPError):
        answer = client.get(f"/api/v1/touches/{quote(told['touch_id'], safe='')}")
        found = answer.json() if answer.is_success else {}
        return all(found.get(name) == told[name] for name in ("state", "reason"))
    return False
