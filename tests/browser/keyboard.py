"""A keyboard, and what it is pointed at."""

from playwright.async_api import Page

MOST_STOPS = 60

NAME_OF_FOCUS = """() => {
    const focused = document.activeElement;
    if (focused === document.body) return "";
    const label = focused.labels?.[0]?.textContent ?? focused.ariaLabel ?? focused.textContent;
    return label.trim();
}"""

FOCUS_IS_SEEN = """() => {
    const focused = document.activeElement;
    const box = focused.getBoundingClientRect();
    const isInSight = box.width > 0 && box.height > 0
        && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
    const isOutlined = (part) => {
        const style = part && getComputedStyle(part);
        return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    };
    return isInSight && (isOutlined(focused) || isOutlined(focused.closest(".card")));
}"""
"""A card is outlined as a whole where its link has the focus."""


class Keyboard:
    """Presses keys on a page; wherever Tab stops, one must see where one is."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def press(self, key: str) -> None:
        await self._page.keyboard.press(key)

    async def type(self, text: str) -> None:
        await self._page.keyboard.type(text)

    async def tab(self) -> str:
        """Go on to the next stop; its name, or nothing after the last one."""
        await self.press("Tab")
        name = str(await self._page.evaluate(NAME_OF_FOCUS))
        if name:
            is_seen = await self._page.evaluate(FOCUS_IS_SEEN)
            assert is_seen, f"the focus on {name!r} cannot be seen"
        return name

    async def tab_to(self, name: str) -> None:
        """Go on until the focus is there."""
        for _ in range(MOST_STOPS):
            if await self.tab() == name:
                return
        raise AssertionError(f"Tab never leads to {name!r}")

    async def tab_through(self) -> list[str]:
        """Go on to the end of the page; the names of all stops."""
        names: list[str] = []
        for _ in range(MOST_STOPS):
            name = await self.tab()
            if not name:
                return names
            names.append(name)
        raise AssertionError(f"Tab goes on and on: {names}")
