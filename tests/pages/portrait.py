"""Makes docs/console.png from a console that is at work: `python -m tests.pages.portrait http://127.0.0.1:PORT` after `make up`."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.pages.conftest import CHROMIUM, PHONE, QUIET

PICTURE = Path(__file__).parents[2] / "docs" / "console.png"
HEIGHT, GAP = 780, 16


def paths_of(address: str) -> list[str]:
    """Return the pages of the portrait: a touch that waits, one that was delivered after retries, a campaign, the lanes."""
    api = httpx.Client(base_url=f"{address}/api/v1", timeout=10)
    names = [each["campaign_id"] for each in api.get("/campaigns").raise_for_status().json()["campaigns"]]
    touches = [each for name in names for each in api.get("/touches", params={"campaign": name}).json()["touches"]]
    waiting = next(each for each in touches if each["state"] == "deferred")
    delivered = [each["touch_id"] for each in touches if each["outcome"] == "delivered"]
    tried = max(delivered, key=lambda each: len(api.get(f"/touches/{each}").json()["statuses"]))
    of = waiting["campaign_id"]
    return [f"/touches/{waiting['touch_id']}", f"/touches/{tried}", f"/campaigns/{of}", "/lanes"]


def shots(browser: Browser, address: str) -> list[bytes]:
    """Return a screenshot of each page on a phone."""
    page = browser.new_page(viewport={**PHONE, "height": HEIGHT})
    found = []
    for path in paths_of(address):
        page.goto(address + path)
        if path.startswith("/campaigns/"):
            page.locator("#forecast svg").wait_for(timeout=60_000)
            page.reload()
            page.evaluate("document.getElementById('course').scrollIntoView()")
        found.append(page.screenshot())
    return found


def side_by_side(browser: Browser, pictures: list[bytes]) -> bytes:
    """Return the screenshots in a row."""
    width = len(pictures) * (PHONE["width"] + GAP) - GAP
    sources = [f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in pictures]
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    row = "".join(f'<img src="{each}">' for each in sources)
    page.set_content(f'<body style="margin:0;display:flex;gap:{GAP}px;background:#c9d1d9">{row}')
    return page.screenshot()


def main(address: str) -> None:
    """Write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        PICTURE.write_bytes(side_by_side(browser, shots(browser, address)))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
