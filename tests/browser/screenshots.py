"""`make screenshots`: every page, in each of its main states, on a desktop and on a phone.

A few of the pictures belong to the documentation and are kept in the repository (KEPT); the rest
is for whoever changes the pages, and is not.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Page, ViewportSize

from devstack.demo import fill_market
from devstack.process import REPOSITORY
from tests.browser.chromium import running_chromium
from tests.browser.market import running_market
from tests.browser.person import People
from tests.browser.tour import ROUNDS, Stop, paying_with_stripe

PICTURES = REPOSITORY / "docs" / "screenshots"
KEPT = frozenset(
    {
        "browse-desktop",
        "browse-desktop-dark",
        "browse-phone",
        "order-payable-desktop",
        "order-payable-phone",
        "order-checking-desktop",
        "order-at-the-bank-phone",
        "order-completed-desktop",
    }
)
OTHERS = PICTURES / "all"

PICTURED = tuple(round for round in ROUNDS if round is not paying_with_stripe)
"""With a stand-in for Stripe's form there is nothing to see."""

DEVICES: dict[str, tuple[ViewportSize, Literal["css", "device"]]] = {
    "desktop": ({"width": 1200, "height": 750}, "css"),
    "phone": ({"width": 390, "height": 844}, "device"),
}
"""How large, and whether in points or in the finer pixels of the device."""
DARK = frozenset({"browse", "order-payable", "order-completed"})
"""Stops that are pictured in the dark as well."""


async def main() -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    OTHERS.mkdir(parents=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_market(Path(directory)) as market,
    ):
        fill_market(market.url)
        async with running_chromium() as browser:
            for round in PICTURED:
                people = People(browser, market, pixels_per_point=2)
                async for stop in round(people):
                    await _take_pictures(stop)
                await people.go_home()
    sys.stdout.write(f"The pictures are in {PICTURES.relative_to(REPOSITORY)}.\n")


async def _take_pictures(stop: Stop) -> None:
    for device in DEVICES:
        await _take_picture(stop.page, f"{stop.name}-{device}", device)
        if stop.name in DARK:
            await stop.page.emulate_media(color_scheme="dark")
            await _take_picture(stop.page, f"{stop.name}-{device}-dark", device)
            await stop.page.emulate_media(color_scheme="light")


async def _take_picture(page: Page, name: str, device: str) -> None:
    size, scale = DEVICES[device]
    await page.set_viewport_size(size)
    await page.evaluate("scrollTo(0, 0)")
    directory = PICTURES if name in KEPT else OTHERS
    await page.screenshot(path=directory / f"{name}.png", scale=scale)


if __name__ == "__main__":
    asyncio.run(main())
