"""The market of the workflow tests."""

from tests.workflows.conftest import env, gateway, market, sandbox, task_queue, workflows

__all__ = ["env", "gateway", "market", "sandbox", "task_queue", "workflows"]
