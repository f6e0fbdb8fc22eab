"""The configuration: declared in `keys`, read once by `load`, every error one line that names its key."""

from __future__ import annotations

from pipeline.settings.keys import KafkaSettings
from pipeline.settings.kinds import duration_ms
from pipeline.settings.load import Settings, SettingsError, load
from pipeline.settings.place import Wrong
from pipeline.settings.variables import CONFIG_VARIABLE, unread

__all__ = ["CONFIG_VARIABLE", "KafkaSettings", "Settings", "SettingsError", "Wrong", "duration_ms", "load", "unread"]
