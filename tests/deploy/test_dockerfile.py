"""The image: what goes into it, and what it runs."""

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from tests.deploy.compose import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")


class _Healthy(BaseHTTPRequestHandler):
    """Answers GET /healthz alone."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def _copied() -> set[str]:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()}


def test_everything_copied_exists_and_is_let_through() -> None:
    let_through = {
        line.removeprefix("!").rstrip("/")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert _copied() == let_through
    assert all((REPOSITORY / source).exists() for source in _copied())


def test_neither_tests_nor_the_embedded_stack_are_in_it() -> None:
    assert not {source.split("/")[0] for source in _copied()} & {"tests", "devstack", "bench"}


def test_images_are_pinned_and_it_does_not_run_as_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image) for image in images)
    user = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert user
    assert user[-1] != "0"


def test_its_health_check_tells_a_live_api_from_a_dead_one() -> None:
    found = re.search(r"^HEALTHCHECK .*CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert found
    command = json.loads(found[1])
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert _run(command, server.server_port) == 0
        server.shutdown()
    assert _run(command, server.server_port) != 0


def _run(command: list[str], port: int) -> int:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "API_PORT": str(port)}
    return subprocess.run(command, env=environ, capture_output=True, check=False).returncode
