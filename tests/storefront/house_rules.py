"""What every answer keeps, whatever it says; a browser of these tests accepts nothing less."""

import json
import re
from collections import Counter
from urllib.parse import parse_qs, urljoin, urlsplit

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx import Response

from api.resources import resources_of
from api.storefront import routes
from api.storefront.assets import asset
from api.storefront.form_tokens import CSRF_FIELD
from tests.storefront.html import Element, parse
from ticketing.settings import STRIPE_API, StripeBrowserSettings

Policy = dict[str, list[str]]

ROUTES = [
    (re.compile(re.sub(r"{\w+}", "[^/]+", route.path or "")), route.methods or set())
    for route in iter_route_contexts(routes.router.routes)
]
"""The paths of all pages, and the methods that they answer."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
}
NOTHING_ELSE = {
    "default-src": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}
OWN = {*NOTHING_ELSE, "script-src", "style-src", "img-src", "connect-src", "form-action"}
"""Directives of a page that needs nobody but us."""

STRIPES_HOSTS = {
    "script-src": {"https://js.stripe.com", "https://*.js.stripe.com"},
    "frame-src": {
        "https://js.stripe.com",
        "https://*.js.stripe.com",
        "https://hooks.stripe.com",
    },
    "connect-src": {"https://api.stripe.com"},
    "img-src": {"https://*.stripe.com"},
}
"""https://docs.stripe.com/security/guide#content-security-policy"""

ORDER_PAGE = re.compile("/orders/[0-9a-f]{24}")
TREE = "tests.storefront.html"
SECRET = re.compile("client_secret|_secret_")

LOADS = {"script": ("src", "script-src"), "link": ("href", "style-src"), "img": ("src", "img-src")}
ASKS = "hx-get"

FOLLOWED = {"action", "formaction", "href", "poster", "src", "srcset"}
RUNS = re.compile(r"\b(javascript|js|data|vbscript):", re.IGNORECASE)


class HouseRules:
    """The rules of one app."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def check(self, answer: Response) -> None:
        """A response hook."""
        await answer.aread()
        if answer.url.host != "localhost":
            return  # Stripe's sandbox
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, f"{answer.url}: {name}"
        if not answer.url.path.startswith("/static"):
            assert answer.headers["Cache-Control"] == "no-store", answer.url
        if answer.has_redirect_location:
            self._check_redirect(answer)
        elif answer.request.method == "HEAD":
            assert answer.headers["Content-Type"].startswith("text/html")
            policy_of(answer)
        elif answer.headers.get("Content-Type", "").startswith("text/html"):
            self._check_page(answer)
        else:
            is_for_people = "text/html" in answer.request.headers["Accept"]
            assert not is_for_people or answer.status_code == 204, answer.text

    def _check_redirect(self, answer: Response) -> None:
        assert answer.status_code == 303
        location = answer.headers["Location"]
        to = urlsplit(urljoin(str(answer.url), location))
        if to.netloc == "localhost":
            assert location.startswith("/"), location
            assert not location.startswith("//"), location
            assert not SECRET.search(location), location
        else:
            assert f"{to.scheme}://{to.netloc}" == self._sandbox, location

    @property
    def _sandbox(self) -> str | None:
        stripe: StripeBrowserSettings = resources_of(self._app).settings.stripe
        return None if stripe.api_base == STRIPE_API else stripe.api_base

    def _check_page(self, answer: Response) -> None:
        root = tree_of(answer)
        policy = policy_of(answer)
        self._check_policy(policy, answer)
        _check_scripts(root)
        _check_ids(root)
        for element in root.elements():
            self._check_what_is_loaded(element, policy)
            self._check_where_it_leads(element)
        for form in root.all("form"):
            self._check_form(form, policy)
        if not answer.text.lstrip().startswith("<li"):  # a part of a list
            _check_frame(root)

    def _check_policy(self, policy: Policy, answer: Response) -> None:
        allowed = self._needed_elsewhere(answer)
        assert OWN <= policy.keys() <= OWN | allowed.keys()
        for directive, sources in policy.items():
            expected = set(
                NOTHING_ELSE.get(directive, [] if directive == "frame-src" else ["'self'"])
            )
            assert set(sources) == expected | allowed.get(directive, set()), (directive, sources)

    def _needed_elsewhere(self, answer: Response) -> dict[str, set[str]]:
        """Who else has a part in the page: Stripe, or its sandbox, where cards are taken."""
        stripe: StripeBrowserSettings = resources_of(self._app).settings.stripe
        is_order = answer.status_code == 200 and ORDER_PAGE.fullmatch(answer.url.path)
        if is_order and self._sandbox is not None:
            return {"connect-src": {self._sandbox}, "form-action": {self._sandbox}}
        return STRIPES_HOSTS if is_order and stripe.publishable_key is not None else {}

    def _check_what_is_loaded(self, element: Element, policy: Policy) -> None:
        if element.name not in LOADS:
            return
        attribute, directive = LOADS[element.name]
        url = urlsplit(element[attribute])
        if url.netloc:
            assert f"{url.scheme}://{url.netloc}" in policy[directive], element
        else:
            name = url.path.removeprefix("/static/")
            assert element[attribute] == asset(name), f"{element} is no file of this version"

    def _check_where_it_leads(self, element: Element) -> None:
        attributes = ["href", ASKS] if element.name == "a" else [ASKS]
        for address in (element[name] for name in attributes if name in element):
            is_right_here = address.startswith("#")
            if not is_right_here and not self._is_at_the_bank(address):
                assert self.leads_somewhere("GET", address), f"{element} leads nowhere"

    def _is_at_the_bank(self, address: str) -> bool:
        if self._sandbox is None or not address.startswith(f"{self._sandbox}/authenticate?"):
            return False
        (back,) = parse_qs(urlsplit(address).query)["return_url"]
        assert back.startswith("http://localhost/"), back
        return self.leads_somewhere("GET", back.removeprefix("http://localhost"))

    def _check_form(self, form: Element, policy: Policy) -> None:
        if "action" not in form:  # Stripe's own: a script sends it
            assert form.get("id") == "stripe-card"
            return
        method, action = form["method"].upper(), form["action"]
        tokens = [e for e in form.elements() if e.get("name") == CSRF_FIELD]
        if urlsplit(action).netloc:
            assert self._sandbox is not None
            assert action.startswith(self._sandbox)
            assert self._sandbox in policy["form-action"]
            assert not tokens, "our token goes to somebody else"
            return
        assert self.leads_somewhere(method, action), f"{form} leads nowhere"
        assert [bool(e["value"]) for e in tokens] == ([True] if method == "POST" else [])
        assert all(e["type"] == "hidden" for e in tokens)

    def leads_somewhere(self, method: str, address: str) -> bool:
        """Whether we have a page there, and under no other site's name."""
        url = urlsplit(address)
        is_ours = not url.scheme and not url.netloc and url.path.startswith("/")
        return is_ours and any(
            method in methods and path.fullmatch(url.path) for path, methods in ROUTES
        )


