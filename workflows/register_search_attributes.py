"""Make a namespace know the search attributes of orders.

`python -m workflows.register_search_attributes` is a set-up step of every deployment.
It reads `TEMPORAL_*` only, adds what is missing, and may run as often as one likes.
"""

from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError

from ticketing.commands import CommandFailed, run_command
from ticketing.temporal import connect_temporal
from workflows.search_attributes import SEARCH_ATTRIBUTES


class SearchAttributeTypeError(Exception):
    """The namespace has an attribute of that name, but of another type."""


async def register_search_attributes(client: Client) -> list[str]:
    """Add the attributes that the client's namespace lacks, and name them.

    Raises:
        SearchAttributeTypeError: one exists with another type; the server cannot change it.
    """
    wanted = {key.name: int(key.indexed_value_type) for key in SEARCH_ATTRIBUTES}
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    known = {name: int(value_type) for name, value_type in answer.custom_attributes.items()}
    clashing = [name for name in wanted if known.get(name, wanted[name]) != wanted[name]]
    if clashing:
        raise SearchAttributeTypeError(
            f"namespace {client.namespace} has search attributes of another type: "
            + ", ".join(clashing)
        )
    missing = [name for name in wanted if name not in known]
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes={name: wanted[name] for name in missing},  # type: ignore[misc]  # an open enum of protobuf's
            )
        )
    return missing


async def register() -> str:
    """Register them in the namespace that the environment names.

    Raises:
        CommandFailed: Temporal refused or did not answer.
    """
    try:
        client = await connect_temporal(ClientConfigProfile.load())
        added = await register_search_attributes(client)
    except (RuntimeError, RPCError, SearchAttributeTypeError) as error:
        raise CommandFailed(f"search attributes not registered: {error}") from error
    outcome = f"added {', '.join(added)}" if added else "all known already"
    return f"search attributes of namespace {client.namespace}: {outcome}"


if __name__ == "__main__":
    run_command(register())
