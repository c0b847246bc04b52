"""The review: a person approves or rejects, and says why. There is no default answer."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from flashsale_plugins.dag_parts import APPROVE, REJECT

LEAST_REASON = 3


class ReviewOperator(HITLOperator):
    """Wait for a person's approval or rejection with a reason.

    Args:
        subject: the question (templated).
        body: what the reviewer needs to know, in Markdown (templated).
    """

    def __init__(self, *, subject: str, body: str, params: Any = None, **kwargs: Any) -> None:
        # `params` is what Airflow hands down from the DAG; a review has a form of its own
        words = "Why; it is stored with the decision"
        form = {"reason": Param("", type="string", title="Reason", description=words)}
        super().__init__(subject=subject, body=body, options=[APPROVE, REJECT], params=form, **kwargs)

    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]:
        """The form asks for a reason; the task's own default is empty, since Airflow checks that before it starts."""
        form = super().serialized_params
        form["reason"]["schema"]["minLength"] = LEAST_REASON
        return form

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer; one without a reason fails the task, and clearing it asks again."""
        reason = str((event.get("params_input") or {}).get("reason", "")).strip()
        if "error" not in event and len(reason) < LEAST_REASON:
            raise ValueError("a decision needs a reason: clear this task and answer again")
        return super().execute_complete(context, event)
