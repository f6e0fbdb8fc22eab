"""What e-mail addresses and phone numbers share. An error never contains the address."""

from __future__ import annotations

REMEMBERED = 50_000
"""Number of normalised addresses kept in memory."""
SHOWN = 60


class BadAddress(ValueError):
    """Not an address; the message says why."""


def without_invisible(text: str) -> str:
    """Return `text` without the invisible characters that address books, chats and PDFs add.

    Direction marks and isolates, byte order marks, zero-width characters, variation selectors: Unicode's
    Default_Ignorable_Code_Point (UAX 44), as far as it is met in the field. Spaces of all kinds become plain ones.
    """
    return text if text.isascii() else text.translate(_INVISIBLE).strip()


_IGNORABLE = (
    *(
        0x00AD,
        0x034F,
        0x061C,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x180B,
        0x180C,
        0x180D,
        0x180E,
        0x180F,
        0x3164,
        0xFEFF,
        0xFFA0,
    ),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
)
_SPACES = (0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
_INVISIBLE = {**dict.fromkeys(_IGNORABLE), **dict.fromkeys(_SPACES, " ")}
