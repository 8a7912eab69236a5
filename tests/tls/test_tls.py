"""Worker and API reach Temporal over TLS, as Temporal Cloud and most clusters want it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.process import REPOSITORY, Part
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.test_shape import pay, person, reserve
from tests.devstack.waiting import eventually
from tests.tls.certificates import NAME, Authority, Signed
from tests.tls.proxy import TlsProxy, tls_before

pytestmark = pytest.mark.long

API_KEY = "asecetic"
"""Of letters that HPACK writes with five bits each, so that they can be found again."""

BEARER = int("1011101001010001110110000101101100010100", 2).to_bytes(5, "big")
"""`Bearer ` in HPACK's Huffman code (RFC 7541, appendix B)."""
FIVE_BITS = "012aceiost"
"""The letters with the codes 0 to 9."""


class Encrypted(Stack):
    """A stack whose worker and API reach Temporal only through a proxy that wants certificates."""

    def __init__(self, settings: StackSettings, tls: dict[str, str]) -> None:
        environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
        super().__init__(settings, environ)
        self._tls = tls

    def _make_parts(self) -> dict[str, Part]:
        parts = super()._make_parts()
        for name in ("worker", "api"):
            parts[name].environ = {**(parts[name].environ or {}), **self._tls}
        return parts


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory, "authority")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Signed:
    return authority.sign("client")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Signed:
    return authority.sign("server")


@pytest.fixture(scope="module")
def settings(directory: Path) -> StackSettings:
    return StackSettings.on_free_ports(directory / "stack")


@pytest.fixture(scope="module")
def mutual(settings: StackSettings, authority: Authority, server: Signed) -> Iterator[TlsProxy]:
    """Mutual TLS: whoever has no certificate of the authority is turned away."""
    with tls_before(settings.temporal_port, server, authority.certificate) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def keyed(settings: StackSettings, server: Signed) -> Iterator[TlsProxy]:
    """TLS for whoever comes; who they are is for an API key to say."""
    with tls_before(settings.temporal_port, server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def certified(mutual: TlsProxy, authority: Authority, client: Signed) -> dict[str, str]:
    return {
        "TEMPORAL_ADDRESS": f"{NAME}:{mutual.port}",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.certificate),
        "TEMPORAL_TLS_CLIENT_CERT_PATH": str(client.certificate),
        "TEMPORAL_TLS_CLIENT_KEY_PATH": str(client.key),
    }


@pytest.fixture(scope="module")
def stack(settings: StackSettings, certified: dict[str, str]) -> Iterator[Stack]:
    with Encrypted(settings, certified) as stack:
        yield stack


def run(stack: Stack, *program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program that is expected to give up, with the stack's environment and this."""
    return subprocess.run(
        [sys.executable, *program],
        cwd=REPOSITORY,
        env={**stack.environment, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_order_is_bought_over_mutual_tls(stack: Stack, mutual: TlsProxy) -> None:
    with person(stack.urls["api"]) as buyer:
        assert pay(buyer, reserve(buyer)).status_code == 201
    assert mutual.heard.startswith(b"PRI * HTTP/2.0")


def test_an_api_key_is_sent(stack: Stack, keyed: TlsProxy, authority: Authority) -> None:
    asked = run(
        stack,
        *("-m", "workflows.register_search_attributes"),
        TEMPORAL_ADDRESS=f"{NAME}:{keyed.port}",
        TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(authority.certificate),
        TEMPORAL_API_KEY=API_KEY,
    )
    assert asked.returncode == 0, asked.stderr
    bits = "".join(f"{FIVE_BITS.index(letter):05b}" for letter in API_KEY)
    assert BEARER + int(bits, 2).to_bytes(5, "big") in keyed.heard


def test_who_has_no_certificate_is_told_which_address_refused(
    stack: Stack, certified: dict[str, str]
) -> None:
    alone = {name: value for name, value in certified.items() if "CLIENT" not in name}
    worker = run(stack, "worker.py", **alone)
    assert worker.returncode == 1
    assert f"TEMPORAL_ADDRESS={certified['TEMPORAL_ADDRESS']}, over TLS" in worker.stderr
    assert "Traceback" not in worker.stderr


@pytest.mark.parametrize("tls", ["", "authority"])
def test_a_server_that_is_not_trusted_is_named_with_its_setting_and_without_the_key(
    stack: Stack, keyed: TlsProxy, directory: Path, tls: str
) -> None:
    environ = {"TEMPORAL_ADDRESS": f"{NAME}:{keyed.port}", "TEMPORAL_API_KEY": API_KEY}
    if tls:
        other = Authority(directory, "another")
        environ["TEMPORAL_TLS_SERVER_CA_CERT_PATH"] = str(other.certificate)
    worker = run(stack, "worker.py", **environ)
    assert worker.returncode == 1
    assert "InvalidCertificate(UnknownIssuer)" in worker.stderr
    assert "TEMPORAL_TLS_SERVER_CA_CERT_PATH" in worker.stderr
    assert API_KEY not in worker.stderr


def test_an_api_that_does_not_trust_the_server_is_not_ready_and_logs_why(
    stack: Stack, keyed: TlsProxy
) -> None:
    api = stack.parts["api"]
    proper = api.environ or {}
    stack.stop_part("api")
    others = {name: value for name, value in proper.items() if "_TLS_" not in name}
    own = {"TEMPORAL_ADDRESS": f"{NAME}:{keyed.port}", "TEMPORAL_API_KEY": API_KEY}
    api.environ = others | own
    try:
        api.start()
        eventually(lambda: _status(f"{stack.urls['api']}/readyz") == 503)
        assert httpx.get(f"{stack.urls['api']}/api/tickets").status_code == 200
        log = api.log.read_text()
        assert "Temporal does not respond" in log
        assert "InvalidCertificate(UnknownIssuer)" in log
        assert API_KEY not in log
    finally:
        api.environ = proper
        stack.stop_part("api")
        stack.start_part("api")


@pytest.mark.parametrize("program", [["worker.py"], ["-m", "api"]])
def test_a_certificate_that_is_not_there_is_named(
    stack: Stack, certified: dict[str, str], program: list[str]
) -> None:
    nowhere = {**certified, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/nowhere/ca.pem"}
    process = run(stack, *program, **nowhere)
    assert process.returncode == 2
    assert "TEMPORAL_TLS_*: /nowhere/ca.pem: No such file or directory" in process.stderr


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0
