"""What the worker's sandbox relies on: payloads are converted alike wherever they belong."""

from temporalio.converter import WorkflowSerializationContext

from ticketing.payloads import DATA_CONVERTER


def test_the_converter_does_not_care_where_a_payload_belongs() -> None:
    context = WorkflowSerializationContext(namespace="default", workflow_id="order:1")

    assert DATA_CONVERTER.with_context(context) is DATA_CONVERTER
