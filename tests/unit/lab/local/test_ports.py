"""No two processes that a test or the demo starts are given one port."""

from __future__ import annotations

from pipeline.lab.local.ports import free_port


def test_a_port_is_chosen_once() -> None:
    # Each is free again when the next is chosen, and the system may name it again.
    chosen = [free_port() for _ in range(400)]
    assert len(set(chosen)) == 400
