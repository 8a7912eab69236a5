"""Chromium, as the tests and the pictures start it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ARGUMENTS = (
    "--no-sandbox",  # containers run as root, where Chromium's own sandbox cannot
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The last such argument counts, so this one names what Playwright turns off as well.
    "--disable-features="
    # The pages behind an address bar that nobody sees, which take a second of each new window.
    "WebUIOmniboxPopup,WebUIOmniboxAimPopup,"
    "SpareRendererForSitePerProcess,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,"
    "MediaRouter,NetworkTimeServiceQuerying,OptimizationHints,PaintHolding,PreconnectToSearch",
)

LEFT_AS_PEOPLE_HAVE_IT = ("--disable-back-forward-cache",)
"""Playwright turns it off; but what the back button shows depends on it."""


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """A browser without a window, until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=_path(),
            args=ARGUMENTS,
            ignore_default_args=LEFT_AS_PEOPLE_HAVE_IT,
        )
        try:
            yield browser
        finally:
            await browser.close()


def _path() -> str:
    named = os.environ.get("CHROMIUM")
    found = filter(None, map(shutil.which, [named] if named else NAMES))
    path = next(found, None)
    if path is None:
        raise FileNotFoundError(f"no {named or 'Chromium'} here; `make browser` installs it")
    return path
