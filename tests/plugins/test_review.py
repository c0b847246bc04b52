"""The review of a candidate: what its page shows, and which answers it takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jinja2
import pytest

from flashsale.local.airflow_api import asks_override
from flashsale.local.runs import GATE_FAILED

FULL = {
    "version": "3",
    "gate": {
        "passed": False,
        "reasons": ["zh: calibration error: 0.05 (limit 0.03), NOT PASSED", "there is no champion"],
    },
    "metrics": {"sentiment_f1.zh": 0.85, "sentiment_f1.en": 0.7},
    "champion": {"sentiment_f1.zh": 0.86},
    "explained": ["质量+很好+ [positive 0.98, intent 0.10] people: positive"],
    "run_url": "http://127.0.0.1:5000/#/experiments/1/runs/2",
}


class Task:
    """A task instance as templates and operators see it: one answer for every pull."""

    map_index = -1

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def xcom_pull(self, **_: Any) -> Any:
        return self.answer


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from flashsale_plugins.review import review_of_candidate

    return review_of_candidate("flashsale-text", train_task="train", noun="Text model")


def rendered(template: str, answer: Any) -> str:
    return jinja2.Environment().from_string(template).render(ti=Task(answer))


def test_the_page_shows_reasons_changes_words_and_the_run(pair: tuple[Any, Any]) -> None:
    page = rendered(pair[0].body, FULL)
    assert page.startswith(GATE_FAILED)  # the words that the demo looks for
    assert "\n- zh: calibration error: 0.05 (limit 0.03), NOT PASSED\n- there is no champion\n" in page
    assert "- sentiment_f1.zh: 0.85 (-0.0100)\n- sentiment_f1.en: 0.7\n" in page
    assert "- `质量+很好+ [positive" in page and "(http://127.0.0.1:5000/#/experiments/1/runs/2)" in page


def test_a_summary_without_the_new_keys_still_makes_a_page(pair: tuple[Any, Any]) -> None:
    page = rendered(pair[0].body, {"version": "1", "gate": {"passed": True}, "metrics": {"wape": 0.3}})
    assert page.startswith("Gate: **passed**") and "- wape: 0.3" in page and "MLflow" not in page


@pytest.mark.parametrize(
    ("option", "form", "words"),
    [
        ("Approve", {"reason": "fine", "override": True}, ["promote", "--override"]),
        ("Approve", {"reason": "fine", "override": False}, ["promote", ""]),
        ("Approve", {"reason": "fine"}, ["promote", ""]),
        ("Reject", {"reason": "- worse", "override": True}, ["reject", ""]),
    ],
)
def test_what_is_recorded(pair: tuple[Any, Any], option: str, form: dict[str, Any], words: list[str]) -> None:
    answer = {"chosen_options": [option], "params_input": form, "responded_by_user": {"name": "r"}, "version": "3"}
    command = [rendered(part, answer) for part in pair[1].command]
    assert [command[4], command[-1]] == words and command[-3:-1] == ["--by=r", f"--reason={form['reason']}"]


@pytest.mark.parametrize(
    ("option", "form", "passed", "taken"),
    [
        ("Approve", {"reason": "fine", "override": False}, False, False),
        ("Approve", {"reason": "fine", "override": True}, False, True),
        ("Approve", {"reason": "fine", "override": False}, True, True),
        ("Reject", {"reason": "worse", "override": False}, False, True),
        ("Approve", {"reason": " ", "override": True}, True, False),
    ],
)
def test_which_answers_are_taken(
    pair: tuple[Any, Any], option: str, form: dict[str, Any], passed: bool, taken: bool
) -> None:
    event = {"chosen_options": [option], "params_input": form, "responded_by_user": {"id": "r", "name": "r"},
             "responded_at": datetime(2026, 1, 1, tzinfo=UTC), "timedout": False}  # fmt: skip
    context = {"ti": Task({"gate": {"passed": passed}})}
    if taken:
        assert pair[0].execute_complete(context, event)["chosen_options"] == [option]
    else:
        with pytest.raises(ValueError, match="asked again"):
            pair[0].execute_complete(context, event)


def test_the_form_asks_for_a_reason_and_an_override(pair: tuple[Any, Any]) -> None:
    form = pair[0].serialized_params
    assert form["reason"]["schema"]["minLength"] == 3 and form["override"]["schema"]["type"] == "boolean"
    assert form["override"]["value"] is False and asks_override({"params": form})
    assert not asks_override({"params": {"reason": form["reason"]}})
