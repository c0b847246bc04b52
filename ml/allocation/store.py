"""Where plans come from and go to: the warehouse, the registry, the lake. No formula lives here."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from flashsale import warehouse
from flashsale.decision_tables import ALLOCATION_PLANS, ALLOCATION_RECOMMENDATIONS
from flashsale.errors import InputError
from flashsale.lake import Commit, Lake
from flashsale.reference_prices import reference_prices
from flashsale.request import SaleRequest, check_known, load_request
from flashsale.settings import settings
from flashsale.soundness import check_history
from ml.allocation import keep
from ml.allocation.audit import audit_plan
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs
from ml.demand import features as ft
from ml.demand import heads as hd
from ml.demand import level, tables
from ml.demand.cli import NAME
from ml.demand.unconstrain import sale_curves

DATASET = tables.PLANS
SUMMARIES = "decisions/allocation_plans"
PROPOSED, APPROVED, REJECTED, PUBLISHED = "proposed", "approved", "rejected", "published"


@dataclass(frozen=True)
class Models:
    """The demand model with text and the one without, and the label of each."""

    with_text: hd.LevelHeads
    without_text: hd.LevelHeads
    labels: dict[bool, str]


@dataclass(frozen=True)
class Sources:
    """Everything a plan rests on, and the hash of it all."""

    inputs: Inputs
    models: Models
    data_hash: str
    text_model_version: str | None


def lake() -> Lake:
    """The platform's lake."""
    return Lake(settings().lake_uri)


def stored_request(request_id: str) -> SaleRequest:
    """A request as it was ingested; InputError where there is none."""
    table = lake().read("raw/sale_requests", [f"request_id={request_id}"])
    return load_request(table["request_json"][0].as_py())


def gather(request_id: str, model_uri: str | None = None) -> Sources:
    """Read a request, its features, past sales and the models.

    Args:
        request_id: a stored request.
        model_uri: demand model to use, a folder or a registered one; by default the champion, or a fit on the spot
            where there is none.

    Raises:
        InputError: naming what the request asks for or the past holds that no plan can rest on.
    """
    request = stored_request(request_id)
    check_known(request, _names("dim_products", "sku_id"), _names("dim_regions", "region_id"))
    check_history(request)
    rows, asked_hash = tables.asked_rows(request_id)
    learnt, learnt_hash = tables.learning_rows()
    lowest = {sku: pair[1] for sku, pair in reference_prices(request).items()}
    inputs = Inputs(request, rows, past_lifts(learnt), lawful_ladder(request, lowest), shipping_costs())
    models = load_models(learnt, learnt_hash, model_uri)
    marks = [request.canonical_json(), asked_hash, learnt_hash, models.labels[True], models.labels[False]]
    digest = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    version = warehouse.read("select max(model_version) as v from marts.fct_text_signals")["v"][0].as_py()
    return Sources(inputs, models, digest, version)


def past_lifts(learnt: pd.DataFrame) -> pd.DataFrame:
    """Past cells with what features of a request read of them (`features.past_cells`)."""
    return ft.past_cells(learnt, learnt["demand"].to_numpy(dtype=float))


def load_models(learnt: pd.DataFrame, digest: str, model_uri: str | None) -> Models:
    """The champion (or the given model) and its twin, which is fitted on the spot with or without text."""
    data = level.training_set(learnt, learnt["demand"].to_numpy(dtype=float))
    known: dict[bool, hd.LevelHeads] = {}
    labels: dict[bool, str] = {}
    found = _given_model(model_uri)
    if found is not None:
        heads, label = found
        text = bool(heads.notes.get("with_text", True))
        known[text], labels[text] = heads, label
    for text in (True, False):
        if text not in known:
            known[text] = level.fit(data, with_text=text, seed=settings().seed)
            labels[text] = f"unregistered-{'text' if text else 'plain'}-{digest[:8]}"
    return Models(known[True], known[False], labels)


def _given_model(model_uri: str | None) -> tuple[hd.LevelHeads, str] | None:
    """A model folder, a registered version or the champion, with its label; None where there is no champion."""
    if model_uri and Path(model_uri).is_dir():
        digest = hashlib.sha256((Path(model_uri) / hd.MANIFEST).read_bytes()).hexdigest()
        return hd.load(Path(model_uri)), f"local-{digest[:12]}"
    from ml import registry

    found = registry.resolve(model_uri) if model_uri else registry.champion(NAME)
    return None if found is None else (hd.load(registry.fetch(found.uri) / "artifacts" / "model"), found.label)


def shipping_costs() -> dict[str, float]:
    """Cost of sending one unit to each region."""
    table = warehouse.read("select region_id, shipping_cost from marts.dim_regions")
    return {row["region_id"]: float(row["shipping_cost"]) for row in table.to_pylist()}


def _names(table: str, column: str) -> set[str]:
    return set(warehouse.read(f"select {column} from marts.{table}")[column].to_pylist())


def read_plan(plan_id: str) -> pd.DataFrame:
    """A stored plan's rows; InputError where there is none."""
    table = lake().read(DATASET, [f"plan_id={plan_id}"])
    frame: pd.DataFrame = table.to_pandas()
    return frame


def status_of(plan_id: str) -> str | None:
    """Status of a stored plan, None where there is none."""
    manifest = lake().manifest(DATASET, f"plan_id={plan_id}")
    if manifest is None:
        return None
    return str(lake().read_one(manifest, columns=["status"])["status"][0].as_py())


