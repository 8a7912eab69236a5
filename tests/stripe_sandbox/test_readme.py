"""The sandbox's README: its commands work as they stand, and its tables are complete."""

import ast
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import stripe
from starlette.routing import Route

from devstack.ports import free_ports
from devstack.process import REPOSITORY
from stripe_sandbox.app import create_sandbox
from stripe_sandbox.config import API_VERSION, SandboxConfig
from stripe_sandbox.endpoints import ENDPOINTS
from stripe_sandbox.faults import FaultKind

FOLDER = REPOSITORY / "stripe_sandbox"
README = (FOLDER / "README.md").read_text()
START, *COMMANDS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
SCRIPTS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


class Copy:
    """A copy of the sandbox's folder; the README's commands run in it, but on free ports."""

    def __init__(self, directory: Path) -> None:
        self.port, self.webhook_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.events: asyncio.Queue[stripe.Event] = asyncio.Queue()
        self._directory = directory
        # The README's `python` is this one; nothing else of the project can be imported.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environ = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    async def start(self, commands: str) -> asyncio.subprocess.Process:
        """Start commands of the README as a terminal would."""
        commands = commands.replace("12111", str(self.port)).replace("8000", str(self.webhook_port))
        return await asyncio.create_subprocess_exec(
            *("bash", "-eu", "-o", "pipefail", "-c", commands),
            cwd=self._directory,
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def run(self, commands: str) -> str:
        """Run them; what they print."""
        process = await self.start(commands)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the webhook endpoint for one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(re.findall(r"^([\w-]+): (.*)\r$", head.lower(), re.MULTILINE))
        body = await reader.readexactly(int(headers["content-length"]))
        self.events.put_nowait(
            stripe.Webhook.construct_event(
                body, headers["stripe-signature"], "whsec_local", api_key="sk_test_local"
            )
        )
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    shutil.copytree(FOLDER, tmp_path / FOLDER.name, ignore=shutil.ignore_patterns("__pycache__"))
    return Copy(tmp_path)


@pytest.fixture
async def started(copy: Copy) -> AsyncIterator[Copy]:
    """The copy, with a sandbox and a webhook endpoint running."""
    async with await asyncio.start_server(copy.receive, "127.0.0.1", copy.webhook_port):
        sandbox = await copy.start(START)
        try:
            await _until_it_serves(copy.url)
            yield copy
        finally:
            os.killpg(sandbox.pid, signal.SIGTERM)
            await sandbox.communicate()


async def _until_it_serves(url: str) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                (await http.get(f"{url}/healthz")).raise_for_status()
                return
            await asyncio.sleep(0.02)


async def test_the_commands_work_in_a_copy_of_the_folder_alone(
    started: Copy, tmp_path: Path
) -> None:
    (script,) = SCRIPTS
    pay, add_fault = COMMANDS

    assert await started.run(f"python - <<'END'\n{script}\nEND") == "requires_capture\nsucceeded\n"
    assert (tmp_path / "stripe.db").exists()
    intent = json.loads(await started.run(pay))
    assert f"{started.url}/authenticate?client_secret=" in json.dumps(intent["next_action"])

    assert json.loads(await started.run(add_fault))["kind"] == "lost_answer"
    client = stripe.StripeClient(
        "sk_test_local", base_addresses={"api": started.url}, max_network_retries=0
    )
    with pytest.raises(stripe.APIConnectionError):
        await asyncio.to_thread(client.v1.payment_intents.capture, intent["id"])

    wanted = {"payment_intent.succeeded", "payment_intent.requires_action"}
    async with asyncio.timeout(10):
        while wanted:
            wanted.discard((await started.events.get()).type)


async def test_help_shows_every_option_that_the_readme_does(copy: Copy) -> None:
    shown = await copy.run("python -m stripe_sandbox --help")

    options = re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE)
    assert re.findall(r"^\| `(--[a-z-]+)` \|", README, re.MULTILINE) == options
    assert "(default: 12111)" in shown


def test_the_readme_names_every_package_that_is_imported() -> None:
    modules = {path.stem: ast.parse(path.read_text()) for path in FOLDER.glob("*.py")}
    imported = {name: _imported_packages(module) for name, module in modules.items()}
    of_tests = imported.pop("testing")
    packages = {package for found in imported.values() for package in found}
    assert of_tests - packages == {"stripe"}

    (sentence,) = re.findall(r"needs the packages (.*?), and nothing else", README)

    assert set(re.findall(r"`(\w+)`", sentence)) == packages


def _imported_packages(module: ast.Module) -> set[str]:
    names = [
        name
        for node in ast.walk(module)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    packages = {name.partition(".")[0] for name in names}
    return packages - set(sys.stdlib_module_names) - {FOLDER.name}


def test_the_tables_list_every_request_and_every_kind_of_fault() -> None:
    listed = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", README))
    control = {
        f"{method} {route.path}"
        for route in create_sandbox(SandboxConfig()).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if route.path.startswith(("/_sandbox", "/healthz"))
        and method != "HEAD"
        and route.path != "/_sandbox/style.css"
    }

    assert listed == control | {f"{one.method} {one.path}" for one in ENDPOINTS}
    kinds = README.split("| kind |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", kinds, re.MULTILINE)) == set(FaultKind)
    assert f"version `{API_VERSION}`" in README
