"""What the simulation takes out must be there: a renamed function would be found only after many histories."""

from __future__ import annotations

import pytest

from pipeline.lab.simulation.without import SAFEGUARDS, without


@pytest.mark.parametrize("safeguard", sorted(SAFEGUARDS))
def test_a_safeguard_that_can_be_taken_out_exists(safeguard: str):
    with without(safeguard):
        pass
