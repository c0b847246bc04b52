"""The decision commands one after the other, on a published snapshot and a lake of their own."""

from __future__ import annotations

import pandas as pd
import pytest

from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS, CAMPAIGN_SCORES, UNCONSTRAINED_DEMAND
from flashsale.lake import Lake
from flashsale.settings import settings
from ml.__main__ import main
from tests.ml.conftest import ShopFrames, run_command, store_request


def _check_served(uri: str, platform: ShopFrames) -> None:
    """The registered model, loaded by MLflow alone, forecasts what its own heads do."""
    import mlflow

    from ml import registry
    from ml.demand import heads

    folder = registry.fetch(uri)
    own = heads.load(folder / "artifacts" / "model")
    example = pd.DataFrame({name: [0.5, 1.0] for name in [*own.features, "base_units", "log_price_ratio"]})
    example[["category", "promo_type"]] = [["books", "coupon"], ["never seen", "discount"]]
    served = mlflow.pyfunc.load_model(str(folder)).predict(example)
    pd.testing.assert_frame_equal(pd.DataFrame(served), own.forecast(example))


def test_from_past_sales_to_a_published_plan(platform: ShopFrames, capsys: pytest.CaptureFixture[str]) -> None:
    lake, request_id = Lake(settings().lake_uri), platform.request.request_id

    first = run_command(capsys, "demand", "unconstrain")
    assert first["cells"] == len(platform.performance)
    assert first["demand"] > first["units"]
    assert lake.read("decisions/unconstrained_demand").schema.equals(UNCONSTRAINED_DEMAND)
    assert not run_command(capsys, "demand", "unconstrain")["changed"]

    todo = run_command(capsys, "scoring", "pending")
    assert todo["campaigns"] == 14
    assert todo["requests"] == [request_id]
    assert run_command(capsys, "scoring", "score", "--campaigns", todo["batches"][0])["campaigns"] == 14
    assert run_command(capsys, "scoring", "pending")["batches"] == []
    assert len(run_command(capsys, "scoring", "pending", "--all")["batches"]) == 1
    scores = lake.read("decisions/campaign_scores")
    assert scores.schema.equals(CAMPAIGN_SCORES)
    assert set(scores["level"].to_pylist()) == {"cell", "sku", "campaign"}

    trained = run_command(capsys, "demand", "train", "--register")
    assert trained["metrics"]["wape_model"] < trained["metrics"]["wape_linear"]
    assert not trained["gate"]["passed"]  # fourteen sales are too few for intervals that hold
    promote = [
        "registry",
        "promote",
        "flashsale-demand-candidate",
        trained["version"],
        "--by",
        "test",
        "--reason",
        "ok",
    ]
    assert main(promote) == 2
    assert trained["gate"]["reasons"][0] in capsys.readouterr().err
    run_command(capsys, *promote, "--override")

    plan = run_command(capsys, "allocation", "plan", "--request-id", request_id)
    assert plan["gap"] < 0.01
    assert plan["demand_rule"] == "mean", "a person let a model pass whose intervals do not hold"
    assert plan["text_worth_low"] <= plan["text_worth"] <= plan["text_worth_high"]
    rows = lake.read("decisions/allocation_recommendations", [f"plan_id={plan['plan_id']}"])
    assert rows.schema.equals(ALLOCATION_RECOMMENDATIONS)
    assert set(rows["model_version"].to_pylist()) == {"flashsale-demand-v1"}
    assert set(rows["status"].to_pylist()) == {"proposed"}
    assert run_command(capsys, "allocation", "plan", "--request-id", request_id) == plan  # same data, same plan

    name = plan["plan_id"]
    assert main(["allocation", "publish", "--plan-id", name]) == 2
    assert "nobody has approved it" in capsys.readouterr().err
    assert main(["allocation", "decide", "--plan-id", name, "--decision", "approved", "--by", "", "--reason", "x"]) == 2
    decision = [
        "allocation",
        "decide",
        "--plan-id",
        name,
        "--decision",
        "approved",
        "--by",
        "planner",
        "--reason",
        "fits",
    ]
    assert run_command(capsys, *decision)["status"] == "approved"
    assert run_command(capsys, "allocation", "publish", "--plan-id", name)["published"]
    assert run_command(capsys, "allocation", "publish", "--plan-id", name)["published"]  # safe to run twice
    assert run_command(capsys, "allocation", "plan", "--request-id", request_id)["status"] == "published"
    assert (
        main(["allocation", "decide", "--plan-id", name, "--decision", "rejected", "--by", "p", "--reason", "no"]) == 2
    )
    assert run_command(capsys, "scoring", "pending")["requests"] == []
    assert run_command(capsys, "scoring", "pending", "--request-id", request_id)["requests"] == [request_id]


def test_a_rejected_plan_is_kept_and_not_published(platform: ShopFrames, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run_command(capsys, "allocation", "plan", "--request-id", platform.request.request_id, "--without-text")
    assert "-plain-" in plan["plan_id"]
    name = plan["plan_id"]
    run_command(
        capsys,
        "allocation",
        "decide",
        "--plan-id",
        name,
        "--decision",
        "rejected",
        "--by",
        "planner",
        "--reason",
        "late",
    )
    answer = run_command(capsys, "allocation", "publish", "--plan-id", name)
    assert (answer["status"], answer["published"]) == ("rejected", False)
    rows = Lake(settings().lake_uri).read("decisions/allocation_recommendations")
    assert set(rows["reason"].to_pylist()) == {"late"}


def test_wrong_requests_end_in_clear_errors(platform: ShopFrames, capsys: pytest.CaptureFixture[str]) -> None:
    asked = platform.request
    stranger = asked.skus[0].model_copy(update={"sku_id": "sku-999"})
    dear = asked.skus[0].model_copy(update={"prices": [asked.skus[0].unit_cost * 100]})
    for sku, words in ((stranger, "sku-999"), (dear, "every price lies above")):
        store_request(asked.model_copy(update={"skus": [sku, *asked.skus[1:]]}))
        assert main(["allocation", "plan", "--request-id", asked.request_id]) == 2
        assert words in capsys.readouterr().err
    assert main(["scoring", "score", "--campaigns", "c999"]) == 2
    assert "c999" in capsys.readouterr().err
    assert main(["scoring", "pending", "--request-id", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
