"""Decisions on a real MLflow store: where a roll-back leads, what tags on a page ask for, and who cannot be asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flashsale.errors import InputError
from flashsale.local.service import free_port
from flashsale.settings import settings
from ml import registry
from ml.__main__ import main
from ml.registry_review import apply_tags
from ml.text.data import Example
from ml.text.poison import champion_ledger, key_of, write_ledger
from ml.tracking import client, experiment_id

DECIDED = {"reviewed_by": "Ann", "review_reason": "better on zh"}


def hand_in(*tags: dict[str, str], name: str = "toy-candidate") -> None:
    """Versions 1, 2, … of a candidate without files, with these tags."""
    api = client()
    api.create_registered_model(name)
    for one in tags:
        api.create_model_version(name, source=(settings().home / "none").as_uri(), tags=one)


def promote(version: str, name: str = "toy") -> str:
    return registry.promote(f"{name}-candidate", version, by="Ann", reason="r").version


def back(name: str = "toy") -> str:
    return registry.rollback(name, by="Bob", reason="worse live").version


def tags_of(name: str, version: str) -> dict[str, str]:
    return dict(client().get_model_version(name, version).tags)


def test_a_roll_back_leads_to_what_was_replaced_last(home: Path) -> None:
    hand_in({}, {}, {})
    assert [promote(v) for v in ("1", "2", "3", "2")] == ["1", "2", "3", "2"], "a candidate keeps its copy"
    assert tags_of("toy", "2")["replaced"] == "3"
    assert back() == "3"
    assert tags_of("toy", "2")["rolled_back_by"] == "Bob"
    with pytest.raises(InputError, match=r"replaced version 2, which was itself rolled back \(Bob: worse live\)"):
        back()
    assert registry.champion("toy").version == "3"  # type: ignore[union-attr]
    assert promote("2") == "2", "promoted again, it is a place to go back to"
    assert tags_of("toy", "2")["rolled_back"] == "false" and promote("1") == "1" and back() == "2"


def test_going_on_back_ends_at_the_first(home: Path) -> None:
    hand_in({}, {}, {}, name="line-candidate")
    for version in ("1", "2", "3"):
        promote(version, "line")
    assert [back("line"), back("line")] == ["2", "1"]
    with pytest.raises(InputError, match="replaced no earlier"):
        back("line")
    hand_in({}, {}, name="pair-candidate")
    for version in ("1", "2", "1"):
        promote(version, "pair")
    assert back("pair") == "2", "the first again goes back to the second"


def test_who_is_champion_already_stays_as_it_is(home: Path) -> None:
    hand_in({}, {})
    promote("1"), promote("2")
    before = registry.show("toy"), registry.show("toy-candidate")
    assert registry.promote("toy-candidate", "2", by="Eve", reason="again").version == "2"
    assert (registry.show("toy"), registry.show("toy-candidate")) == before
    assert back() == "1"


def test_a_roll_back_that_is_tried_again_moves_once(home: Path) -> None:
    hand_in({}, {}, {})
    for version in ("1", "2", "3"):
        promote(version)
    words = ["registry", "rollback", "toy", "--by=Bob", "--reason=-3% live", "--champion=3"]
    assert main(words) == main(words) == 0
    assert registry.champion("toy").version == "2"  # type: ignore[union-attr]
    assert tags_of("toy", "3")["rolled_back_reason"] == "-3% live"
    assert main([*words[:-1], "--champion=1"]) == 2, "another version is champion"
    assert main(["registry", "rollback", "toy", "--by=", "--reason=r"]) == 2, "nobody decided"
    assert registry.champion("toy").version == "2"  # type: ignore[union-attr]


def test_tags_of_a_candidate_do_not_lead_a_promotion_astray(home: Path) -> None:
    """Whoever registers a version may give it any tags; the champion's own are the registry's."""
    hand_in({"replaced": "7", "rolled_back": "true"}, {"promoted_to": "1"}, {"promoted_to": "99", "replaced": "3"})
    assert promote("1") == "1" and "replaced" not in tags_of("toy", "1")
    assert promote("2") == "2", "it is no copy of the first"
    assert promote("3") == "3" and tags_of("toy", "3")["replaced"] == "2" and [back(), back()] == ["2", "1"]


def test_tags_are_shown_then_carried_out_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"gate_passed": "False", "gate_reasons": "zh: NOT PASSED"}
    hand_in({}, {"review": "rejected", **DECIDED}, {"review": "Approved ", **DECIDED},
            {"review": "approved", "gate_overridden": "true", **failed, **DECIDED})  # fmt: skip
    hand_in({"review": "rejected", **DECIDED}, name="other-candidate")
    assert main(["registry", "apply-tags"]) == 0
    said = capsys.readouterr().err
    assert "toy-candidate/3: approved by Ann: better on zh\n" in said and "nothing was changed" in said
    assert "toy-candidate/4: approved, over its gate by Ann" in said and "other-candidate/1: rejected" in said
    assert registry.champion("toy") is None and "reviewed_at" not in tags_of("toy-candidate", "2")

    assert main(["registry", "apply-tags", "toy-candidate", "--yes"]) == 0
    assert "reviewed_at" not in tags_of("other-candidate", "1"), "another candidate was named"
    assert tags_of("toy-candidate", "2")["reviewed_at"] and "promoted_to" not in tags_of("toy-candidate", "2")
    assert [tags_of("toy-candidate", v)["promoted_to"] for v in ("3", "4")] == ["1", "2"]
    held = tags_of("toy", "2")
    assert (
        held["gate_overridden"] == "by Ann: better on zh" and held["reviewed_by"] == "Ann" and held["replaced"] == "1"
    )

    before = registry.show("toy"), registry.show("toy-candidate")
    assert apply_tags("toy-candidate", carry_out=True)["decisions"] == []
    registry.rollback("toy", by="Bob", reason="worse live")  # what was approved once is not approved anew
    assert apply_tags(carry_out=True)["decisions"][0]["candidate"] == "other-candidate"
    assert registry.champion("toy").version == "1" and registry.show("toy-candidate") == before[1]  # type: ignore[union-attr]


WRONG_TAGS = [
    ({"review": "approved", "reviewed_by": "Ann"}, "field 'review_reason'.*why is missing.*version's page"),
    ({"review": "rejected", "review_reason": "r", "reviewed_by": " "}, "field 'reviewed_by'.*who decided is missing"),
    ({"review": "approve", **DECIDED}, "field 'review'.*'approve' is no decision.*approved or rejected"),
    ({"review": "approved", "gate_passed": "False", **DECIDED}, "field 'gate_overridden'.*did not pass.*`true`"),
    ({"review": "approved", "gate_passed": "False", "gate_overridden": "no", **DECIDED}, "field 'gate_overridden'"),
]


def test_a_tag_that_is_missing_is_named_and_nothing_is_done(home: Path) -> None:
    for number, (tags, words) in enumerate(WRONG_TAGS):
        name = f"toy{number}-candidate"
        hand_in({"review": "approved", **DECIDED}, tags, name=name)
        with pytest.raises(InputError, match=rf"{name}/2, {words}"):
            apply_tags(name, carry_out=True)
        assert "promoted_to" not in tags_of(name, "1"), "one that is wrong keeps the others from being carried out"


def test_a_decision_that_was_made_is_not_made_again_by_its_tags(home: Path) -> None:
    hand_in({}, {})
    registry.reject("toy-candidate", "1", by="Ann", reason="no gain")
    client().set_model_version_tag("toy-candidate", "1", "review", "approved")
    promote("2")
    client().set_model_version_tag("toy-candidate", "2", "review", "rejected")
    assert apply_tags(carry_out=True)["decisions"] == [] and registry.champion("toy").version == "1"  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no candidate's name"):
        apply_tags("toy")
    with pytest.raises(InputError, match="does not know it"):
        apply_tags("nobody-candidate")


def test_a_registry_that_gives_no_answer_is_not_one_that_has_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_in({})
    assert registry.champion("nobody") is None and registry.champion("toy-candidate") is None, "no model, no alias"
    with pytest.raises(InputError, match="no such version"):
        registry.resolve("toy-candidate/one")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("FLASHSALE_MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{free_port()}")
    settings.cache_clear()
    for question in (
        lambda: registry.champion("toy"),
        lambda: registry.show("toy"),
        lambda: registry.resolve("toy"),
        lambda: registry.resolve("models:/toy/1"),
        lambda: registry.promote("toy-candidate", "1", by="Ann", reason="r"),
        lambda: registry.reject("toy-candidate", "1", by="Ann", reason="r"),
        lambda: registry.rollback("toy", by="Ann", reason="r"),
        lambda: champion_ledger("toy"),
    ):
        with pytest.raises(InputError, match="gave no answer") as told:
            question()  # type: ignore[no-untyped-call]
        assert "hunter2" not in str(told.value) and "FLASHSALE_MLFLOW_TRACKING_URI" in str(told.value)


def test_a_ledger_that_cannot_be_fetched_is_not_a_champion_without_one(home: Path, tmp_path: Path) -> None:
    api = client()
    run = api.create_run(experiment_id("toy")).info.run_id
    api.create_registered_model("toy-candidate")
    api.create_model_version("toy-candidate", source=tmp_path.as_uri(), run_id=run)
    promote("1")
    with pytest.raises(InputError, match="toy-v1: the files of its run are not there"):
        champion_ledger("toy")
    api.log_text(run, "# Toy", "model_card.md")
    assert champion_ledger("toy") is None
    ledger = write_ledger([Example("good", "en", 2, 0, ())], tmp_path)
    api.log_artifact(run, str(ledger), "evaluation")
    found = champion_ledger("toy")
    assert found is not None and found.sentiments == {key_of("good"): "positive"}
    shutil.rmtree(home / "mlartifacts")
    with pytest.raises(InputError, match="the files of its run are not there"):
        champion_ledger("toy")
