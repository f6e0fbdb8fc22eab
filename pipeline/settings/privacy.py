"""`[privacy]` and `[suppression]`: how recipients are named in records, and what an opt-out covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.domain.opt_out import bare
from pipeline.domain.suppression import Covers
from pipeline.secret import Secret
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import array, member_of
from pipeline.settings.schema import ABSENT, Scalar, key

_LEAST_BYTES: Final = 32
_LONGEST_WORD: Final = 100
_MOST_BYTES: Final = 64
"""The longest key that BLAKE2b takes (RFC 7693)."""


def _privacy_key(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValue from None
    if not _LEAST_BYTES <= size <= _MOST_BYTES:
        raise InvalidValue(f"it has {size}")
    return str(value)


PRIVACY_KEY: Final = Scalar(f"text of {_LEAST_BYTES} to {_MOST_BYTES} bytes in UTF-8", _privacy_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyKeys:
    """`[privacy]`."""

    key: Secret | None = key(
        PRIVACY_KEY,
        ABSENT,
        "Key of the hashes that stand for addresses. It must never change. Left out: a phone number can be found by trying all.",
        secret=True,
        variable="PIPELINE_PRIVACY_KEY",
    )


def _word(value: object) -> str:
    if not isinstance(value, str) or not bare(value) or len(value) > _LONGEST_WORD:
        raise InvalidValue("a word has a letter or a digit")
    return value


WORDS: Final = array(_word, "an array of words", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionKeys:
    """`[suppression]`."""

    covers: Covers = key(
        member_of(Covers),
        "phone",
        'What an opt-out by SMS or WhatsApp concerns: "phone" is both, "channel" the one on which it was said.',
    )
    words: tuple[str, ...] = key(
        WORDS,
        [
            *("STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPT OUT"),
            *("PARAR", "PARE", "SAIR", "CANCELAR", "DESCADASTRAR", "REMOVER", "ALTO", "BAJA", "ARRET"),
        ],
        "A message to us that is one of these, whatever its case, accents and punctuation, opts its number out.",
    )
    back: tuple[str, ...] = key(WORDS, ["START", "UNSTOP", "YES"], "A message that is one of these lifts the opt-out.")
