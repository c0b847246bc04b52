"""The review: a person approves or rejects, and says why. There is no default answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from flashsale_plugins.dag_parts import APPROVE, REJECT, decision_arguments, said_by
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
        gate_task: task of the same run whose XCom holds `gate`; an approval of what did not pass then needs the form's
            switch `override`.
    """

    def __init__(
        self, *, subject: str, body: str, gate_task: str | None = None, params: Any = None, **kwargs: Any
    ) -> None:
        # `params` is what Airflow hands down from the DAG; a review has a form of its own
        words = "Why; it is stored with the decision"
        form = {"reason": Param("", type="string", title="Reason", description=words)}
        if gate_task is not None:
            words = "Promote although the gate did not pass; it is stored with the reason"
            form["override"] = Param(False, type="boolean", title="Override the gate", description=words)
        self.gate_task = gate_task
        again = {"retries": ASK_AGAIN, "retry_delay": timedelta(seconds=2), "retry_exponential_backoff": False}
        super().__init__(subject=subject, body=body, options=[APPROVE, REJECT], params=form, **{**kwargs, **again})

    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]:
        """The form asks for a reason; the task's own default is empty, since Airflow checks that before it starts."""
        form = super().serialized_params
        form["reason"]["schema"]["minLength"] = LEAST_REASON
        return form

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer; one without a reason, or that approves what did not pass, fails this try."""
        form = event.get("params_input") or {}
        if "error" not in event and len(str(form.get("reason", "")).strip()) < LEAST_REASON:
            raise ValueError("a decision needs a reason: this review is asked again")
        approved = APPROVE in (event.get("chosen_options") or [])
        if self.gate_task is not None and approved and not form.get("override"):
            gate = (context["ti"].xcom_pull(task_ids=self.gate_task) or {}).get("gate") or {}
            if not gate.get("passed", True):
                raise ValueError(
                    "the candidate's gate did not pass: reject it, or approve with the switch `override` and say why; "
                    "this review is asked again"
                )
        return super().execute_complete(context, event)


#: The body of a candidate's review, from the XCom of its training. Only `version`, `gate` and `metrics` must be there.
BODY = """{% set t = <trained> %}{% set g = t['gate'] %}Gate: **{{ 'passed' if g['passed'] else 'not passed' }}**

{% if not g['passed'] %}Approving it needs the switch *Override the gate*; the reason is stored with the version.

{% endif %}{% for reason in g.get('reasons') or [] %}- {{ reason }}
{% endfor %}
{% set held = t.get('champion') or {} %}**Figures**{{ ', in brackets the change from the champion' if held else '' }}

{% for name, value in t['metrics'].items() %}- {{ name }}: {{ value }}{% if held.get(name) is number
   and value is number %} ({{ '%+.4f' % (value - held[name]) }}){% endif %}
{% endfor %}{% if t.get('explained') %}
**Words behind some scores** (+for+, -against-)

{% for line in t['explained'] %}- `{{ line | replace('`', "'") }}`
{% endfor %}{% endif %}{% if t.get('run_url') %}
[The run in MLflow]({{ t['run_url'] }}), with its model card and pictures
{% endif %}"""


def review_of_candidate(model: str, *, train_task: str, noun: str) -> tuple[ReviewOperator, CommandOperator]:
    """The review of a registered candidate, and the task that promotes or rejects it; the caller chains them.

    Args:
        model: registered name of the champion; the candidate is `<model>-candidate`.
        train_task: task whose XCom holds `version`, `gate` and `metrics`, and may hold `champion` (metrics by the same
            names), `explained` (short lines) and `run_url`.
        noun: how the question calls the model.
    """
    trained = f"ti.xcom_pull(task_ids='{train_task}')"
    decision = decision_arguments("review")
    review = ReviewOperator(
        task_id="review",
        subject=f"{noun} candidate {{{{ {trained}['version'] }}}}: make it champion?",
        body=BODY.replace("<trained>", trained),
        gate_task=train_task,
    )
    verdict = "{{ 'promote' if " + decision["approved"] + " else 'reject' }}"
    candidate, version = f"{model}-candidate", f"{{{{ {trained}['version'] }}}}"
    override = "{{ '' if not " + decision["approved"] + " else " + decision["override"].strip("{} ") + " }}"
    record = CommandOperator(
        task_id="record",
        command=["python", "-m", "ml", "registry", verdict, candidate, version, *said_by(decision), override],
    )
    return review, record
