"""Style sheet, scripts and icon."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from starlette.types import Message

from api.storefront import assets
from api.storefront.assets import STATIC_DIRECTORY, asset
from tests.api.conftest import assert_problem
from tests.storefront.browser import ACCEPT, Browser

A_YEAR = "public, max-age=31536000, immutable"
HTMX = "htmx-2.min.js"
OWN = sorted(path.name for path in STATIC_DIRECTORY.iterdir())

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

OUTSIDE = [
    "/static/../assets.py",
    "/static/%2e%2e/assets.py",
    "/static/..%2fassets.py",
    "/static/..%5cassets.py",
    "/static/%2e%2e%2fassets.py",
    "/static/....//assets.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/x/../../assets.py",
    "/static/%00",
    "/static/style.css%00.js",
    "/static/",
    "/static/.",
    "/static/ext",
    "/static/templates/layout.html",
    "/static/" + "x" * 300,
]


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our files, for a test to change."""
    files = Path(shutil.copytree(STATIC_DIRECTORY, tmp_path / "static"))
    monkeypatch.setattr(assets, "STATIC_DIRECTORY", files)
    asset.cache_clear()
    yield files
    asset.cache_clear()


@pytest.mark.parametrize("name", [*OWN, HTMX])
async def test_a_file_is_kept_for_a_year_and_is_what_it_says(visitor: Browser, name: str) -> None:
    answer = await visitor.http.get(asset(name))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == A_YEAR
    assert answer.headers["Content-Type"].startswith(TYPES[Path(name).suffix])
    assert "Set-Cookie" not in answer.headers
    if name in OWN:
        assert answer.content == (STATIC_DIRECTORY / name).read_bytes()


def test_the_address_of_a_file_changes_with_its_content(own_files: Path) -> None:
    before = {name: asset(name) for name in [*OWN, HTMX]}
    assert len(set(before.values())) == len(before)
    with (own_files / "style.css").open("a") as style:
        style.write("/* changed */")
    assert asset("style.css") == before["style.css"]  # a running process has read it

    asset.cache_clear()
    after = {name: asset(name) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"style.css"}


async def test_files_are_compressed_for_who_can_read_that(visitor: Browser) -> None:
    for name in ("style.css", HTMX):
        plain = await visitor.http.get(asset(name), headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        answer = await visitor.http.get(asset(name), headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["Cache-Control"] == A_YEAR
        assert answer.num_bytes_downloaded < len(plain.content) / 2
        assert answer.content == plain.content


async def test_pages_are_not_compressed_lest_their_length_tells_their_tokens(
    seller: Browser,
) -> None:
    answer = await seller.http.get("/sell", headers={"Accept": ACCEPT, "Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers


async def test_htmx_is_there_and_everything_that_the_pages_load(visitor: Browser) -> None:
    htmx = await visitor.http.get(asset(HTMX))
    assert 'version:"2.' in htmx.text
    page = await visitor.open("/")
    loaded = [
        e.get("src") or e.get("href") for e in page.root.all() if e.name in {"script", "link"}
    ]
    assert asset(HTMX) in loaded
    for address in loaded:
        assert (await visitor.http.get(address)).status_code == 200


async def ask_as_it_is(app: FastAPI, path: str) -> tuple[int, bytes]:
    """Status and body, without the tidying up of paths that a well-meaning client does."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return await asyncio.Future()  # whoever asks stays, and says nothing more

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path[:40])
async def test_nothing_else_is_served(app: FastAPI, path: str) -> None:
    status, body = await ask_as_it_is(app, path)
    assert status == 404
    assert b"urn:problem-type:holdfast:not_found" in body


async def test_control_what_may_be_served_is_served_to_the_same_question(app: FastAPI) -> None:
    status, body = await ask_as_it_is(app, "/static/style.css")
    assert (status, body) == (200, (STATIC_DIRECTORY / "style.css").read_bytes())


async def test_a_file_that_is_not_there_is_a_problem_that_nobody_keeps(visitor: Browser) -> None:
    answer = await visitor.http.get("/static/nothing.css")
    assert_problem(answer, 404, "not_found")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_files_are_only_for_reading(visitor: Browser) -> None:
    answer = await visitor.http.post("/static/style.css", content=b"x")
    assert_problem(answer, 405, "method_not_allowed")
