"""`next`: after signing in people come back to where they were, and never anywhere else."""

from urllib.parse import quote, urljoin, urlsplit

import pytest
from fastapi import FastAPI

from tests.api.conftest import PASSWORD
from tests.storefront.browser import SITE, Browser
from tests.storefront.conftest import make_account

EMAIL = "ada@example.com"

ELSEWHERE = [
    "https://evil.example/",
    "http://evil.example",
    "HTTPS://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "//evil.example",
    "//evil.example/%2f..",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\x01https://evil.example",
    "/\x0b/evil.example",
    "/\x00/evil.example",
    "/\u2028/evil.example",
    "/\u200b/evil.example",
    "/\ufeff/evil.example",
    "/x\r\nSet-Cookie: session=stolen",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "\tjavascript:alert(1)",
    "java\nscript:alert(1)",
    "/javascript:alert(1)\n",
    "data:text/html,<script>alert(1)</script>",
    "evil.example",
    "@evil.example",
    "?x=1",
    "#x",
    ".",
    "",
    "/" + "x" * 5_000,
]
"""What leads elsewhere, or is no plain path; some of it only in the eyes of some browsers."""

STAYS = [
    "/",
    "/sell",
    "/?q=berlin&sort=price",
    "/%09/evil.example",
    "/%2f/evil.example",
    "/%5cevil.example",
    "/.//evil.example",
    "/..//evil.example",
    "/@evil.example",
    "/https://evil.example",
    "/?next=https://evil.example",
    "/tickets/6740f3a2c1b5d94e8f1a2b3c?q=%E2%82%AC",
    "/?q=Motörhead €",
]
"""Paths of ours, whatever they look like."""


def as_a_browser_reads(location: str) -> str:
    """The host that it leads to, from a page of ours (WHATWG URL, sections 4.4 and 4.5)."""
    without_breaks = location.strip("".join(map(chr, range(33)))).translate(
        {ord(character): None for character in "\t\r\n"}
    )
    return urlsplit(urljoin(f"{SITE}/signin", without_breaks.replace("\\", "/"))).netloc


@pytest.mark.long
def test_the_reading_is_as_suspicious_as_a_browsers() -> None:
    hosts = {as_a_browser_reads(address) for address in ELSEWHERE}
    assert "evil.example" in hosts
    assert as_a_browser_reads("/\t/evil.example") == "evil.example"
    assert as_a_browser_reads("/\\evil.example") == "evil.example"
    assert as_a_browser_reads("/%09/evil.example") == "localhost"


async def _ways_out(visitor: Browser, seller: Browser, next: str) -> list[str]:
    """Where each page leads that is given a `next`."""
    query = quote(next, safe="")
    page = await visitor.open(f"/signin?next={query}")
    shown = page.form("/signin").values["next"]
    other = await visitor.open(page.link("Sign up"))
    assert other.form("/signup").values["next"] == shown
    form = page.form("/signin").fill(email=EMAIL, password=PASSWORD)
    # Once as the page has it, and once as somebody has put it into the form.
    entered = [await f.send(follow=False) for f in (form, form.forge(next=next))]
    # And for somebody who is signed in already.
    passed = [await seller.open(f"{p}?next={query}", follow=False) for p in ("/signin", "/signup")]
    return [shown, *(answer.goes_to for answer in [*entered, *passed])]


@pytest.mark.long
@pytest.mark.parametrize("next", ELSEWHERE, ids=lambda next: repr(next)[:30])
async def test_nobody_is_led_elsewhere(
    app: FastAPI, visitor: Browser, seller: Browser, next: str
) -> None:
    await make_account(app, EMAIL)
    ways = await _ways_out(visitor, seller, next)
    assert ways == ["/"] * len(ways)


@pytest.mark.long
@pytest.mark.parametrize("next", STAYS, ids=lambda next: repr(next)[:30])
async def test_a_path_of_ours_is_gone_to(
    app: FastAPI, visitor: Browser, seller: Browser, next: str
) -> None:
    await make_account(app, EMAIL)
    shown, *ways = await _ways_out(visitor, seller, next)
    assert shown == next
    for way in ways:
        assert way == quote(next, safe=":/%#?=@[]!$&'()*+,;")
        assert as_a_browser_reads(way) == "localhost"


@pytest.mark.long
async def test_a_page_for_people_with_an_account_leads_to_signing_in_and_back(
    app: FastAPI, visitor: Browser
) -> None:
    await make_account(app, EMAIL)
    page = await visitor.open("/listings?cursor=abc&done=withdrawn")
    assert page.address == "/signin?next=/listings%3Fcursor%3Dabc%26done%3Dwithdrawn"
    page = await page.form("/signin").fill(email=EMAIL, password=PASSWORD).send()
    assert page.address == "/listings?cursor=abc&done=withdrawn"


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "next"),
    [
        ("/orders/a%20b", "/orders/a%20b"),
        ("/orders/%0d%0aSet-Cookie:%20a=b", "/orders/%0D%0ASet-Cookie%3A%20a%3Db"),
        ("/listings?a=%09%0a%00%5c", "/listings?a=%09%0a%00%5c"),
        ("/listings?" + "x" * 5_000, "/"),
    ],
    ids=lambda value: value[:20],
)
async def test_whatever_is_asked_for_without_a_session_is_a_plain_path_to_come_back_to(
    visitor: Browser, path: str, next: str
) -> None:
    page = await visitor.open(path)
    assert page.status == 200
    assert page.form("/signin").values["next"] == next
