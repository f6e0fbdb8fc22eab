"""A channel is one folder and one row; what is forgotten fails here, and at the start of a worker."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.channels.registry import CHANNELS
from pipeline.domain.address import BadAddress
from pipeline.domain.work import Channel
from pipeline.settings.keys import ChannelsKeys
from pipeline.settings.senders import SENDERS

ROOT = Path(__file__).parents[3]
FOLDERS = {path.parent.name for path in (ROOT / "pipeline" / "channels").glob("*/__init__.py")}


def test_every_channel_has_one_row():
    assert [spec.channel for spec in CHANNELS] == list(Channel)


def test_every_channel_has_one_folder():
    assert {channel.value for channel in Channel} == FOLDERS


def test_every_channel_has_its_keys():
    assert [each.name for each in fields(ChannelsKeys)] == [channel.value for channel in Channel]
    assert list(SENDERS) == list(Channel)


def test_the_wall_between_channels_names_every_folder():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    wall = next(each for each in contracts if each["id"] == "channels")
    assert set(wall["modules"]) == {f"pipeline.channels.{name}" for name in FOLDERS}


@pytest.mark.parametrize("spec", CHANNELS, ids=lambda spec: spec.channel.value)
def test_an_address_of_another_kind_is_never_taken(spec):
    """Without a row of its own, an address of a new channel was once read as a phone number."""
    foreign = "+12125552368" if spec.channel is Channel.EMAIL else "ann@example.com"
    with pytest.raises(BadAddress):
        spec.normalise(foreign, region=None, numbers="valid")
