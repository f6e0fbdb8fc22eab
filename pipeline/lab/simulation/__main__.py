"""`python -m pipeline.lab.simulation`: runs histories, one per seed, and reports what went wrong in which."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial
from multiprocessing.pool import Pool

from pipeline.lab.simulation.life import live
from pipeline.lab.simulation.without import SAFEGUARDS

PROGRESS_S = 5.0


def main() -> int:
    """Return 0 when every history kept the promise, 1 when one did not."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.lab.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many histories (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--story", type=int, metavar="SEED", help="tell the whole story of one seed")
    parser.add_argument("--without", choices=sorted(SAFEGUARDS), help="take a safeguard out: a fault must be found")
    told = parser.parse_args()
    # Sets of strings are ordered by their hashes: a seed must tell the same story in every process.
    os.environ["PYTHONHASHSEED"] = "0"
    if told.story is not None:
        return _tell(told.without, told.story)
    with _pool(told.jobs) as pool:
        wrong = _first_wrong(pool, range(told.first, told.first + told.seeds), told.without)
    return 0 if wrong is None else _tell(told.without, wrong)


def _pool(jobs: int) -> Pool:
    return multiprocessing.get_context("spawn").Pool(jobs)


def _first_wrong(pool: Pool, seeds: range, safeguard: str | None) -> int | None:
    """Live through all `seeds`; return the first that went wrong, at once."""
    began = told = time.monotonic()
    sums: Counter[str] = Counter()
    for done, outcome in enumerate(pool.imap_unordered(partial(live, safeguard), seeds, chunksize=10), 1):
        sums.update(
            touches=outcome.touches,
            sent=outcome.sent,
            kills=outcome.kills,
            freezes=outcome.freezes,
            looked_up=outcome.looked_up,
        )
        if outcome.faults:
            _say(f"found after {done} histories")
            return outcome.seed
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            _say(f"{done} of {len(seeds)} histories, {done / (told - began):.0f} a second")
    _say(
        f"{len(seeds)} histories in {time.monotonic() - began:.0f} s: {sums['touches']} touches, {sums['sent']} sent, "
        f"{sums['looked_up']} looked up, {sums['kills']} kills, {sums['freezes']} freezes; lost 0, twice 0, unconfirmed 0"
    )
    return None


def _tell(safeguard: str | None, seed: int) -> int:
    with _pool(1) as pool:
        outcome = pool.apply(live, (safeguard, seed), {"tells": True})
    for line in outcome.story:
        _say(line)
    for fault in outcome.faults:
        _say(f"seed {seed}: {fault}")
    again = "" if safeguard is None else f' --without "{safeguard}"'
    _say(
        f"seed {seed}: {len(outcome.faults)} faults; `python -m pipeline.lab.simulation --story {seed}{again}` tells it again"
    )
    return 1 if outcome.faults else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
