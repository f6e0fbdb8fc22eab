"""Addresses: the right person or nobody. What a spreadsheet, an address book or a chat adds is undone, or refused by name."""

from __future__ import annotations

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.address import BadAddress
from pipeline.domain.mailbox import normal_email, normal_header, normal_mailbox
from pipeline.domain.phone import normal_phone

ANN = "+491701234567"

UNDONE = [
    ANN,
    "+49 170 1234567",
    "+49 170/1234567",
    "+49 (170) 1234567",
    "(+49) 170 1234567",
    "+49 (0)170 1234567",
    "+49 (0) 170 1234567",
    "+490170 1234567",
    "+49-170-1234567",
    "+49–170—1234567",
    "+49 170 123 45 67",
    "+ 49 170 1234567",
    "+491.701.234.567",
    "+49.1701234567",
    " +491701234567\r\n",
    "\t+491701234567",
    "+49\u00a0170\u202f1234567",
    "+49\u2009170\u30001234567",
    "\u202a+491701234567\u202c",
    "\u202d+49 170 1234567\u202c",
    "\u2066+491701234567\u2069",
    "\u2068+49 170 1234567\u2069",
    "\ufeff+491701234567",
    "\u200e+491701234567",
    "\u200f+491701234567",
    "\u200b+491701234567",
    "+49\u200d170\u2060123\u00ad4567",
    "+\ufe0f491701234567",
    "\u3164+491701234567",
    "＋４９１７０１２３４５６７",
    "﹢491701234567",
    "⁺491701234567",
    "+٤٩١٧٠١٢٣٤٥٦٧",
    "+۴۹۱۷۰۱۲۳۴۵۶۷",
    "+४९१७०१२३४५६७",
    "＋49（170）123－4567",
    "tel:+491701234567",
    "TEL:+49-170-1234567",
    "tel:+49(170)123.4567",
    "tel://+491701234567",
    "'+491701234567",
    '="+491701234567"',
    '"+491701234567"',
    "491701234567@c.us",
    "491701234567@s.whatsapp.net",
]

REFUSED = [
    ("+491701234567.0", "decimal"),
    ("+491701234567.00", "decimal"),
    ("491701234567.0", "decimal"),
    ("+4917012345.6", "decimal"),
    ("+491701234567.000", "decimal"),
    ("+491701234567,0", "one phone number"),
    ("4.91701E+11", "exponent"),
    ("4,91701E+11", "exponent"),
    ("4.91701234567e11", "exponent"),
    ("+4.9E11", "exponent"),
    ("491701E6", "exponent"),
    ("tel:+491701234567;ext=5", "extension"),
    ("+49 170 1234567 x5", "extension"),
    ("+49 170 1234567 ext. 5", "extension"),
    ("+49 170 1234567#5", "extension"),
    ("+49 30 1234567 Durchwahl 8", "extension"),
    ("+491701234567,,5", "extension"),
    ("tel:1234567;phone-context=+49170", "phone-context"),
    ("tel:170-1234567;phone-context=example.com", "phone-context"),
    ("00491701234567", "00"),
    ("0049 170 1234567", "00"),
    ("491701234567", "+"),
    ("01701234567", "+"),
    ("", "digits"),
    ("+", "digits"),
    ("+49 170 1234567, +49 171 1234567", "one"),
    ("+49 170 1234567 / +49 171 1234567", "one"),
    ("+49 170 1234567; +49 171 1234567", "extension"),
    ("+49 170 1234567\n+49 171 1234567", "one"),
    ("+49 170 1234567\n89", "one"),
    ("+49 30 1234567/68", "/"),
    ("+49170123456/7", "/"),
    ("+49 170 1234567 or 68", "one"),
    ("+49 170 1234567 & 68", "one"),
    ("+49 170 1234567 (8)", "("),
    ("+49 170 1234567|8", "one"),
    ("++491701234567", "one"),
    ("-491701234567", "digits"),
    ("+49 170 1234567~8", "digits"),
    ("+49 170 1234567*8", "digits"),
    ("+49 170 1234567.", "digits"),
    ("+1 800 FLOWERS", "letters"),
    ("+49 170 1234567 privat", "letters"),
    ("whatsapp:+491701234567", "letters"),
    ("https://wa.me/491701234567", "letters"),
    ("nan", "letters"),
    ("+4917O1234567", "letters"),
    ("+49l701234567", "letters"),
    ("120363041234567890@g.us", "group"),
    ("491701234567:12@s.whatsapp.net", "letters"),
    ("+112125552368", "two ways"),
    ("+541115 12345678", "two ways"),
    ("+1 (1) 212 555 2368", "two ways"),
    ("+49" + " " * 200 + "1701234567", "longer"),
    ("+4917²1234567", "letters"),
]


