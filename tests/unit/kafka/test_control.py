from __future__ import annotations

import pytest
from aiokafka.errors import UnknownError

from pipeline.kafka import control
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.control import ControlLog, settle_fingerprint

NOWHERE = Cluster({"bootstrap_servers": ["127.0.0.1:1"]}, "")


class Transactions:
    """Of the fingerprint: each ends as told, in turn, and the last way for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: bool | Exception) -> None:
        self._ends = list(ends)
        self.tried = 0
        monkeypatch.setattr(control, "_record", self.record)
        monkeypatch.setattr(control, "read_control", self.read)
        monkeypatch.setattr(control, "AGAIN_S", 0.0)

    async def read(self, *_: object) -> ControlLog:
        return ControlLog()

    async def record(self, *_: object) -> bool:
        self.tried += 1
        end = self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]
        if isinstance(end, Exception):
            raise end
        return end


async def test_a_transaction_that_kafka_refuses_once_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    transactions = Transactions(monkeypatch, UnknownError(), False, True)
    await settle_fingerprint(NOWHERE, "f", print)
    assert transactions.tried == 3


async def test_what_kafka_refuses_for_good_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(control, "TRIED_S", 0.0)
    Transactions(monkeypatch, UnknownError())
    with pytest.raises(CommandFailed, match=r"127\.0\.0\.1:1"):
        await settle_fingerprint(NOWHERE, "f", print)
