"""A worker that the group has given away says which of two it was: out of touch, or a twin; only a twin takes a new id."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.engine.application import Application
from pipeline.engine.producer import Fenced


class Expelled:
    """A worker after its last heartbeat `since_s` ago."""

    def __init__(self, since_s: float) -> None:
        self.consumer = SimpleNamespace(since_heartbeat_s=lambda: since_s)
        self.conf = SimpleNamespace(broker_session_timeout=10.0)
        self.renewed = 0
        self.ended: list[str] = []
        self.renew_instance_id = self._renew

    def _renew(self) -> None:
        self.renewed += 1

    def die_expelled(self) -> None:
        app: Any = self
        Application.die_expelled(app)

    def _end(self, error: BaseException) -> None:
        self.ended.append(f"{type(error).__name__}: {error}")
        raise SystemExit(1)


@pytest.mark.parametrize(
    ("since_s", "says", "renewed"),
    [
        (60.0, "out of touch with the group for 60 s (frozen, or cut off from Kafka)", 0),
        (5.0, "out of touch with the group for 5 s (frozen, or cut off from Kafka)", 0),
        (1.0, "another worker has joined the group with the same instance id", 1),
    ],
)
def test_who_was_silent_keeps_its_id_and_who_was_not_has_a_twin(since_s, says, renewed):
    app: Any = Expelled(since_s)
    for error in (None, Fenced("pipeline-accepted-0: InvalidProducerEpoch")):
        app.ended.clear()
        with pytest.raises(SystemExit):
            Application.die_expelled(app) if error is None else Application.die(app, error)
        assert len(app.ended) == 1
        assert says in app.ended[0]
    assert app.renewed == 2 * renewed
