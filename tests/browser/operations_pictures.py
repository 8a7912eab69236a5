"""`make operations-pictures`: what the Web UI shows of orders, for docs/operations.md."""

import asyncio
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.async_api import Locator, Page, expect

from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.browser.chromium import running_chromium
from tests.operations.scenes import Market, Scene, open_market

PICTURES = REPOSITORY / "docs" / "operations"

SIDE, TOP, WIDTH = 256, 48, 1280
"""What is cut away, the navigation and the bar on top of the page, and how wide the rest is."""

METADATA = "user-metadata"
"""The tab with what a workflow says of itself."""

LOAD_SECONDS = 60


@dataclass(frozen=True)
class Shot:
    """A picture of a workflow's page, or of a list."""

    name: str
    height: int
    shows: str
    """Something that is there once the page is complete; a regular expression."""
    tab: str = ""
    """The end of its address."""
    scene: Scene | None = None
    query: str = ""


def main() -> None:
    """Bring orders into every state, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    environ = {**os.environ, "STRIPE_API_KEY": "", "PAYMENT_WAIT": "0.5"}
    with tempfile.TemporaryDirectory() as directory:
        settings = StackSettings.on_free_ports(Path(directory))
        with Stack(settings, environ) as stack, open_market(stack) as market:
            asyncio.run(_take_pictures(stack.urls["temporal_ui"], _shots(market)))
    sys.stdout.write(f"The pictures are in {PICTURES.relative_to(REPOSITORY)}.\n")


def _shots(market: Market) -> list[Shot]:
    completed = market.is_completed()
    market.is_cancelled()
    unpaid = market.waits_for_payment()
    at_the_bank = market.waits_for_the_bank()
    refused = market.waits_for_stripe()
    return [
        Shot("search", 320, "2 Workflows", query='OrderStatus = "awaiting_payment"'),
        Shot("waits-for-payment", 640, r"Waiting for payment until", METADATA, unpaid),
        Shot("waits-for-the-bank", 640, "authenticate with the bank", METADATA, at_the_bank),
        Shot("waits-for-stripe", 840, "authorize_payment", "timeline", refused),
        Shot("failing-at-stripe", 495, "PaymentOutcomeUnknown", "pending-activities", refused),
        Shot("completed", 870, "Sell the ticket|complete_order", "timeline", completed),
    ]


async def _take_pictures(ui: str, shots: list[Shot]) -> None:
    async with running_chromium() as browser:
        page = await browser.new_page(viewport={"width": SIDE + WIDTH, "height": 1000})
        page.set_default_timeout(LOAD_SECONDS * 1000)
        for shot in shots:
            await _open(page, f"{ui}/namespaces/default/workflows", shot)
            await expect(_body(page, shot)).to_contain_text(
                re.compile(shot.shows), timeout=LOAD_SECONDS * 1000
            )
            await page.screenshot(
                path=PICTURES / f"{shot.name}.png",
                animations="disabled",
                clip={"x": SIDE, "y": TOP, "width": WIDTH, "height": shot.height},
            )


async def _open(page: Page, workflows: str, shot: Shot) -> None:
    if shot.scene is None:
        await page.goto(f"{workflows}?query={quote(shot.query)}")
        return
    await page.goto(f"{workflows}/{quote(f'order:{shot.scene.order}')}")
    await page.locator(f'a[href*="/{shot.tab}"]').first.click()


def _body(page: Page, shot: Shot) -> Locator:
    content = page.locator("#content")
    if shot.tab != METADATA:
        return content
    # Texts of workflows are shown in frames, which may run nothing; the last has the details.
    return content.locator("iframe").last.content_frame.locator("body")


if __name__ == "__main__":
    main()
