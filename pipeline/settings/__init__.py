"""The configuration: declared in `keys`, read once by `load`; every error is one line that names its key."""

from __future__ import annotations

from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import duration_ms
from pipeline.settings.load import Settings, SettingsError, load
from pipeline.settings.variables import CONFIG_VARIABLE, unread_variables

__all__ = [
    "CONFIG_VARIABLE",
    "InvalidValue",
    "KafkaSettings",
    "Settings",
    "SettingsError",
    "duration_ms",
    "load",
    "unread_variables",
]