@pytest.mark.parametrize("text", UNDONE)
def test_what_is_put_around_a_number_is_undone(text):
    assert normal_phone(text, None, "valid") == ANN


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_a_number_that_leaves_something_to_guess_is_refused_by_name(text, why):
    with pytest.raises(BadAddress) as refused:
        normal_phone(text, None, "valid")
    assert why in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("+39 (0)6 698 12345", None, "+390669812345"),
        ("+225 (0)7 12345678", None, "+2250712345678"),
        ("+2250712345678", None, "+2250712345678"),
        ("+965.9982.1908", None, "+96599821908"),
        ("+33.1.70.18.99.00", None, "+33170189900"),
        ("+1.2125552368", None, "+12125552368"),
        ("01701234567", "DE", ANN),
        ("0170/1234567", "DE", ANN),
        ("0049 170 1234567", "DE", ANN),
        ("(212) 555-2368", "US", "+12125552368"),
        ("1-212-555-2368", "US", "+12125552368"),
        ("011 49 170 1234567", "US", ANN),
        (ANN, "US", ANN),
        ("4325551234", "US", "+14325551234"),
    ],
)
def test_a_number_is_read_as_its_country_writes_it(text, region, number):
    assert normal_phone(text, region, "valid") == number


def test_with_a_region_a_number_that_lost_its_plus_is_refused_where_it_is_somebody_elses_too():
    with pytest.raises(BadAddress, match=r"\+491701234567 or \+49491701234567"):
        normal_phone("491701234567", "DE", "valid")


def valid(e164: str) -> bool:
    try:
        number = phonenumbers.parse(e164, None)
    except phonenumbers.NumberParseException:
        return False
    return (
        phonenumbers.is_valid_number(number)
        and phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == e164
    )


EXAMPLES = sorted(
    {
        phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in (0, 1, 2)
        if (found := phonenumbers.example_number_for_type(region, kind))
    }
)
numbers = (
    st.sampled_from(EXAMPLES)
    | st.builds(
        lambda known, tail: known[: -len(tail)] + tail,
        st.sampled_from(EXAMPLES),
        st.from_regex(r"[0-9]{1,4}", fullmatch=True),
    )
    | st.from_regex(r"\+(49|43|39|1|44|225|54|52|55|7|81)[0-9]{7,11}", fullmatch=True)
).filter(valid)
between = st.sampled_from([*" -./()+,;x#~*'\u00a0\u200e\u202c\u2060–．／＋\ufe0f\n\tEe&", "(0)", " (0) ", "ext", "E+"])
AROUND = [
    "{}",
    "tel:{}",
    "{}.0",
    "{}.00",
    "{},0",
    "'{}",
    '="{}"',
    "\u202a{}\u202c",
    "\ufeff{}",
    "{};ext=3",
    "{} x3",
    "{} / 5",
    "{}/12345",
    "{}@c.us",
    "({})",
    "{} (0)",
    "{}E1",
    "{}\n",
    "00{}",
    "+{}",
    "{0}, {0}",
    "mobile {}",
    "{}-",
    "{}e0",
    "(0){}",
    "tel:{};phone-context=+1",
]


@settings(max_examples=300)
@given(
    numbers,
    st.lists(st.tuples(st.integers(0, 16), between), max_size=4),
    st.sampled_from(AROUND),
    st.booleans(),
    st.sampled_from([None, "DE", "US", "IT"]),
)
def test_whatever_is_put_into_a_valid_number_the_result_is_that_number_or_none(
    number, marks, around, drop_plus, region
):
    text = number
    for at, mark in marks:
        text = text[:at] + mark + text[at:]
    text = around.format(text.removeprefix("+") if drop_plus and region is None else text)
    try:
        found = normal_phone(text, region, "valid")
    except BadAddress:
        return
    digits = "".join(c for c in text if c.isdecimal())
    assert found == number or found.removeprefix("+") == digits, text  # digits that were put in are somebody else's own


