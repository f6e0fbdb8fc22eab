"""`faust -A pipeline` with one change: it writes to `TIMES` what each call cost its lane, so that latency can be deducted.

A line: channel, lane, instant (epoch ms), milliseconds. `answered`: from the claim to the answer, the commit included;
`late`: by how much the process woke too late for the call.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from faust.cli.faust import cli

from pipeline.stages.lane import Lane

_times = Path(os.environ["TIMES"]).open("a", buffering=1)  # noqa: SIM115 - as long as the process
_step = Lane.step
_due_ms: dict[Lane, int] = {}


def step(self, table, batch, outcomes, now_ms, *more, **named):
    where = f"{self._config.policy.channel.value} {self._config.lane} {now_ms}"
    for each in outcomes:
        if (claim := self._index.claims.get(each.claim_id)) is not None:
            _times.write(f"answered {where} {each.ended_ms - claim.claimed_ms}\n")
    made = _step(self, table, batch, outcomes, now_ms, *more, **named)
    due_ms = _due_ms.pop(self, None)
    if made.calls:
        _times.write(f"late {where} {0 if due_ms is None else max(0, now_ms - due_ms)}\n")
    if made.hold is not None:
        _due_ms[self] = made.hold.until_ms
    return made


Lane.step = step

if __name__ == "__main__":
    sys.argv[0] = "faust"
    cli()
