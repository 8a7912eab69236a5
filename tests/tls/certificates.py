"""An authority of the test's own, and what it signs; by the `openssl` command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "localhost"


@dataclass(frozen=True)
class Signed:
    """A certificate, and the key that belongs to it; both PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for as long as the test's directory lives."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._own = Signed(directory / f"{name}.pem", directory / f"{name}.key")
        _openssl(
            *("req", "-x509", "-noenc", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-out", str(self.certificate), "-keyout", str(self._own.key)),
        )

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def sign(self, what: str, usage: str) -> Signed:
        """A certificate for `serverAuth` or `clientAuth`."""
        signed = Signed(
            self._directory / f"{self._name}-{what}.pem", self._directory / f"{what}.key"
        )
        _openssl(
            *("req", "-x509", "-noenc", "-days", "2", "-subj", f"/CN={what}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-CA", str(self.certificate), "-CAkey", str(self._own.key)),
            *("-addext", f"subjectAltName=DNS:{NAME}", "-addext", f"extendedKeyUsage={usage}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-out", str(signed.certificate), "-keyout", str(signed.key)),
        )
        return signed


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
