"""A worker that keeps no line back: what `-l debug` may write at its worst."""

from __future__ import annotations

from faust.cli.faust import cli

from pipeline.engine import log_rate_limit

log_rate_limit.LINES = 1_000_000_000

if __name__ == "__main__":
    cli()
