"""The words of a title, as searches compare them: without case and accents."""

import re
import unicodedata


def words_of(text: str) -> list[str]:
    """Every word once: letters, digits and underscores in a row, of whatever script.

    Accents go as Unicode takes letters apart (NFKD), which also makes one of the forms that a
    letter or digit may have (full width, ligatures).
    """
    parts = unicodedata.normalize("NFKD", text)
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    return sorted(set(re.findall(r"\w+", bare.casefold())))
