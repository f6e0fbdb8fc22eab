"""The environment variables: those that set keys, and those that look like a misspelled one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import MISSING_VARIABLE, EnvironmentText, KeyPath, to_toml
from pipeline.settings.privacy import PrivacyKeys
from pipeline.settings.schema import keys_of
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys

CONFIG_VARIABLE: Final = "PIPELINE_CONFIG"
WITHOUT_FILE: Final = tuple(
    each.variable
    for table in (KafkaSettings, PrivacyKeys, WahaKeys, ResendKeys, TwilioKeys)
    for each in keys_of(table)
    if each.variable
)
"""The variables that set keys when no file is named."""
ELSEWHERE: Final = ("PIPELINE_NOTICE", "F_DATADIR", "FAUST_DATADIR", "WEB_PORT", "WEB_BIND", "F_WEB_PORT", "F_WEB_BIND")
"""Read by the worker and by faust."""
PREFIXES: Final = ("PIPELINE_", "KAFKA_", "SCHEMA_REGISTRY_", "WAHA_", "RESEND_", "TWILIO_")
_SHARED_PREFIXES: Final = ("KAFKA_", "WAHA_")
"""Kafka's and WAHA's own servers read variables with these prefixes, too: only names close to a known variable count."""
_TYPO_DISTANCE: Final = 2
"""Largest edit distance of a typo. TWILIO_API_KEY, a variable of Twilio's own tools, has distance 3 from a known one."""
_SIMILARITY: Final = 0.8


def resolve_environment(raw: object, environ: Mapping[str, str], path: KeyPath) -> object:
    """Return `raw` with each `{ env = "NAME" }` replaced by that variable's value; note the variables that are not set."""
    if isinstance(raw, list):
        return [resolve_environment(item, environ, path.item(i)) for i, item in enumerate(raw)]
    if not isinstance(raw, dict):
        return raw
    if raw.keys() == {"env"} and isinstance(raw["env"], str):
        variable = raw["env"]
        if text := environ.get(variable):
            return EnvironmentText.read(variable, text)
        path.note(f"no environment variable {to_toml(variable)}", "the name of one that is set, and not empty")
        return MISSING_VARIABLE
    return {name: resolve_environment(value, environ, path.at(name)) for name, value in raw.items()}


def misspelled(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (found, meant) of each variable within a typo of a known variable that is not set."""
    known = (CONFIG_VARIABLE,) if environ.get(CONFIG_VARIABLE) else (CONFIG_VARIABLE, *WITHOUT_FILE)
    for name in _unknown(environ):
        meant = _nearest(name, known)
        if meant is not None and not environ.get(meant) and _is_typo(name.upper(), meant):
            yield name, meant


def unread_variables(environ: Mapping[str, str]) -> list[str]:
    """Return one line that names the variables with the pipeline's prefixes that are set and not read, or none."""
    if environ.get(CONFIG_VARIABLE):
        ignored = [name for name in WITHOUT_FILE if environ.get(name)]
        why = f"{CONFIG_VARIABLE} is set: these variables count only where that file names them: "
        return [why + ", ".join(ignored)] if ignored else []
    found = [
        _with_suggestion(name) for name in _unknown(environ) if name.startswith(PREFIXES) and _is_for_pipeline(name)
    ]
    return [f"set in the environment and not read: {', '.join(sorted(found))}"] if found else []


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = {CONFIG_VARIABLE, *WITHOUT_FILE, *ELSEWHERE}
    return (name for name, value in environ.items() if value and name not in known)


def _is_for_pipeline(name: str) -> bool:
    return not name.startswith(_SHARED_PREFIXES) or _nearest(name, WITHOUT_FILE) is not None


def _with_suggestion(name: str) -> str:
    near = _nearest(name, WITHOUT_FILE)
    return name if near is None else f"{name} (did you mean {near}?)"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name.upper(), known, n=1, cutoff=_SIMILARITY)), None)


def _is_typo(name: str, meant: str) -> bool:
    return _distance(name, meant) <= _TYPO_DISTANCE


def _distance(one: str, other: str) -> int:
    """Return the optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbours."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, opposite in enumerate(other, 1):
            costs = [before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != opposite)]
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == opposite:
                costs.append(older[j - 2] + 1)
            row.append(min(costs))
    return row[-1]
