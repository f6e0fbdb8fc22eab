"""Phone numbers, read only where nothing is left to guess: the digits that come out are the digits that went in.

A number comes out of a spreadsheet, an address book or a chat. What these add is undone where there is one way to undo
it, and refused by name where there are two: a wrong guess is somebody else's phone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumber

from pipeline.domain.address import REMEMBERED, BadAddress, without_invisible

LONGEST: Final = 100
"""Characters of a number with all that surrounds it; E.164 has 15 digits."""
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PLUS = re.compile(r"[\uff0b\ufe62\u207a\u208a\u2795]")
_MARKS = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\uff0d"), "-"),
    ord("\uff08"): "(",
    ord("\uff09"): ")",
    ord("\uff0e"): ".",
    ord("\uff0f"): "/",
    ord("\u2044"): "/",
    ord("\u2019"): "'",
}
_GRAMMAR = re.compile(r"\(?[+0-9][0-9 ()./-]*[0-9]")
_CHAT_ID = re.compile(r"(?a:([1-9]\d{6,14}))@(?:c\.us|s\.whatsapp\.net)")
"""WhatsApp's chat id of a person: the number with its country code."""
_TRUNK = re.compile(r"\(0\)")
_NAMED: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), why)
    for pattern, why in (
        (
            r"[0-9][.,]?[0-9]*e[+-]?[0-9]",
            "it looks like a spreadsheet's exponent (4.9E+11): its digits are lost; format the column as text",
        ),
        (r"@g\.us$", "a phone number must be a person's, not a group's"),
        (r"phone-context", "phone-context leaves the number to guess; write it whole, with +"),
        (r"[;#]|\bext|\bdurchwahl|[0-9] *(x|,,) *[0-9]", "a phone number must have no extension"),
        (r"\+.*\+|[,|\n]|\bor\b|[0-9] *& *[0-9]", "one phone number is allowed"),
        (r"[^\W\d_]", "a phone number must have no letters"),
    )
)
"""Refused marks with their error; the first one found is reported."""


class NoRegion(BadAddress):
    """A number without +, and nobody has said of which region."""


class PhoneCheck(StrEnum):
    """How strictly a phone number is checked."""

    VALID = "valid"
    """The numbering plan has it."""
    POSSIBLE = "possible"
    """Its length is right."""


@lru_cache(maxsize=REMEMBERED)
def normal_phone(text: str, region: str | None, numbers: PhoneCheck) -> str:
    """Return `text` in E.164.

    `region` (ISO 3166, "US") reads numbers without "+"; None refuses them. `numbers` is "valid" (the numbering plan
    knows it) or "possible" (its length is right). Raises BadAddress.
    """
    if len(text) > LONGEST:
        raise BadAddress(f"a phone number must not be longer than {LONGEST} characters")
    written = text if _E164.fullmatch(text) else _written(text)
    judge = phonenumbers.is_possible_number if numbers == PhoneCheck.POSSIBLE else phonenumbers.is_valid_number
    if written.startswith("+"):
        return _international(written, numbers, judge)
    if region is None:
        abroad = "; 00 is not the same everywhere, write + in its place" if written.startswith("00") else ""
        raise NoRegion(f"a phone number must start with + (or configure the channel's region){abroad}")
    return _national(written, region, numbers, judge)


def _written(text: str) -> str:
    """Return what is written in `text`: "+" and digits, or digits, with "(0)" where it was. Raises BadAddress."""
    plain = _unwrapped(without_invisible(text).translate(_MARKS))
    plain = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in _PLUS.sub("+", plain))
    if (chat := _CHAT_ID.fullmatch(plain)) is not None:
        return f"+{chat[1]}"
    for pattern, why in _NAMED:
        if pattern.search(plain):
            raise BadAddress(why)
    plain = plain.replace("\t", " ")
    if _GRAMMAR.fullmatch(plain) is None:
        raise BadAddress("a phone number must be digits with + before them, and spaces, ( ) . / - at most between")
    _check_marks(plain)
    return re.sub(r"[^0-9+()]", "", plain) if _TRUNK.search(plain) else re.sub(r"[^0-9+]", "", plain)


