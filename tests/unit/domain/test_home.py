"""Where touches are at home: where Kafka's default partitioner puts their ids."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.home import home_of, murmur2


@given(st.binary(max_size=131))
def test_the_hash_is_kafkas(data):
    assert murmur2(data) == reference(data) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "hashed"),
    [
        # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_kafkas_own_vectors(data, hashed):
    assert murmur2(data) == hashed & 0xFFFFFFFF


@given(st.text("azAZ09._:-", min_size=1, max_size=128), st.integers(1, 10_000))
def test_a_home_is_one_of_the_partitions(touch_id, partitions):
    assert 0 <= home_of(touch_id, partitions) < partitions
