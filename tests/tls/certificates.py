"""An authority of the test's own, and what it signs."""

from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "localhost"


@dataclass(frozen=True)
class Signed:
    """A certificate, and the key that belongs to it; both PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for servers and for clients."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._own = trustme.CA(organization_name=name)
        self.certificate = directory / f"{name}.pem"
        self._own.cert_pem.write_to_path(self.certificate)

    def sign(self, what: str) -> Signed:
        """A certificate under the name of this machine."""
        signed = Signed(
            self._directory / f"{self._name}-{what}.pem", self._directory / f"{what}.key"
        )
        issued = self._own.issue_cert(NAME, common_name=what)
        issued.private_key_pem.write_to_path(signed.key)
        for certificate in issued.cert_chain_pems:
            certificate.write_to_path(signed.certificate, append=True)
        return signed
