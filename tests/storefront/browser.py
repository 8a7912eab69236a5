"""A browser without JavaScript: opens pages, follows links, sends forms, keeps cookies."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Self
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, AsyncHTTPTransport, Response

from tests.storefront.house_rules import HouseRules, tree_of
from tests.storefront.html import Element

SITE = "http://localhost"
"""Where the pages are; a name of this very machine, since the sandbox sends buyers nowhere else."""

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
MOST_REDIRECTS = 5

TYPED = frozenset(["", "email", "password", "search", "text"])


class Browser:
    """Somebody's browser. Every answer that it sees has to keep the house rules."""

    def __init__(self, app: FastAPI, *, address: str = "127.0.0.1") -> None:
        self.app = app
        self.http = AsyncClient(
            # For Stripe's sandbox, which is no stranger; to load certificates takes 50 ms.
            transport=AsyncHTTPTransport(verify=False),
            trust_env=False,
            mounts={SITE: ASGITransport(app, client=(address, 4711))},
            base_url=SITE,
            event_hooks={"response": [HouseRules(app).check]},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def open(self, address: str, *, follow: bool = True, came_from: str = "") -> "Page":
        """Go to an address, and on to where it leads."""
        return await self._go("GET", address, follow=follow, came_from=came_from)

    async def send(
        self,
        address: str,
        fields: dict[str, str],
        *,
        follow: bool = True,
        came_from: str = "",
        origin: str = SITE,
    ) -> "Page":
        """Post a form, and go on to where that leads."""
        return await self._go(
            "POST", address, fields, follow=follow, came_from=came_from, origin=origin
        )

    async def ask_for_part(self, address: str) -> Response:
        """What htmx does: ask for a part of the page that is open."""
        return await self.http.get(address, headers={"HX-Request": "true", "Accept": "*/*"})

    async def _go(
        self,
        method: str,
        address: str,
        fields: dict[str, str] | None = None,
        *,
        follow: bool,
        came_from: str,
        origin: str = "",
    ) -> "Page":
        said = {"Accept": ACCEPT, "Referer": came_from, "Origin": origin}
        headers = {name: value for name, value in said.items() if value}
        answer = await self.http.request(method, address, data=fields, headers=headers)
        way = [answer]
        while follow and answer.next_request is not None:
            assert len(way) <= MOST_REDIRECTS, [str(seen.url) for seen in way]
            answer = await self.http.get(answer.next_request.url, headers={"Accept": ACCEPT})
            way.append(answer)
        return Page(self, answer, tuple(way))


@dataclass(frozen=True)
class Page:
    """What the browser shows."""

    browser: Browser
    response: Response
    way: tuple[Response, ...]
    """The answers that led here, this one's last."""

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def url(self) -> str:
        return str(self.response.url)

    @property
    def address(self) -> str:
        """Path and query, if it is a page of ours."""
        return self.url.removeprefix(SITE)

    @property
    def goes_to(self) -> str:
        """Where a redirect that was not followed leads."""
        assert self.status == 303, self.response.text
        return self.response.headers["Location"]

    @cached_property
    def root(self) -> Element:
        return tree_of(self.response)

    @property
    def title(self) -> str:
        return self.root.one("title").text

    @property
    def heading(self) -> str:
        return self.root.one("h1").text

    @property
    def text(self) -> str:
        """Everything below the header that can be read."""
        return self.root.one("main").text

    @property
    def alert(self) -> str:
        """What the page says aloud because something is wrong."""
        return " ".join(filter(None, (e.text for e in self.root.all(role="alert"))))

    @property
    def notice(self) -> str:
        """What it says because something was done."""
        return " ".join(e.text for e in self.root.all("p", class_="notice"))

    def error(self, name: str) -> str:
        """What is wrong with a field, as it is tied to the field."""
        (field,) = self.root.all("input", name=name)
        told = [self.root.one(id=id) for id in field.get("aria-describedby").split()]
        errors = [e.text for e in told if "error" in e.classes]
        assert bool(errors) == (field.get("aria-invalid") == "true")
        return " ".join(errors)

    def form(self, action: str) -> "Form":
        """The form that is sent to an address that ends so."""
        found = [f for f in self.root.all("form") if f.get("action").endswith(action)]
        assert len(found) == 1, f"{len(found)} forms for {action} at {self.address}"
        return Form(self, found[0])

    def has_form(self, action: str) -> bool:
        return any(f.get("action").endswith(action) for f in self.root.all("form"))

    def link(self, text: str) -> str:
        """Where a link with this text leads, above all one below the header."""
        main = [a for a in self.root.one("main").all("a") if a.text == text]
        (link,) = main or [a for a in self.root.all("a") if a.text == text]
        return urljoin(self.url, link["href"])

    def has_link(self, text: str) -> bool:
        return any(a.text == text for a in self.root.all("a"))

    def links(self) -> list[str]:
        """Where all links lead, each once."""
        return list(dict.fromkeys(urljoin(self.url, a["href"]) for a in self.root.all("a")))

    async def follow(self, text: str) -> "Page":
        return await self.browser.open(self.link(text), came_from=self._referer())

    async def reload(self) -> "Page":
        return await self.browser.open(self.url)

    def _referer(self) -> str:
        return urldefrag(self.url).url if self.url.startswith(SITE) else ""


@dataclass(frozen=True)
class Form:
    """A form on a page, with what is in its fields."""

    page: Page
    element: Element
    typed: dict[str, str] = field(default_factory=dict)

    def fill(self, **values: str) -> "Form":
        """Type into fields, or choose from them, as far as people can."""
        for name, value in values.items():
            fields = [e for e in self.element.elements() if e.get("name") == name]
            assert fields, f"there is no field {name}"
            assert all(_takes(e, value) for e in fields) or _can_choose(fields, value), fields
        return Form(self.page, self.element, {**self.typed, **values})

    def forge(self, **values: str) -> "Form":
        """Change what people cannot, hidden fields included."""
        return Form(self.page, self.element, {**self.typed, **values})

    def without(self, name: str) -> "Form":
        """Leave a field out."""
        return Form(self.page, self.element, {**self.typed, name: _LEFT_OUT})

    @property
    def values(self) -> dict[str, str]:
        """What is sent."""
        found = {
            e["name"]: value
            for e in self.element.elements()
            if "name" in e and (value := _value(e)) is not None
        }
        return {k: v for k, v in (found | self.typed).items() if v is not _LEFT_OUT}

    async def send(self, *, follow: bool = True, by: Browser | None = None) -> Page:
        """Press the form's button."""
        browser, came_from = by or self.page.browser, self.page._referer()
        address = urljoin(self.page.url, self.element["action"])
        if self.element.get("method") == "post":
            origin = SITE if came_from else "null"
            return await browser.send(
                address, self.values, follow=follow, came_from=came_from, origin=origin
            )
        query = urlsplit(address)._replace(query=urlencode(self.values)).geturl()
        return await browser.open(query, follow=follow, came_from=came_from)


_LEFT_OUT = "(left out)"


def _value(element: Element) -> str | None:
    """What an element adds to the form, if it does."""
    if element.name == "select":
        options = element.all("option")
        chosen = [option for option in options if "selected" in option] or options[:1]
        return chosen[0]["value"]
    if element.get("type") in {"radio", "checkbox"} and "checked" not in element:
        return None
    return element.get("value") if element.name == "input" else None


def _takes(element: Element, value: str) -> bool:
    if element.name == "select":
        return any(option["value"] == value for option in element.all("option"))
    return element.name == "input" and element.get("type") in TYPED


def _can_choose(fields: list[Element], value: str) -> bool:
    radios = [e for e in fields if e.get("type") == "radio"]
    return radios == fields and any(e["value"] == value for e in radios)
