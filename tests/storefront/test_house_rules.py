"""The house rules themselves: each is broken here once, and each time that is noticed."""

import re

import pytest
from fastapi import FastAPI
from httpx import Request, Response

from api.storefront.card_entry import content_security_policy
from tests.storefront.browser import ACCEPT, SITE, Browser
from tests.storefront.house_rules import HEADERS, HouseRules

PAGE = """<!doctype html>
<html lang="en"><head><title>A page · Holdfast</title></head>
<body><header></header><main><h1>A page</h1>{}</main><footer></footer></body></html>"""

TOKEN = '<input type="hidden" name="csrf_token" value="x">'

ALLOWED = [
    "",
    '<a href="/sell">Sell</a> <a href="#main">Up</a>',
    f'<form method="post" action="/sell">{TOKEN}</form>',
    '<form action="/" method="get"><label for="q">Q</label><input id="q" name="q"></form>',
    '<p title="onclick javascript:">style=</p>',
]

FORBIDDEN = [
    "<script>alert(1)</script>",
    '<script src="https://evil.example/x.js"></script>',
    '<script src="/static/live.js?v=older"></script>',
    "<style>p {}</style>",
    '<p style="color: red">x</p>',
    '<p onclick="alert(1)">x</p>',
    '<p hx-on:click="alert(1)">x</p>',
    '<p hx-vals="js:{x: 1}">x</p>',
    '<a href="javascript:alert(1)">x</a>',
    '<a href=" JavaScript:alert(1)">x</a>',
    '<a href="https://evil.example/">x</a>',
    '<a href="//evil.example/">x</a>',
    '<a href="sell">x</a>',
    '<a href="/nothing">x</a>',
    '<a href="/tickets/x/gone">x</a>',
    '<p hx-get="/nothing">x</p>',
    '<form method="post" action="/sell"></form>',
    '<form method="post" action="/sell"><input type="hidden" name="csrf_token" value=""></form>',
    f'<form method="get" action="/">{TOKEN}</form>',
    f'<form method="post" action="/orders">{TOKEN}</form>',
    f'<form method="post" action="https://evil.example/">{TOKEN}</form>',
    '<input name="q">',
    '<input id="q" name="q">',
    '<p id="x"></p><p id="x"></p>',
    '<label for="nothing">x</label>',
    '<p aria-describedby="nothing">x</p>',
    "<h1>Another</h1>",
    "<p>x",
    "<p>x</b></p>",
    '<p class="x" class="y">x</p>',
    '<iframe src="/"></iframe>',
    '<base href="https://evil.example/">',
    '<meta name="htmx-config" content="{}">',
    '<meta name="htmx-config" content=\'{"includeIndicatorStyles": false, "allowEval": true}\'>',
]

POLICIES = [
    content_security_policy().replace("script-src 'self'", "script-src 'self' 'unsafe-inline'"),
    content_security_policy().replace("script-src 'self'", "script-src 'self' 'unsafe-eval'"),
    content_security_policy().replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),
    content_security_policy().replace("script-src 'self'", "script-src 'self' https:"),
    content_security_policy().replace("form-action 'self'", "form-action *"),
    content_security_policy().replace("; base-uri 'none'", ""),
    content_security_policy().replace("; frame-ancestors 'none'", ""),
    content_security_policy().replace("default-src 'none'", "default-src 'self'"),
    content_security_policy({"connect-src": "https://api.stripe.com"}),
    content_security_policy({"object-src": "'none'"}),
    f"{content_security_policy()}; script-src 'self'",
]


def answer(
    html: str = PAGE.format(""), *, policy: str = content_security_policy(), **headers: str
) -> Response:
    """An answer as somebody with a browser gets it."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    every = HEADERS | {"Cache-Control": "no-store", "Content-Security-Policy": policy} | changed
    request = Request("GET", f"{SITE}/", headers={"Accept": ACCEPT})
    return Response(200, html=html, headers=every, request=request)


@pytest.mark.parametrize("part", ALLOWED)
async def test_what_is_as_it_should_be_passes(lasting_app: FastAPI, part: str) -> None:
    await HouseRules(lasting_app).check(answer(PAGE.format(part)))


@pytest.mark.parametrize("part", FORBIDDEN)
async def test_what_a_page_must_not_have_is_noticed(lasting_app: FastAPI, part: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        await HouseRules(lasting_app).check(answer(PAGE.format(part)))


@pytest.mark.parametrize("changed", POLICIES)
async def test_a_policy_that_allows_more_or_forbids_less_is_noticed(
    lasting_app: FastAPI, changed: str
) -> None:
    assert changed != content_security_policy()
    with pytest.raises(AssertionError):
        await HouseRules(lasting_app).check(answer(policy=changed))


@pytest.mark.parametrize("name", [*HEADERS, "Cache-Control"])
async def test_a_header_that_says_something_else_is_noticed(
    lasting_app: FastAPI, name: str
) -> None:
    with pytest.raises(AssertionError):
        await HouseRules(lasting_app).check(answer(**{name: "something else"}))


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/",
        "//evil.example/",
        f"{SITE}/",
        "sell",
        "/orders/1?client_secret=x",
        "/orders/1?x=pi_1_secret_2",
    ],
)
async def test_a_redirect_that_leads_elsewhere_or_tells_a_secret_is_noticed(
    lasting_app: FastAPI, location: str
) -> None:
    sent = answer(Location=location)
    sent.status_code = 303
    with pytest.raises(AssertionError):
        await HouseRules(lasting_app).check(sent)


async def test_json_for_somebody_with_a_browser_is_noticed(lasting_app: FastAPI) -> None:
    request = Request("GET", f"{SITE}/", headers={"Accept": ACCEPT})
    headers = HEADERS | {"Cache-Control": "no-store"}
    with pytest.raises(AssertionError):
        await HouseRules(lasting_app).check(
            Response(404, json={}, headers=headers, request=request)
        )


async def test_a_browser_holds_every_answer_against_them(
    visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def less(_more: object = None) -> str:
        return content_security_policy().replace(
            "script-src 'self'", "script-src 'self' 'unsafe-inline'"
        )

    monkeypatch.setattr("api.storefront.pages.content_security_policy", less)
    with pytest.raises(AssertionError, match=re.escape("'unsafe-inline'")):
        await visitor.open("/")
