"""Bodies that the description does not know: charsets, content encodings, broken parts."""

from dataclasses import dataclass

from hypothesis import strategies as st

CODECS = st.sampled_from(
    ["utf-8", "undefined", "idna", "punycode", "utf-7", "utf-16", "unicode_escape", "rot13", "hex"]
)
"""Names of Python's codecs, of which a few raise for any text."""
LATIN_1 = st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")
CHARSETS = CODECS | st.text(LATIN_1, max_size=40)

MEDIA_TYPES = st.sampled_from(
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data; boundary=\xff",
        "text/html",
    ]
)
ENCODINGS = st.sampled_from(["identity", "gzip", "deflate", "br", "utf-7", "\xff"])

NAMES = ["username", "password", "email", "title", "price", "csrf_token", "ticketId", "orderId"]

VALUES = st.sampled_from([b"x", b"+2AA-", b"\\ud800", b"%ff", b"\xff"]) | st.binary(max_size=20)


def _multipart(fields: dict[str, bytes], headers: bytes) -> bytes:
    parts = (
        b'--b\r\n%sContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (headers, name.encode(), value)
        for name, value in fields.items()
    )
    return b"".join(parts) + b"--b--\r\n"


PART_HEADERS = st.sampled_from(
    [
        b"",
        b"Content-Type: text/plain; charset=undefined\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
    ]
)
MULTIPARTS = st.builds(
    _multipart,
    st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3),
    PART_HEADERS,
)
PIECES = st.sampled_from(
    [
        b"--b",
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n",
        b"\n",
        b"Content-Disposition: form-data; ",
        *(f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() for name in NAMES),
        b'name="x"',
        b'; filename="x"',
        b"; name*=undefined''%ff",
        b"Content-Type: text/plain; charset=undefined\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        *(f"{name}=".encode() for name in NAMES),
        b"%ff",
        b"%zz",
        b"&",
        b"+2AA-",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"\xff",
        b"\0",
        b'{"title": ',
        b'{"email": ',
        b'"\\ud800"',
        b"NaN",
        b"1e999",
        b"9" * 5_000,
        b"[" * 10_000,
        b"}",
    ]
)


@dataclass(frozen=True)
class RawBody:
    """A body as bytes, and what the headers say of it."""

    headers: dict[str, str | bytes]
    content: bytes


def _labelled(media_type: str, charsets: list[str], encodings: list[str], body: bytes) -> RawBody:
    content_type = "; ".join([media_type, *(f"charset={charset}" for charset in charsets)])
    headers: dict[str, str | bytes] = {"Content-Type": content_type.strip().encode("latin-1")}
    if encodings:
        headers["Content-Encoding"] = ", ".join(encodings).encode("latin-1")
    return RawBody(headers, body)


LABELS = st.lists(CODECS, max_size=1) | st.lists(CHARSETS, max_size=2)
CODINGS: st.SearchStrategy[list[str]] = st.just([]) | st.lists(ENCODINGS, max_size=1)

PLAUSIBLE = st.builds(
    _labelled, st.just("multipart/form-data; boundary=b"), LABELS, CODINGS, MULTIPARTS
)
TRUNCATED = st.tuples(MULTIPARTS, st.integers(0, 100)).map(lambda cut: cut[0][: cut[1]])
BROKEN = TRUNCATED | st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=50)

raw_bodies: st.SearchStrategy[RawBody] = PLAUSIBLE | st.builds(
    _labelled, MEDIA_TYPES, LABELS, CODINGS, BROKEN
)
