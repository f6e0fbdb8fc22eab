"""`python -m bench.plot FILE`: the runs that `python -m bench --json FILE` has written, as a chart in Mermaid's notation.

One line per channel: CPU of worker and broker per touch, against the number of touches.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path


def chart(lines: str) -> str:
    """Return the chart of runs, one JSON object a line; several runs of a channel and a number count by their median."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in map(json.loads, lines.splitlines()):
        found[run["channel"]][run["touches"]].append(run["worker_us"] + run["broker_us"])
    counts = sorted({count for runs in found.values() for count in runs})
    cost = {
        channel: [round(statistics.median(runs[count])) for count in counts]
        for channel, runs in found.items()
        if runs.keys() == set(counts)
    }
    highest = max((most for each in cost.values() for most in each), default=1)
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            f'  title "CPU of worker and broker, in µs per touch: {", ".join(cost)}"',
            f'  x-axis "touches in a run" [{", ".join(f"{count}" for count in counts)}]',
            f'  y-axis "µs" 0 --> {round(highest * 1.2)}',
            *(f"  line {each}" for each in cost.values()),
            "```",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    print(chart(parser.parse_args().file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
