"""The demo's configuration: limits one can watch, and windows set around now so that some are open and some closed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from string import Template
from zoneinfo import ZoneInfo

HOME = "America/New_York"
BEFORE, AFTER = timedelta(hours=8), timedelta(hours=4)
"""The window around now on New York's clock: the Americas are open; Tokyo, 13 or 14 hours ahead, is asleep."""

_CONFIG = Template("""\
# Written by the demo; it lives as long as this run. Windows are set around the moment it was started.
data_dir  = "worker"
templates = "$templates"

[kafka]
bootstrap_servers = ["$kafka"]
partitions = 4
lanes = 4

[privacy]
key = "$privacy_key"

[web]
listen = "$private_listen"
public_listen = "$public_listen"
public_url = "$public_url"

[unsubscribe]
enabled = true

[channels.whatsapp]
window  = { opens = "$opens", closes = "$closes", zone = "recipient", fallback_zone = "$home" }
limit   = { rate = 4, per = "1s" }
warm_up = "none"
retry   = { first = "500ms", most = "2s" }
resolve_after = "1s"

[[channels.whatsapp.senders]]
name = "default"
lane = 0
base_url = "$sandbox/waha"
api_key = "demo"
webhook_secrets = "$waha_secret"

[channels.email]
limit = { rate = 2, per = "1s" }
batch = 5
retry = { first = "500ms", most = "2s" }

[[channels.email.senders]]
name = "default"
lane = 1
base_url = "$sandbox/resend"
api_key = "re_demo"
webhook_secrets = "$resend_secret"
from = ["Demo <demo@example.com>"]

[channels.sms]
window = { opens = "$opens", closes = "$closes", zone = "recipient", fallback_zone = "$home" }
limit  = { rate = 4, per = "1s" }
retry  = { first = "500ms", most = "2s" }
resolve_after = "1s"

[[channels.sms.senders]]
name = "default"
lane = 2
base_url = "$sandbox/twilio"
account_sid = "ACdemo"
auth_token = "demo"
webhook_secrets = "demo"
from = "+15005550006"
""")


WAHA_SECRET, RESEND_SECRET, TWILIO_TOKEN = "demo-hmac-key", "whsec_ZGVtby1zaWduaW5nLXNlY3JldA==", "demo"
"""What signs the callbacks."""
PRIVACY_KEY = "the key of the demo, which is no secret"


def config_of(kafka: str, sandbox: str, templates: str, now_s: float, *, private_port: int, public_port: int) -> str:
    """Return the configuration as TOML; `now_s` is where the windows are set, the ports are the web process's."""
    home = datetime.fromtimestamp(now_s, UTC).astimezone(ZoneInfo(HOME))
    return _CONFIG.substitute(
        kafka=kafka,
        sandbox=sandbox,
        templates=templates,
        privacy_key=PRIVACY_KEY,
        private_listen=f"127.0.0.1:{private_port}",
        public_listen=f"127.0.0.1:{public_port}",
        public_url=f"http://127.0.0.1:{public_port}",
        waha_secret=WAHA_SECRET,
        resend_secret=RESEND_SECRET,
        home=HOME,
        opens=f"{home - BEFORE:%H:%M}",
        closes=f"{home + AFTER:%H:%M}",
    )
