"""HTML as a tree, read without forgiveness: what browsers would repair is an error here."""

from functools import cached_property
from html.parser import HTMLParser

_VOID = "area base br col embed hr img input link meta source track wbr"
VOID = frozenset(_VOID.split())
_INLINE = "a abbr b bdi code em i label small span strong time"
INLINE = frozenset(_INLINE.split())
"""Elements that stand in a line of text; all others begin and end one."""


class Element:
    """A tag with its attributes, and what it holds."""

    def __init__(
        self, name: str, attributes: dict[str, str] | None = None, parent: "Element | None" = None
    ) -> None:
        self.name = name
        self.attributes = attributes or {}
        self.parent = parent
        self.children: list[Element | str] = []

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]

    def __contains__(self, attribute: str) -> bool:
        return attribute in self.attributes

    def __repr__(self) -> str:
        attributes = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        return f"<{self.name}{attributes}>"

    def get(self, attribute: str) -> str:
        return self.attributes.get(attribute, "")

    @property
    def classes(self) -> list[str]:
        return self.get("class").split()

    @cached_property
    def _elements(self) -> "list[Element]":
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, Element):
                found += [child, *child._elements]
        return found

    def elements(self) -> "list[Element]":
        """All elements within, in the order of the text."""
        return self._elements

    def all(self, name: str = "", /, **attributes: str) -> "list[Element]":
        """Those within that are called so and have these attributes; `class_` is one of several."""
        return [e for e in self.elements() if e._is(name, attributes)]

    def one(self, name: str = "", /, **attributes: str) -> "Element":
        """The only one of them."""
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} × {name} {attributes}"
        return found[0]

    @property
    def text(self) -> str:
        """What people read of it, with single blanks."""
        return " ".join(self._text().split())

    def _text(self) -> str:
        if self.name in {"script", "style"} or "hidden" in self:
            return ""
        parts = (c if isinstance(c, str) else c._text() for c in self.children)
        text = "".join(parts)
        return text if self.name in INLINE else f" {text} "

    def _is(self, name: str, attributes: dict[str, str]) -> bool:
        wanted = dict(attributes)
        needed_class = wanted.pop("class_", None)
        return (
            name in {"", self.name}
            and (needed_class is None or needed_class in self.classes)
            and all(self.attributes.get(key) == value for key, value in wanted.items())
        )


def parse(html: str) -> Element:
    """The tree of a page or of a fragment.

    Raises:
        AssertionError: a tag is not closed, or closed twice, or says the same thing twice.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.inside is reader.root, f"{reader.inside} is not closed"
    return reader.root


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self.inside = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, self.inside)
        self.inside.children.append(element)
        if tag not in VOID:
            self.inside = element

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.inside.name, f"</{tag}> closes {self.inside}"
        assert self.inside.parent is not None
        self.inside = self.inside.parent

    def handle_data(self, data: str) -> None:
        self.inside.children.append(data)
