"""Messages that nobody should send, and that an operator's slip, or a stranger, does."""

from dataclasses import dataclass

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    SignalWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowUpdateStage

JSON = "json/plain"


@dataclass(frozen=True)
class Raw:
    """A payload as it goes over the wire."""

    data: bytes
    encoding: str | None = JSON

    def payload(self) -> Payload:
        metadata = {} if self.encoding is None else {"encoding": self.encoding.encode()}
        return Payload(metadata=metadata, data=self.data)


UNKNOWN_CHARGE = b'{"charge_id": "0123456789abcdef01234567", "payment_method": "pm_card_visa"}'

POISON: dict[str, tuple[Raw, ...]] = {
    "no input": (),
    "empty input": (Raw(b""),),
    "null": (Raw(b"", "binary/null"),),
    "null as JSON": (Raw(b"null"),),
    "text": (Raw(b'"please pay"'),),
    "no JSON at all": (Raw(b"please pay"),),
    "a number": (Raw(b"17"),),
    "a list": (Raw(b"[1, 2]"),),
    "an empty object": (Raw(b"{}"),),
    "another object": (Raw(b'{"intent": 1}'),),
    "wrong types": (Raw(b'{"charge_id": 5, "payment_method": [], "intent_id": {}, "relist": 9}'),),
    "no id": (Raw(b'{"charge_id": "abc", "payment_method": "pm_card_visa"}'),),
    "an empty method": (Raw(b'{"charge_id": "0123456789abcdef01234567", "payment_method": ""}'),),
    "bytes": (Raw(b"\x00\xff\xfe", "binary/plain"),),
    "broken text": (Raw(b"\xff\xfe", JSON),),
    "an unknown encoding": (Raw(b"x", "json/unheard-of"),),
    "no encoding": (Raw(b"x", None),),
    "protobuf": (Raw(b"{}", "json/protobuf"),),
    "two inputs": (Raw(UNKNOWN_CHARGE), Raw(b'"and this"')),
    "two inputs that cannot be read": (Raw(b"x", "a"), Raw(b"y", "b")),
}
"""What a signal carries, by what is wrong with it."""


async def signal(client: Client, workflow_id: str, name: str, inputs: tuple[Raw, ...]) -> None:
    """Send a signal as the Web UI does, with whatever was typed into it."""
    await client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name=name,
            input=Payloads(payloads=[raw.payload() for raw in inputs]),
        )
    )


async def update(client: Client, workflow_id: str, name: str, inputs: tuple[Raw, ...]) -> bool:
    """Send an update, and wait until it is accepted or rejected; whether it was rejected."""
    stage = WorkflowUpdateStage.ACCEPTED
    answer = await client.workflow_service.update_workflow_execution(
        UpdateWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            request=Request(
                meta=Meta(identity="an operator"),
                input=Input(name=name, args=Payloads(payloads=[raw.payload() for raw in inputs])),
            ),
            wait_policy=WaitPolicy(lifecycle_stage=stage.value),  # type: ignore[arg-type] # the same numbers
        )
    )
    return answer.outcome.HasField("failure")