def _unwrapped(text: str) -> str:
    """Return `text` without "tel:", and without the quotes by which a spreadsheet keeps digits as text."""
    plain = text.strip()
    if (quoted := re.fullmatch(r'=?"([^"]*)"', plain)) is not None:
        plain = quoted[1].strip()
    plain = plain.removeprefix("'").strip()
    return plain[4:].removeprefix("//").strip() if plain[:4].lower() == "tel:" else plain


def _check_marks(plain: str) -> None:
    """Refuse marks that may stand for something else: a decimal point, an alternative, a second number."""
    dots = plain.split(".")
    if len(dots) > 1 and (len(dots[-1].strip()) < 2 or (len(dots) == 2 and re.fullmatch(r"0+|[0-9]{1,2}", dots[1]))):  # noqa: PLR2004 - decimals
        raise BadAddress("it looks like a spreadsheet's decimal number (…7.0); format the column as text")
    before, slash, behind = plain.partition("/")
    if slash and ("/" in behind or len(re.sub(r"\D", "", before)) > 7 or len(re.sub(r"\D", "", behind)) < 5):  # noqa: PLR2004 - area code, subscriber
        raise BadAddress("/ may stand between two numbers; write one, without /")
    if re.search(r"\([^()]*\([^()]*|^[^(]*\)|\)[^(]*\)|\([^)]*$|\([^)]*\)$|\( *\)", plain):
        raise BadAddress("( ) must stand around one group of digits that is not the last")


def _international(written: str, numbers: PhoneCheck, judge: Callable[[PhoneNumber], bool]) -> str:
    """Return the number whose digits are `written`; a trunk prefix 0 is dropped where the plan has no place for it."""
    bare = re.sub(r"[()]", "", written)
    kept = _parsed(bare, None, numbers)
    if "(0)" not in written:
        if (found := _e164(kept)) == bare:
            return _judged(kept, numbers, judge)
        if bare == f"+{kept.country_code}0{found.removeprefix(f'+{kept.country_code}')}" and not judge(
            _with_zero(kept)
        ):
            return _judged(kept, numbers, judge)
        raise BadAddress(f"its digits can be read in two ways; write it as it is dialled from abroad (perhaps {found})")
    if not written.replace("(+", "+").startswith((f"+{kept.country_code}(0)", f"+{kept.country_code})(0)")):
        raise BadAddress("(0) may stand behind the country code only")
    dropped = _parsed(_TRUNK.sub("", written).replace("(", "").replace(")", ""), None, numbers)
    readings = {
        _e164(each) for each in (kept, dropped) if judge(each) and _e164(each) in (bare, _without_trunk(written))
    }
    if len(readings) != 1:
        raise BadAddress(
            "(0) can be read in two ways; write the number as it is dialled from abroad"
            if readings
            else f"not a {numbers} phone number"
        )
    return readings.pop()


def _without_trunk(written: str) -> str:
    return re.sub(r"[()]", "", _TRUNK.sub("", written))


def _national(written: str, region: str, numbers: PhoneCheck, judge: Callable[[PhoneNumber], bool]) -> str:
    bare = re.sub(r"[()]", "", written)
    found = _parsed(bare, region, numbers)
    e164, code = _judged(found, numbers, judge), str(found.country_code)
    digits = e164.removeprefix(f"+{code}")
    if not bare.endswith(digits):
        raise BadAddress(f"its digits can be read in two ways; write it with + (perhaps {e164})")
    if bare.startswith(code) and bare == digits and _is_number(f"+{bare}", judge):
        raise BadAddress(f"it may be +{bare} or {e164}; write it with +")
    return e164


def _is_number(text: str, judge: Callable[[PhoneNumber], bool]) -> bool:
    try:
        return judge(phonenumbers.parse(text, None))
    except phonenumbers.NumberParseException:
        return False


def _parsed(text: str, region: str | None, numbers: PhoneCheck) -> PhoneNumber:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise BadAddress(f"not a {numbers} phone number: {str(error).lower()}") from None


def _judged(number: PhoneNumber, numbers: PhoneCheck, judge: Callable[[PhoneNumber], bool]) -> str:
    if not judge(number):
        raise BadAddress(f"not a {numbers} phone number")
    return _e164(number)


def _with_zero(number: PhoneNumber) -> PhoneNumber:
    return PhoneNumber(number.country_code, number.national_number, italian_leading_zero=True)


def _e164(number: PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