def tree_of(answer: Response) -> Element:
    """The page that was answered; it is read once."""
    tree: Element = answer.extensions.setdefault(TREE, None) or parse(answer.text)
    answer.extensions[TREE] = tree
    return tree


def policy_of(answer: Response) -> Policy:
    """The answer's content security policy, by directive."""
    parts = (part.split() for part in answer.headers["Content-Security-Policy"].split(";"))
    policy = [(name, sources) for name, *sources in parts]
    assert len(policy) == len(dict(policy)), "of a directive that comes twice, one does not count"
    return dict(policy)


def _check_scripts(root: Element) -> None:
    """Nothing in the page itself is run: not even a browser without the policy would."""
    for element in root.elements():
        assert element.name not in {"style", "base", "object", "embed", "iframe"}, element
        assert element.name != "script" or ("src" in element and not element.children), element
        for name, value in element.attributes.items():
            assert name != "style", element
            assert not name.startswith(("on", "hx-on")), element
            is_followed = name in FOLLOWED or name.startswith("hx-")
            assert not (is_followed and RUNS.search(value)), element


def _check_ids(root: Element) -> None:
    ids = Counter(e["id"] for e in root.elements() if "id" in e)
    assert [id for id, times in ids.items() if times > 1] == []
    for element in root.elements():
        for attribute in ("for", "aria-describedby", "aria-labelledby"):
            assert set(element.get(attribute).split()) <= ids.keys(), element
    labelled = {label["for"] for label in root.all("label") if "for" in label}
    for element in root.elements():
        is_typed = element.name == "select" or (
            element.name == "input" and element.get("type") not in {"hidden", "radio"}
        )
        assert not is_typed or element["id"] in labelled, f"{element} has no label"


def _check_frame(root: Element) -> None:
    """The page looks like the others, and only trusted scripts see htmx's ways to run text."""
    assert root.one("html")["lang"] == "en"
    assert root.one("title").text.endswith(" · Holdfast")
    assert root.one("title").text != "· Holdfast"
    for part in ("header", "main", "footer", "h1"):
        root.one(part)
    for configuration in root.all("meta", name="htmx-config"):
        settings = json.loads(configuration["content"])
        assert settings["allowEval"] is False
        assert settings["includeIndicatorStyles"] is False
