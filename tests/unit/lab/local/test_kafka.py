"""No two listeners of a local Kafka have one port."""

from __future__ import annotations

from pipeline.lab.local.kafka import free_ports


def test_a_port_is_chosen_once() -> None:
    chosen: list[int] = []
    for _ in range(20):
        # They are free again by now, and the system may name them again.
        chosen += free_ports(20, chosen)
    assert len(set(chosen)) == 400
