"""Attachments are fetched from public addresses only, in whatever way an address is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.link import link_fault, link_faults
from pipeline.domain.work import Attachment

PUBLIC = [
    "https://files.example.com/a.pdf",
    "https://files.example.com:8443/a.pdf?x=http://127.0.0.1#y",
    "https://münchen.example/a",
    "https://8.8.8.8/a",
    "https://[2606:4700:4700::1111]/a",
    "https://files.example.com./a",
    "https://xn--mnchen-3ya.de/a",
    "https://1.example.com/a",
    "https://local.example.com/a",
    "https://myinternal.com/a",
    "https://134744072/a",
    "https://0x08080808/a",
    "https://files.example.com/@a",
    "https://files.example.com/%20a",
    "HTTPS://FILES.EXAMPLE.COM/a",
    "https://a_b.s3.amazonaws.com/x",
    "https://[64:ff9b::808:808]/a",
]
PRIVATE = [
    "http://files.example.com/a",
    "ftp://files.example.com/a",
    "file:///etc/passwd",
    "//files.example.com/a",
    "https:files.example.com",
    "",
    "https://user@files.example.com/a",
    "https://user:pw@files.example.com/a",
    "https://files.example.com@127.0.0.1/a",
    "https://@files.example.com/",
    "https://localhost/a",
    "https://localhost./a",
    "https://LOCALHOST:8080/a",
    "https://a.localhost/a",
    "https://localhost.localdomain/",
    "https://127.0.0.1/a",
    "https://127.0.0.1./a",
    "https://127.1/a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://0x7f.1/a",
    "https://0177.0.0.1/a",
    "https://017700000001/a",
    "https://0/a",
    "https://0.0.0.0/",
    "https://127.0.0.1:443/a",
    "https://0x7f.0x0.0x0.0x1/",
    "https://00000177.0.0.01/",
    "https://10.0.0.1/a",
    "https://10.1/",
    "https://172.16.0.1/a",
    "https://192.168.1.1/a",
    "https://192.168.257/",
    "https://169.254.169.254/latest/meta-data",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://[::1]/a",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/a",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[fe80::1]/a",
    "https://[fe80::1%25eth0]/a",
    "https://[fe80::1%eth0]/",
    "https://[fd00:ec2::254]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[2001:db8::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[::1",
    "https://[example.com]/",
    "https://::1/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://metadata/",
    "https://instance-data/",
    "https://instance-data.ec2.internal/",
    "https://kubernetes.default.svc.cluster.local/",
    "https://printer.local/",
    "https://nas/",
    "https://router.lan/",
    "https://x.home.arpa/",
    "https://wiki.corp/",
    "https://intranet/",
    "https://127.0.0.1.nip.io/",
    "https://x.lvh.me/",
    "https://a.test/",
    "https://１２７.０.０.１/",
    "https://127。0。0。1/",
    "https://ⓛocalhost/",
    "https://%31%32%37.0.0.1/",
    "https://loc%61lhost/",
    "https://127.0.0.1%2f.example.com/",
    "https://files.example.com\\@127.0.0.1/",
    "https:\\\\127.0.0.1\\",
    "https://127.0.0.1\t/",
    "https://exa\nmple.com/",
    "https://files.example.com/a b",
    "https://files.example.com/\x00",
    "https:///a",
    "https://",
    "https://.",
    "https://..",
    "https://a..example.com/",
    "https://:443/",
    "https://files.example.com:99999/",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    "https://0x/",
    "https://08.8.8.8/",
    "https://99999999999/",
    "https://foo.0x7f000001/",
    "https://9.foo.1/",
]


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_address_may_be_fetched_from(url):
    assert link_fault(url) is None


@pytest.mark.parametrize("url", PRIVATE)
def test_what_is_not_public_is_refused_by_name(url):
    assert link_fault(url)
    (said,) = link_faults([Attachment("a"), Attachment("b", url=url)], "public")
    assert said.startswith("attachments[1].url ")
    assert list(link_faults([Attachment("b", url=url)], "any")) == []


@given(st.integers(0, 2**32 - 1), st.sampled_from(["dec", "hex", "oct", "dotted", "mixed", "v6"]))
def test_an_address_is_the_same_however_it_is_written(number, form):
    parts = [(number >> shift) & 255 for shift in (24, 16, 8, 0)]
    dotted = ".".join(map(str, parts))
    said = {
        "dec": str(number),
        "hex": f"{number:#x}",
        "oct": f"0{number:o}" if number else "0",
        "dotted": dotted,
        "mixed": f"{parts[0]:#x}.0{parts[1]:o}.{(parts[2] << 8) + parts[3]}",
        "v6": f"[::ffff:{dotted}]",
    }[form]
    assert (link_fault(f"https://{said}/") is None) is (link_fault(f"https://{dotted}/") is None)


@given(st.text(max_size=60))
def test_no_text_breaks_it(text):
    link_fault(f"https://{text}")
    link_fault(text)
