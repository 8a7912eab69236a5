"""Every page, in each of its states: no fault that axe can find, and no scrolling sideways."""

from typing import Any, Literal, NamedTuple

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped] # it ships no types
from playwright.async_api import Page, ViewportSize

from tests.browser.person import People
from tests.browser.tour import ROUNDS, Round, accounts

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}

EVERYTHING = {"rules": {"target-size": {"enabled": True}}}
WHAT_LOOKS_DECIDE = {"runOnly": ["color-contrast", "target-size"]}
"""All that another colour scheme or width can change, once both have been looked at in full."""


class Look(NamedTuple):
    """How a page is shown, and what is then looked at."""

    scheme: Literal["light", "dark"]
    size: ViewportSize
    options: dict[str, Any]


LOOKS = (
    Look("light", DESKTOP, EVERYTHING),
    Look("dark", DESKTOP, WHAT_LOOKS_DECIDE),
    Look("light", PHONE, WHAT_LOOKS_DECIDE),
    Look("dark", PHONE, EVERYTHING),
)


@pytest.mark.timeout(600)  # axe reads every page four times, and the machine may be busy
@pytest.mark.parametrize(
    "round",
    [
        pytest.param(round, id=round.__name__, marks=() if round is accounts else pytest.mark.long)
        for round in ROUNDS
    ],
)
async def test_pages_have_no_fault_in_light_and_dark_on_a_desktop_and_a_phone(
    people: People, round: Round
) -> None:
    faults = [
        f"{stop.name}: {fault}" async for stop in round(people) for fault in await found(stop.page)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.long
async def test_faults_are_found(people: People) -> None:
    """The control: a page with a fault of each kind."""
    visitor = await people.visitor()
    await visitor.opens("/signin")
    await visitor.page.evaluate("""() => {
        document.querySelector("label[for=email]").remove();
        document.querySelector(".bottom p").style.color = "#777";
        document.querySelector(".brand").style.minWidth = "120vw";
        for (const name of ["tiny", "very tiny"]) {
            const button = Object.assign(document.createElement("button"), {ariaLabel: name});
            button.style = "width: 9px; height: 9px; min-height: 0; padding: 0";
            document.querySelector("h1").after(button);
        }
    }""")
    faults = "\n".join(await found(visitor.page))
    for fault in ("label", "color-contrast", "target-size", "px too wide"):
        assert fault in faults
    for scheme in ("light", "dark"):
        assert f"{scheme}, 360 px: color-contrast" in faults


async def found(page: Page) -> list[str]:
    """The faults of a page, however it is shown."""
    await page.evaluate(AXE_SCRIPT)
    faults = []
    for look in LOOKS:
        await page.emulate_media(color_scheme=look.scheme)
        await page.set_viewport_size(look.size)
        shown = f"{look.scheme}, {look.size['width']} px"
        faults += [f"{shown}: {fault}" for fault in await _axe(page, look.options)]
        faults += [f"{shown}: {fault}" for fault in await _overflow(page)]
    return faults


async def _axe(page: Page, options: dict[str, Any]) -> list[str]:
    results = await page.evaluate(
        "(options) => axe.run(options)", {"resultTypes": ["violations"], **options}
    )
    return [
        f"{violation['id']}: {node['html']}: {node['failureSummary']}"
        for violation in results["violations"]
        for node in violation["nodes"]
    ]


async def _overflow(page: Page) -> list[str]:
    beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"{beyond} px too wide"] if beyond > 0 else []
