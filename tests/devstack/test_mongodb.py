"""The embedded MongoDB: found, started, started again."""

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from devstack.mongodb import find_mongod, mongodb_part, mongodb_url, running_mongod
from devstack.ports import free_ports


@pytest.fixture
def path_with_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole PATH, with a mongod that reports version 7."""
    return _put_mongod_on_path(tmp_path, monkeypatch, version="7.0.5")


def _put_mongod_on_path(directory: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    mongod = directory / "mongod"
    mongod.write_text(f"#!/bin/sh\necho 'db version v{version}'\n")
    mongod.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.mark.long
def test_a_mongod_on_path_is_preferred(path_with_mongod: Path) -> None:
    assert find_mongod() == path_with_mongod / "mongod"


@pytest.mark.long
def test_a_mongod_on_path_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_mongod_on_path(tmp_path, monkeypatch, version="5.0.1")
    assert find_mongod().parts[-4:] == ("fiftyone", "db", "bin", "mongod")


@pytest.mark.long
def test_it_takes_transactions_and_keeps_its_data(tmp_path: Path) -> None:
    with (
        running_mongod(tmp_path) as url,
        MongoClient[dict[str, Any]](url) as client,
        client.start_session() as session,
        session.start_transaction(),
    ):
        client.test.tickets.insert_one({"_id": 1}, session=session)
    # On another port this time: the node must learn its new name.
    with running_mongod(tmp_path) as url, MongoClient[dict[str, Any]](url) as client:
        assert client.test.tickets.count_documents({}) == 1


@pytest.mark.long
def test_it_comes_back_after_a_crash(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    part = mongodb_part(tmp_path / "data", port, log=tmp_path / "mongodb.log")
    part.start()
    try:
        part.wait_until_ready()
        with MongoClient[dict[str, Any]](mongodb_url(port), w="majority") as client:
            client.test.tickets.insert_one({"_id": 1})
        part.kill()
        part.start()
        part.wait_until_ready()
        with MongoClient[dict[str, Any]](mongodb_url(port)) as client:
            assert client.test.tickets.count_documents({}) == 1
    finally:
        part.stop()
