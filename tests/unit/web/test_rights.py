"""What every act of the web process needs."""

from __future__ import annotations

from dataclasses import replace

from pipeline.kafka.cluster import Cluster
from pipeline.records.registry import RegistryAway
from pipeline.records.writing import Writer, json_object, single_object
from pipeline.web.rights import Rights
from tests.harness.web_rig import command_context


async def test_while_the_registry_is_away_single_objects_are_written_and_afterwards_what_it_says():
    said: list[Writer] = []

    def asked() -> Writer:
        if not said:
            raise RegistryAway("does not answer")
        return said.pop()

    rights = Rights(replace(command_context(Cluster({"bootstrap_servers": ["127.0.0.1:1"]})), writer=asked))
    assert (await rights.context()).writer() is single_object
    said.append(json_object)
    assert (await rights.context()).writer() is json_object
    assert (await rights.context()).writer() is json_object, "it is asked once"