@given(numbers)
def test_a_valid_number_is_itself(number):
    assert normal_phone(number, None, "valid") == normal_phone(number, "US", "valid") == number


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ann@münchen.de", "ann@xn--mnchen-3ya.de"),
        ("Ann@MÜNCHEN.de", "Ann@xn--mnchen-3ya.de"),
        ("ann@xn--mnchen-3ya.de", "ann@xn--mnchen-3ya.de"),
        ("Ann@EXAMPLE.com", "Ann@example.com"),
        ("ann@straße.de", "ann@xn--strae-oqa.de"),
        ("ann@例え.jp", "ann@xn--r8jz45g.jp"),
        ("\u200eann@example.com\u00a0", "ann@example.com"),
        ("\ufeffann@example.com\r\n", "ann@example.com"),
        ("ann@example。com", "ann@example.com"),
        ("ann+tag@example.com", "ann+tag@example.com"),
    ],
)
def test_an_email_address_goes_out_in_ascii(text, address):
    assert normal_email(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "jürgen@example.com",
        "Ann <ann@example.com>",
        "a@b.cd, c@d.ef",
        "a@b.cd;c@d.ef",
        "ann@example.com.",
        "mailto:ann@example.com",
        "ann@[1.2.3.4]",
        "ann＠example.com",
        '"a b"@example.com',
        "ann@@example.com",
        "ann",
        "@example.com",
        "ann@",
        "a" * 1_000_000 + "@b.cd",
        "ann@example.com\nbcc@example.com",
        "ann @example.com",
    ],
)
def test_what_is_not_one_address_that_can_be_sent_to_is_refused(text):
    with pytest.raises(BadAddress) as refused:
        normal_email(text)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("Help <help@shop.example.com>", "Help <help@shop.example.com>"),
        ("help@Shop.example.com", "help@shop.example.com"),
        ("<help@shop.example.com>", "help@shop.example.com"),
        ("Help, Inc. <help@shop.example.com>", '"Help, Inc." <help@shop.example.com>'),
        ('"Help, Inc." <help@shop.example.com>', '"Help, Inc." <help@shop.example.com>'),
        ("Hélp <h@münchen.de>", "Hélp <h@xn--mnchen-3ya.de>"),
        ('"a\\"b" <a@b.cd>', '"a\\"b" <a@b.cd>'),
        ("Shop's Help<a@b.cd>", "Shop's Help <a@b.cd>"),
    ],
)
def test_a_mailbox_keeps_its_name(text, mailbox):
    assert normal_mailbox(text) == mailbox
    assert normal_mailbox(mailbox) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "Help",
        "Help <>",
        "Help <help@shop.example.com>, b@c.de",
        "a@b.cd <help@shop.example.com>",
        "Help\r\nBcc: x <a@b.cd>",
        "H\u2028 <a@b.cd>",
        "Help <jürgen@x.de>",
        "x" * 700 + " <a@b.cd>",
    ],
)
def test_what_is_not_one_mailbox_is_refused(text):
    with pytest.raises(BadAddress):
        normal_mailbox(text)


@pytest.mark.parametrize(
    ("name", "value", "normal"),
    [
        (
            "List-Unsubscribe",
            "<mailto:u@münchen.de?subject=x>, <https://x/y>",
            "<mailto:u@xn--mnchen-3ya.de?subject=x>, <https://x/y>",
        ),
        ("list-help", "<MAILTO:a%2Bb@EXAMPLE.com>", "<MAILTO:a+b@example.com>"),
        ("List-Unsubscribe", "<https://x/y>", "<https://x/y>"),
        ("List-Unsubscribe", "<mailto:u+1@example.com?subject=x>", "<mailto:u+1@example.com?subject=x>"),
        ("Sender", "Ann <ann@münchen.de>", "Ann <ann@xn--mnchen-3ya.de>"),
        ("Errors-To", "a@b.cd, B <c@D.ef>", "a@b.cd, B <c@d.ef>"),
        ("X-Anything", "ann@münchen.de", "ann@münchen.de"),
    ],
)
def test_addresses_in_headers_are_normalised_too(name, value, normal):
    assert normal_header(name, value) == normal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", "<mailto:nobody>"),
        ("Sender", "ann"),
        ("Errors-To", "a@b.cd, c"),
        ("List-Unsubscribe", "<mailto:jürgen@x.de>"),
        ("Sender", "(" * 900),
        ("Errors-To", "a@b.cd" + " (x)" * 21),
    ],
)
def test_a_bad_address_in_a_header_is_refused(name, value):
    with pytest.raises(BadAddress):
        normal_header(name, value)


@given(
    st.text("aB9._-+'!#%@", min_size=1, max_size=12) | st.just("a" * 64) | st.just("a" * 65),
    st.sampled_from(
        [
            "example.com",
            "EX.org",
            "localhost",
            "a-.com",
            "-a.com",
            "xn--bcher-kva.example",
            "xn--x",
            "1.2.3.4",
            "x..y",
            ".x.com",
        ]
    )
    | st.text("aZ9.-_", max_size=12)
    | st.just(".".join(["b" * 60] * 4)),
)
def test_a_plain_address_is_judged_as_the_library_judges_it(local, domain):
    try:
        found = validate_email(f"{local}@{domain}", check_deliverability=False)
        expected = f"{found.local_part}@{found.ascii_domain.lower()}"
    except EmailNotValidError:
        expected = None
    try:
        normal = normal_email(f"{local}@{domain}")
    except BadAddress:
        normal = None
    assert normal == expected
