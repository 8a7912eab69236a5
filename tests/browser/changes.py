"""Everything that a part of a page has said, however briefly."""

from playwright.async_api import ConsoleMessage

from tests.browser.person import Person

STATUS = "#order .status"
COUNTDOWN = "#countdown"

MARK = "it says: "

LISTENER = """
    let said = null;
    const hear = () => {
        const part = document.querySelector("SELECTOR");
        const text = part && part.textContent.trim();
        if (text && text !== said) console.debug("it says: " + (said = text));
    };
    new MutationObserver(hear).observe(document, {childList: true, subtree: true});
"""


async def texts_of(person: Person, selector: str) -> list[str]:
    """What the part says from now on, on all pages to come; each text as often as it is new."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.text.startswith(MARK):
            said.append(message.text.removeprefix(MARK))

    person.page.on("console", hear)
    await person.page.add_init_script(LISTENER.replace("SELECTOR", selector))
    return said
