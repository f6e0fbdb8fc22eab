"""One rig per sender: the provider it speaks to, an account there, and touches to send."""

from __future__ import annotations

from pipeline.channels.email.sender import ResendSender
from pipeline.channels.sms.sender import TwilioSender
from pipeline.channels.whatsapp.sender import WahaSender
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.value import replace
from pipeline.domain.work import Channel, Claim, Content, Work
from pipeline.secret import Address, Secret
from tests.harness.providers import FakeResend, FakeTwilio, FakeWaha

T0 = 1_790_000_000_500


class HandClock:
    """Moved by hand; counts how often it is looked at, and can jump at one look."""

    def __init__(self):
        self.ms = T0
        self.looks = 0
        self.jump_at: int | None = None

    def __call__(self):
        self.looks += 1
        if self.looks == self.jump_at:
            self.ms += 3_600_000
        return self.ms


class Rig:
    """A sender and its provider. `count` is how many touches a claim has."""

    channel: Channel
    to = "+12125550123"
    count = 1
    by_text = False

    def __init__(self):
        self.clock = HandClock()
        self.fake = self.make_fake()
        self.senders = []

    async def sender(self, *, base_url=None, timeout_ms=5_000, **account):
        made = self.make(base_url or self.fake.base_url, timeout_ms, **account)
        await made.open()
        self.senders.append(made)
        return made

    async def close(self):
        for each in self.senders:
            await each.close()
        await self.fake.stop()

    def work(self, number=0, **content):
        said = {"body": f"hello {number}", "subject": "Hi" if self.channel is Channel.EMAIL else None, **content}
        return Work(
            f"touch:{number}",
            "spring sale",
            "lead/7",
            self.channel,
            self.to,
            "default",
            False,
            Content(**said),
            b"d" * 16,
            0,
        )

    def claim(self, sender, claim_id="c1", *, works=None, lease_ms=5_000, closes_ms=None):
        works = works or tuple(self.work(number) for number in range(self.count))
        until_ms = self.clock.ms + lease_ms
        request = sender.request(works, claim_id, until_ms, closes_ms)
        return Claim(claim_id, tuple(works), request, self.clock.ms, until_ms)

    def renewed(self, claim):
        return replace(claim, lease_until_ms=self.clock.ms + 5_000)


class WahaRig(Rig):
    channel = Channel.WHATSAPP
    engine = "NOWEB"

    def make_fake(self):
        return FakeWaha(self.clock, self.engine)

    def make(self, base_url, timeout_ms, api_key="waha-secret", engine=None):
        account = WahaAccount("default", base_url, Secret(api_key), engine or self.engine)
        return WahaSender(account, request_timeout_ms=timeout_ms, now_ms=self.clock)


class GowsRig(WahaRig):
    engine = "GOWS"


class WebjsRig(WahaRig):
    engine = "WEBJS"
    by_text = True


class WppRig(WahaRig):
    engine = "WPP"
    by_text = True


class ResendRig(Rig):
    channel = Channel.EMAIL
    to = "ada@example.com"
    count = 3

    def make_fake(self):
        return FakeResend(self.clock)

    def make(self, base_url, timeout_ms, api_key="re_secret"):
        account = ResendAccount(Secret(api_key), base_url)
        return ResendSender(account, ("us@example.com",), request_timeout_ms=timeout_ms, now_ms=self.clock)


class TwilioRig(Rig):
    channel = Channel.SMS
    by_text = True

    def make_fake(self):
        return FakeTwilio(self.clock)

    def make(self, base_url, timeout_ms, auth_token="twilio-secret", service=None, callback=None):
        told = Address.read(callback) if callback else None
        account = TwilioAccount("AC1", Secret(auth_token), None if service else "+15005550006", service, base_url, told)
        return TwilioSender(account, request_timeout_ms=timeout_ms, now_ms=self.clock)


RIGS = [WahaRig, GowsRig, WebjsRig, WppRig, ResendRig, TwilioRig]
