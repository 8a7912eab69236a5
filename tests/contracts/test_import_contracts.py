"""Each import contract of pyproject.toml fails when an import breaks it.

A new contract needs one more line in `BREAKING_IMPORTS`.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from devstack.process import REPOSITORY

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
CONFIG = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in CONFIG["contracts"]]

BREAKING_IMPORTS = {
    "Dependencies point downwards: api, workflows, activities, ticketing": (
        "ticketing/statuses.py",
        "import workflows.orders",
    ),
    "The embedded stack never ships: nothing of the application imports it": (
        "activities/orders.py",
        "import devstack.ports",
    ),
    "The Stripe sandbox stands alone: it imports nothing else of this project": (
        "stripe_sandbox/currencies.py",
        "from ticketing.money import format_amount",
    ),
    "Only the gateway speaks to Stripe": ("workflows/orders.py", "import stripe"),
    "In the API only api.temporal speaks to Temporal": (
        "api/orders/service.py",
        "from temporalio.client import Client",
    ),
    "The storefront is a sub-application: only the API's root imports it": (
        "api/http/middleware.py",
        "from api.storefront.errors import error_page",
    ),
}
"""The module that breaks the contract, and its import."""


OUTSIDE = {
    "In the API only api.temporal speaks to Temporal": {"api.temporal", "api.__main__"},
    "The storefront is a sub-application: only the API's root imports it": {
        "api.storefront",
        "api.app",
        "api.__main__",
    },
}
"""Modules of the API that a contract does not bind; it names all others one by one."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages that the contracts are about."""
    for package in CONFIG["root_packages"]:
        shutil.copytree(
            REPOSITORY / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__", "static", "templates"),
        )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a tree."""
    command = [str(LINT_IMPORTS), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert set(BREAKING_IMPORTS) == set(CONTRACTS)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_contract_of_the_api_names_each_of_its_modules(name: str) -> None:
    (contract,) = [contract for contract in CONFIG["contracts"] if contract["name"] == name]
    api = REPOSITORY / "api"
    packages = {f"api.{path.parent.name}" for path in api.glob("*/__init__.py")}
    modules = {f"api.{path.stem}" for path in api.glob("*.py")} - {"api.__init__"}

    assert set(contract["source_modules"]) == (packages | modules) - OUTSIDE[name]


def test_the_tree_as_it_is_keeps_every_contract(tree: Path) -> None:
    result = lint_imports(tree)

    assert result.returncode == 0, result.stdout
    assert [name for name in CONTRACTS if f"{name} KEPT" not in result.stdout] == []


@pytest.mark.parametrize("contract", BREAKING_IMPORTS)
def test_an_import_across_the_border_breaks_the_contract(tree: Path, contract: str) -> None:
    module, statement = BREAKING_IMPORTS[contract]
    with (tree / module).open("a") as file:
        file.write(f"\n{statement}\n")

    result = lint_imports(tree)

    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
