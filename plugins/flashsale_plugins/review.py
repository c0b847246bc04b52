"""The review: a person approves or rejects, and says why. There is no default answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from flashsale_plugins.dag_parts import APPROVE, REJECT, decision_arguments
from flashsale_plugins.operators import CommandOperator

LEAST_REASON = 3
ASK_AGAIN = 5


class ReviewOperator(HITLOperator):
    """Wait for a person's approval or rejection with a reason.

    An answer that cannot be taken (no reason, or given in the seconds before Airflow knows that the task waits) is
    asked for again, as the task's next try.

    Args:
        subject: the question (templated).
        body: what the reviewer needs to know, in Markdown (templated).
    """

    def __init__(self, *, subject: str, body: str, params: Any = None, **kwargs: Any) -> None:
        # `params` is what Airflow hands down from the DAG; a review has a form of its own
        words = "Why; it is stored with the decision"
        form = {"reason": Param("", type="string", title="Reason", description=words)}
        again = {"retries": ASK_AGAIN, "retry_delay": timedelta(seconds=2), "retry_exponential_backoff": False}
        super().__init__(subject=subject, body=body, options=[APPROVE, REJECT], params=form, **{**kwargs, **again})

    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]:
        """The form asks for a reason; the task's own default is empty, since Airflow checks that before it starts."""
        form = super().serialized_params
        form["reason"]["schema"]["minLength"] = LEAST_REASON
        return form

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer; one without a reason fails this try."""
        reason = str((event.get("params_input") or {}).get("reason", "")).strip()
        if "error" not in event and len(reason) < LEAST_REASON:
            raise ValueError("a decision needs a reason: this review is asked again")
        return super().execute_complete(context, event)


def review_of_candidate(model: str, *, train_task: str, noun: str) -> tuple[ReviewOperator, CommandOperator]:
    """The review of a registered candidate, and the task that promotes or rejects it; the caller chains them.

    Args:
        model: registered name of the champion; the candidate is `<model>-candidate`.
        train_task: task whose XCom holds `version`, `gate` and `metrics`.
        noun: how the question calls the model.
    """
    trained = f"ti.xcom_pull(task_ids='{train_task}')"
    decision = decision_arguments("review")
    review = ReviewOperator(
        task_id="review",
        subject=f"{noun} candidate {{{{ {trained}['version'] }}}}: make it champion?",
        body=f"{{% set t = {trained} %}}"
        "Gate passed: **{{ t['gate']['passed'] }}** {{ t['gate'].get('reasons', '') }}\n\n"
        "{% for name, value in t['metrics'].items() %}- {{ name }}: {{ value }}\n{% endfor %}",
    )
    verdict = "{{ 'promote' if " + decision["approved"] + " else 'reject' }}"
    version = f"{{{{ {trained}['version'] }}}}"
    by = ["--by", decision["by"], "--reason", decision["reason"]]
    record = CommandOperator(
        task_id="record",
        command=["python", "-m", "ml", "registry", verdict, f"{model}-candidate", version, *by],
    )
    return review, record
