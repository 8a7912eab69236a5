"""Signals: anybody may send anything, so each is read and checked here, and none ever raises.

A signal cannot be refused: it is in the history before the workflow sees it. A handler that
raises would fail this workflow task and every later one. So both workflows receive their signals
in one dynamic handler, which gets raw payloads, and drop what they cannot read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

M = TypeVar("M")


@dataclass(frozen=True)
class SignalHandler(Generic[M]):
    """The payload and the handler of a signal of one name."""

    message: type[M]
    take: Callable[[M], None]


def dispatch_signal(
    handlers: dict[str, SignalHandler[Any]], name: str, payloads: Sequence[RawValue]
) -> str | None:
    """Pass the signal to its handler; if it is dropped, why, without repeating its content."""
    handler = handlers.get(name)
    if handler is None:
        return _dropped("a signal of an unknown name", "this workflow takes none such")
    if len(payloads) != 1:
        return _dropped(f"{name} with {len(payloads)} inputs", "it takes one")
    try:
        message = workflow.payload_converter().from_payload(payloads[0].payload, handler.message)
    except ValidationError as error:
        # Not its text, which repeats what was sent.
        faults = {f"{'.'.join(map(str, fault['loc']))} {fault['type']}" for fault in error.errors()}
        return _dropped(name, ", ".join(sorted(faults)).strip())
    except Exception as error:  # whatever a payload of an unknown encoding makes of its decoder
        return _dropped(name, f"it cannot be decoded ({type(error).__name__})")
    if not isinstance(message, handler.message):
        return _dropped(name, "it is null")  # which is decoded without a look at the type
    handler.take(message)
    return None


def _dropped(what: str, why: str) -> str:
    text = f"Dropped {what}: {why}."
    workflow.logger.warning(text)
    return text
