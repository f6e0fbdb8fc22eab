"""What all suites share: one real Kafka for the whole run, and names of their own for every test."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import hypothesis
import pytest

from pipeline.local.kafka import LocalKafka

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shared machine is slow at times; a wall-clock deadline per example would fail for that alone.
hypothesis.settings.register_profile("ci", deadline=None)
hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Bootstrap servers of a running Kafka: one for the run, or the one that PIPELINE_TEST_KAFKA names."""
    running = os.environ.get("PIPELINE_TEST_KAFKA")
    if running:
        yield running.split(",")
        return
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as local:
        yield local.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """A prefix no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."