def write_plan(plan_id: str, frame: pd.DataFrame) -> Commit:
    """Commit a plan's rows, one partition a plan."""
    ordered = frame.assign(offer_price=decimals(frame["offer_price"]))
    table = pa.Table.from_pandas(ordered, schema=ALLOCATION_RECOMMENDATIONS, preserve_index=False)
    return lake().write(DATASET, f"plan_id={plan_id}", table.replace_schema_metadata(None))


def write_summary(plan_id: str, answer: dict[str, Any]) -> Commit:
    """Commit a plan's totals: one row, one partition a plan."""
    row = {**answer, "shadow_prices": json.dumps(answer["shadow_prices"], sort_keys=True)}
    table = pa.Table.from_pylist([{name: row[name] for name in ALLOCATION_PLANS.names}], schema=ALLOCATION_PLANS)
    return lake().write(SUMMARIES, f"plan_id={plan_id}", table)


def keep_inputs(folder: Path, sources: Sources, plan_id: str, *, plain: bool) -> None:
    """Write what a plan was solved from as a folder (see `ml.allocation.keep`)."""
    facts, models = _facts(sources, plan_id, plain), sources.models
    keep.save(folder, sources.inputs, models.with_text, models.without_text, facts, offer_curves(sources.inputs))


def kept_folder(plan_id: str) -> Path:
    """Where a plan's inputs stay for a re-plan of its sale, which rests on them whatever has come in since."""
    return settings().home / "plans" / plan_id


def keep_for_sale(sources: Sources, plan_id: str, *, plain: bool) -> None:
    """Keep a plan's inputs, once; a folder that was cut off half-way is made anew."""
    folder = kept_folder(plan_id)
    if folder.exists():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    keep_inputs(part, sources, plan_id, plain=plain)
    part.rename(folder)


def offer_curves(inputs: Inputs) -> pd.DataFrame:
    """Expected share of demand in each hour of every offer that the request may make, from past sales.

    Returns `category`, `promo_type`, `starts_at`, `hour`, `share`.
    """
    request = inputs.request
    promos = sorted({promo for sku in request.skus for promo in sku.promo_types})
    kinds = product(sorted(inputs.rows["category"].unique()), promos, request.start_slots)
    asked = pd.DataFrame(kinds, columns=["category", "promo_type", "starts_at"])
    shares = sale_curves(tables.ended_cells(), tables.sale_hours(), asked, request.duration_hours)
    hours = asked.loc[asked.index.repeat(request.duration_hours)].reset_index(drop=True)
    return hours.assign(hour=np.tile(np.arange(request.duration_hours), len(asked)), share=shares.ravel())


def kept_again(plan_id: str) -> keep.Kept:
    """A stored plan's inputs, gathered anew with the model it was made by; InputError where they have changed since."""
    first = read_plan(plan_id).iloc[0]
    plain = pd.isna(first["text_model_version"]) and "-plain-" in plan_id
    sources = gather(str(first["request_id"]))
    if sources.data_hash != first["data_hash"]:
        problem = "its data or demand model have changed since: it cannot be solved again as it was"
        raise InputError(f"plan {plan_id}", problem, "plan the request again, then ask about the new plan")
    facts, models = _facts(sources, plan_id, plain), sources.models
    return keep.Kept(sources.inputs, models.with_text, models.without_text, facts, offer_curves(sources.inputs))


def _facts(sources: Sources, plan_id: str, plain: bool) -> dict[str, Any]:
    prices = {
        sku: [listed, lowest if np.isfinite(lowest) else None]
        for sku, (listed, lowest) in reference_prices(sources.inputs.request).items()
    }
    return {"plan_id": plan_id, "plain": plain, "seed": settings().seed, "prices": prices}


def decimals(prices: pd.Series) -> list[Any]:
    """Prices as they are stored: decimals of two places."""
    from decimal import Decimal

    return [Decimal(f"{float(price):.2f}") for price in prices]


def violations(frame: pd.DataFrame, request: SaleRequest) -> list[str]:
    """`audit_plan` with prices from the warehouse."""
    return audit_plan(frame, request, reference_prices(request))


def decide(plan_id: str, decision: str, by: str, reason: str) -> pd.DataFrame:
    """Record a planner's decision; the same decision twice changes nothing.

    Raises:
        InputError: where no person or reason is named, or another decision stands.
    """
    if not by.strip() or not reason.strip():
        raise InputError(f"plan {plan_id}", "a decision needs a person and a reason", "give --by and --reason")
    frame = read_plan(plan_id)
    status = str(frame["status"].iloc[0])
    if status == decision or (status == PUBLISHED and decision == APPROVED):
        return frame
    if status != PROPOSED:
        raise InputError(f"plan {plan_id}", f"it was already {status}", "plan the request again on newer data")
    decided = frame.assign(status=decision, decided_by=by, decided_at=pd.Timestamp(datetime.now(UTC)), reason=reason)
    write_plan(plan_id, decided)
    return decided


def publish(plan_id: str) -> pd.DataFrame:
    """Publish an approved plan after an audit; a rejected one is left as it is.

    Raises:
        InputError: where no decision was taken, or the plan breaks a limit.
    """
    frame = read_plan(plan_id)
    status = str(frame["status"].iloc[0])
    if status in (PUBLISHED, REJECTED):
        return frame
    if status != APPROVED:
        raise InputError(f"plan {plan_id}", "nobody has approved it", "decide first, then publish")
    faults = violations(frame, stored_request(str(frame["request_id"].iloc[0])))
    if faults:
        raise InputError(f"plan {plan_id}", "; ".join(faults[:5]), "plan the request again")
    published = frame.assign(status=PUBLISHED)
    write_plan(plan_id, published)
    return published
