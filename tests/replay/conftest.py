"""The market of the workflow tests."""

from tests.workflows.conftest import env, market, task_queue, workflows

__all__ = ["env", "market", "task_queue", "workflows"]
