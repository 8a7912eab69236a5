"""Secrets of the embedded stack: generated once, so that sessions survive a restart."""

import os
import secrets
from pathlib import Path


def read_or_create_secrets(path: Path) -> dict[str, str]:
    """The secrets in the file; missing ones are generated. Only the owner can read the file."""
    kept = _read(path) if path.exists() else {}
    wanted = {
        "JWT_KEYS": secrets.token_urlsafe(48),
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_urlsafe(32)}",
        "OPERATOR_TOKEN": secrets.token_urlsafe(48),
    }
    if wanted.keys() - kept.keys():
        kept = {**wanted, **kept}
        _write(path, kept)
    return kept


def _read(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return {name: value for name, _, value in lines}


def _write(path: Path, made: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: a crash must not leave an incomplete file.
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in made.items())
    unfinished.rename(path)
