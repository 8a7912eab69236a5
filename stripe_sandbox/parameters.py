"""The parameters of one call, read by name and type; each refusal is worded as Stripe's."""

from collections.abc import Collection
from typing import NoReturn

from stripe_sandbox.config import require_http_url
from stripe_sandbox.errors import InvalidParameter
from stripe_sandbox.forms import Form

MAX_METADATA_KEYS = 50
MAX_METADATA_KEY = 40
MAX_METADATA_VALUE = 500
MAX_INTEGER = 2**53


class Parameters:
    """A form, or one nested part of it, whose names are known."""

    def __init__(self, form: Form, allowed: Collection[str], *, path: str = "") -> None:
        """Take the form.

        Raises:
            InvalidParameter: it has a name that is not among the allowed ones.
        """
        self._form = form
        self._path = path
        for name in form:
            if name not in allowed:
                full = self.full_name(name)
                raise InvalidParameter(
                    f"Received unknown parameter: {full}", code="parameter_unknown", param=full
                )

    def __contains__(self, name: str) -> bool:
        return name in self._form

    def is_text(self, name: str) -> bool:
        """Whether the parameter came as one plain value."""
        return isinstance(self._form.get(name), str)

    def full_name(self, name: str) -> str:
        """The name as the caller wrote it: `card[number]`."""
        return f"{self._path}[{name}]" if self._path else name

    def text(self, name: str, *, max_length: int = 5000) -> str | None:
        """A string, or None where it is absent or empty: Stripe unsets with an empty value."""
        value = self._form.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self._refuse(
                name, f"Invalid string: {self.full_name(name)}", "parameter_invalid_string"
            )
        if len(value) > max_length:
            message = (
                f"Invalid string: {self.full_name(name)}; must be at most {max_length} characters"
            )
            self._refuse(name, message, "parameter_invalid_string")
        return value

    def required(self, name: str) -> str:
        """A string that must be there.

        Raises:
            InvalidParameter: it is not (`parameter_missing`).
        """
        value = self.text(name)
        if value is None:
            full = self.full_name(name)
            if name in self._form:
                message = f"You passed an empty string for '{full}'."
                self._refuse(name, message, "parameter_invalid_empty")
            self._refuse(name, f"Missing required param: {full}.", "parameter_missing")
        return value

    def integer(self, name: str) -> int | None:
        """A whole number, in minor units where it is an amount."""
        value = self.text(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 17):
            self._refuse(name, f"Invalid integer: {value}", "parameter_invalid_integer")
        return int(value)

    def positive(self, name: str) -> int | None:
        """A whole number of at least 1."""
        value = self.integer(name)
        if value is not None and value < 1:
            message = "This value must be greater than or equal to 1."
            self._refuse(name, message, "parameter_invalid_integer")
        return value

    def boolean(self, name: str) -> bool | None:
        """`true` or `false`."""
        value = self.text(name)
        if value is None:
            return None
        if value not in {"true", "false"}:
            self._refuse(name, f"Invalid boolean: {value}")
        return value == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of the choices."""
        value = self.text(name)
        if value is not None and value not in choices:
            listed = ", ".join(choices[:-1]) + f", or {choices[-1]}" if choices[1:] else choices[0]
            self._refuse(name, f"Invalid {self.full_name(name)}: must be one of {listed}")
        return value

    def url(self, name: str) -> str | None:
        """An absolute http(s) URL."""
        value = self.text(name)
        if value is not None:
            try:
                require_http_url(value)
            except ValueError:
                self._refuse(name, "Not a valid URL", "url_invalid")
        return value

    def strings(self, name: str) -> list[str] | None:
        """A list of strings, written `name[]` or `name[0]`."""
        value = self._form.get(name)
        if value is None or value == "":
            return None
        items = list(value.values()) if isinstance(value, dict) else value
        if isinstance(items, str) or not all(isinstance(item, str) for item in items):
            self._refuse(name, f"Invalid array: {self.full_name(name)}")
        return [item for item in items if isinstance(item, str)]

    def nested(self, name: str, allowed: Collection[str]) -> "Parameters | None":
        """The parameters under a name: `card` of `card[number]`."""
        value = self._form.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            self._refuse(name, f"Invalid object: {self.full_name(name)}")
        return Parameters(value, allowed, path=self.full_name(name))

    def mapping(self, name: str) -> Form | None:
        """An object that is kept as it came, such as `shipping`."""
        value = self._form.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, dict):
            self._refuse(name, f"Invalid object: {self.full_name(name)}")
        return value

    def metadata(self, current: dict[str, str] | None = None) -> dict[str, str]:
        """The merged metadata; an empty value removes a key, an empty metadata removes all."""
        if self._form.get("metadata") == "":
            return {}
        merged = dict(current or {})
        for key, value in (self.mapping("metadata") or {}).items():
            if not isinstance(value, str):
                self._refuse("metadata", "Invalid metadata: values must be strings")
            if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
                message = (
                    f"Metadata keys have at most {MAX_METADATA_KEY} characters "
                    f"and values at most {MAX_METADATA_VALUE}."
                )
                self._refuse("metadata", message)
            if value:
                merged[key] = value
            else:
                merged.pop(key, None)
        if len(merged) > MAX_METADATA_KEYS:
            self._refuse("metadata", f"Metadata has at most {MAX_METADATA_KEYS} keys.")
        return merged

    def _refuse(self, name: str, message: str, code: str | None = None) -> NoReturn:
        raise InvalidParameter(message, code=code, param=self.full_name(name))
