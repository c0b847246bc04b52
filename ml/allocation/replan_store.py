"""Where re-plans come from and go to: the lake or a folder. No formula lives here.

A folder holds `inputs/` (what `plan --keep` wrote), `plan.parquet` (the published plan's rows), `minutes.parquet`
(rows of `live/minutes`) and, where the sale was re-planned before, `replans.parquet`; `replan.parquet` is written
beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flashsale.decision_tables import REPLANS
from flashsale.errors import InputError
from flashsale.lake import Commit
from flashsale.live_tables import ALERTS_SET, MINUTES_SET, partition_of
from flashsale.replan_limits import DATASET, MARK, STANDS, earlier_replans, plan_of, replan_limits
from flashsale.request import SaleRequest
from ml.allocation import keep, store
from ml.allocation.published import Published, read_published
from ml.allocation.replan import Case, Options, Replanned, Step, replan
from ml.allocation.replan_rows import PROPOSED, UNCHANGED, replan_rows
from ml.allocation.running import WATCH
from ml.demand import tables

APPLIED, APPROVED, REJECTED = "applied", "approved", "rejected"
DECIDED = (APPLIED, APPROVED, REJECTED)
MONEY_COLUMNS = ("price_now", "price_after")


@dataclass(frozen=True)
class Sources:
    """What a re-plan is read from; `earlier` are rows of the plan's re-plans before it (none: empty)."""

    plan_id: str
    campaign_id: str
    kept: keep.Kept
    rows: pd.DataFrame
    minutes: pd.DataFrame
    earlier: pd.DataFrame

    @property
    def prices(self) -> dict[str, tuple[float, float]]:
        """List price and lowest price of the look-back days by SKU."""
        known: Mapping[str, tuple[float, float | None]] = self.kept.facts["prices"]
        return {
            sku: (float(listed or 0.0), np.inf if low is None else float(low)) for sku, (listed, low) in known.items()
        }


def gather(plan_id: str, campaign_id: str | None, inputs: Path | None) -> Sources:
    """Read a plan, what it was made from, the watch's minutes and earlier re-plans from the lake.

    Args:
        campaign_id: as which the sale is watched; the plan's id by default.
        inputs: folder that `plan --keep` wrote; by default the one kept when the plan was made, or the data as it is.

    Raises:
        InputError: where the plan or its live figures are missing, or orders have fallen silent.
    """
    name = campaign_id or plan_id
    if store.status_of(plan_id) is None:
        raise InputError(f"plan {plan_id}", "the lake holds no such plan", "name a published plan", field="plan_id")
    rows = tables.to_frame(store.lake().read(store.DATASET, [f"plan_id={plan_id}"]))
    if rows["status"].iloc[0] == store.PUBLISHED:  # what is not published is refused with better words, below
        _not_silent(name)
    minutes = _live(MINUTES_SET, name)
    if minutes is None:
        raise InputError(f"live figures of sale {name}", "the watch has written none", WATCH, field="campaign_id")
    return Sources(plan_id, name, _kept(plan_id, inputs), rows, minutes, _earlier(plan_id))


def _kept(plan_id: str, inputs: Path | None) -> keep.Kept:
    folder = inputs or store.kept_folder(plan_id)
    return keep.read(folder) if inputs or folder.is_dir() else store.kept_again(plan_id)


def _live(dataset: str, name: str) -> pd.DataFrame | None:
    manifest = store.lake().manifest(dataset, partition_of(name))
    return None if manifest is None else tables.to_frame(store.lake().read_one(manifest))


def _not_silent(name: str) -> None:
    """Refuse where the watch says that orders do not come: no orders would be read as no demand."""
    alerts, minutes = _live(ALERTS_SET, name), _live(MINUTES_SET, name)
    if alerts is None or minutes is None or "rows_orders" not in minutes:
        return
    silent = alerts[(alerts["kind"] == "silent_source") & (alerts["topic"] == "orders")]
    heard = minutes.loc[minutes["rows_orders"] > 0, "minute"].max()
    if len(silent) and not heard >= silent["raised_at"].max() - pd.Timedelta(minutes=1):
        words = f"no order has come since {heard:%H:%M} UTC, so nothing is known of demand"
        raise InputError(f"live figures of sale {name}", words, "mend the stream of orders, then ask again",
                         field="orders")  # fmt: skip


def _earlier(plan_id: str, before: pd.Timestamp | None = None) -> pd.DataFrame:
    """Rows of all re-plans of a plan, or of those before a clock."""
    return tables.to_frame(earlier_replans(store.lake(), plan_id, before))


def replan_name(plan_id: str, clock: pd.Timestamp) -> str:
    """Name of the re-plan of a plan at a clock: asked twice at one minute, it is one re-plan."""
    return f"{plan_id}{MARK}{clock:%Y%m%dT%H%M}"


def read_folder(folder: Path) -> Sources:
    """The same from a folder (see the module). Raises InputError naming the file that is missing."""
    for name in ("plan.parquet", "minutes.parquet"):
        if not (folder / name).is_file():
            raise InputError(f"folder {folder}", "this file is missing", "put it there as docs/live_sale.md says",
                             field=name)  # fmt: skip
    rows, minutes = (_frame(folder / f"{name}.parquet") for name in ("plan", "minutes"))
    earlier = folder / "replans.parquet"
    before = _frame(earlier) if earlier.is_file() else tables.to_frame(REPLANS.empty_table())
    plan_id = str(rows["plan_id"].iloc[0])
    return Sources(plan_id, plan_id, keep.read(folder / "inputs"), rows, minutes, before)


def _frame(path: Path) -> pd.DataFrame:
    return tables.to_frame(pq.ParquetFile(path).read())


@dataclass(frozen=True)
class Answer:
    """A re-plan with its name, its rows in full, and how it was found."""

    replan_id: str
    rows: pd.DataFrame
    found: Replanned


def make(sources: Sources, options: Options) -> Answer:
    """Re-plan and audit.

    Raises:
        InputError: see `replan` and `read_published`.
        RuntimeError: where the re-plan broke a limit.
    """
    kept = sources.kept
    plan = read_published(sources.plan_id, sources.rows, kept.inputs, kept.heads(), int(kept.facts["seed"]))
    clock = pd.to_datetime(sources.minutes["minute"], utc=True).max()
    earlier = sources.earlier[sources.earlier["as_of"] < clock]
    case = Case(sources.campaign_id, plan, dict(kept.heads().notes.get("correlation", {})),
                _curves(plan, kept.curves), sources.minutes, _steps(plan, earlier))  # fmt: skip
    found = replan(case, options)
    name = replan_name(sources.plan_id, found.running.clock)
    rows = replan_rows(found).assign(
        replan_id=name, plan_id=sources.plan_id, request_id=plan.inputs.request.request_id,
        campaign_id=sources.campaign_id, decided_by=None, decided_at=None, reason=None,
    )  # fmt: skip
    faults = violations(rows, sources.rows, earlier, plan.inputs.request, sources.prices)
    if faults:
        raise RuntimeError("the re-plan broke its own limits: " + "; ".join(faults))
    return Answer(name, rows, found)


def _curves(plan: Published, curves: pd.DataFrame) -> np.ndarray:
    """Expected share of demand in each hour of each SKU's offer, shape (s, hours)."""
    known = curves.assign(starts_at=pd.to_datetime(curves["starts_at"], utc=True))
    by_offer = known.sort_values("hour").groupby(["category", "promo_type", "starts_at"])["share"].agg(list)
    category = plan.inputs.rows.groupby("sku_id")["category"].first()
    offers = zip(plan.offers.sku_ids, plan.promos, plan.offers.starts_at, strict=True)
    keys = [(category[sku], promo, start) for sku, promo, start in offers]
    missing = next((key for key in keys if key not in by_offer.index), None)
    if missing is not None:
        words = "they hold no hourly curve for this offer: an older version kept them"
        raise InputError("plan inputs", words, "keep them again with `plan --keep`", field="curves",
                         row=" ".join(map(str, missing)))  # fmt: skip
    return np.array([by_offer[key] for key in keys], dtype=np.float64)


def _steps(plan: Published, earlier: pd.DataFrame) -> list[Step]:
    """Earlier re-plans as far as they were carried out, by time."""
    steps, prices = [], plan.planned
    stood = earlier[earlier["status"].isin(STANDS)]
    for clock in sorted(stood["as_of"].unique()):
        part = stood[stood["as_of"] == clock]
        units, prices, counted = np.zeros_like(plan.units), prices.copy(), 0
        for i, sku in enumerate(plan.offers.sku_ids):
            own = part[part["sku_id"] == sku].sort_values("within_limits", ascending=False)
            changed = own[own["price_after"] != own["price_now"]]
            if len(changed):
                prices[i] = int(np.argmin(np.abs(plan.prices[i] - float(changed["price_after"].iloc[-1]))))
                counted += int(changed["within_limits"].any())
            for r, region in enumerate(plan.offers.region_ids):
                cell = own[own["region_id"] == region]
                units[i, r] = int((cell["units_moved"] + cell["units_sent"]).sum())
        steps.append(Step(pd.Timestamp(clock), prices, units, counted))
    return steps


def violations(
    rows: pd.DataFrame, plan: pd.DataFrame, earlier: pd.DataFrame, request: SaleRequest,
    prices: Mapping[str, tuple[float, float]],
) -> list[str]:  # fmt: skip
    """Limits that a re-plan breaks, each a sentence; an empty list is a clean re-plan."""
    before = _table(earlier) if len(earlier) else None
    used = replan_limits(_table(rows), pa.Table.from_pandas(plan, preserve_index=False), before, request, prices)
    return [f"{r['limit']}: {r['used']:.2f} used of {r['most']:.2f}" for r in used.to_pylist() if r["used"] > r["most"]]


def _table(rows: pd.DataFrame) -> pa.Table:
    decimals = {name: store.decimals(rows[name]) for name in MONEY_COLUMNS}
    table = pa.Table.from_pandas(rows.assign(**decimals), schema=REPLANS, preserve_index=False)
    return table.replace_schema_metadata(None)


def write_folder(folder: Path, answer: Answer) -> None:
    """Write `replan.parquet` into the folder."""
    pq.write_table(_table(answer.rows), folder / "replan.parquet", compression="zstd")


def write(answer: Answer) -> bool:
    """Commit a re-plan's rows; a re-plan that was decided on keeps its decision. Returns whether they were written."""
    manifest = store.lake().manifest(DATASET, f"replan_id={answer.replan_id}")
    if manifest is not None and set(store.lake().read_one(manifest)["status"].to_pylist()) & set(DECIDED):
        return False
    _commit(answer.replan_id, answer.rows)
    return True


def _commit(replan_id: str, rows: pd.DataFrame) -> Commit:
    return store.lake().write(DATASET, f"replan_id={replan_id}", _table(rows))


def read(replan_id: str) -> pd.DataFrame:
    """A stored re-plan's rows; InputError where there is none."""
    return tables.to_frame(store.lake().read(DATASET, [f"replan_id={replan_id}"]))


def apply(replan_id: str) -> pd.DataFrame:
    """Mark what the approved plan allowed as applied, after an audit; twice changes nothing."""
    rows = _newest(replan_id)
    plan = store.read_plan(str(rows["plan_id"].iloc[0]))
    request = store.stored_request(str(rows["request_id"].iloc[0]))
    earlier = _earlier(str(plan["plan_id"].iloc[0]), rows["as_of"].iloc[0])
    faults = violations(rows, plan, earlier, request, store.reference_prices(request))
    if faults:
        raise InputError(f"re-plan {replan_id}", "; ".join(faults[:5]), "re-plan again")
    due = rows["within_limits"] & (rows["status"] == PROPOSED)
    return _decided(replan_id, rows, due, APPLIED, "flashsale", "within what the approved plan allowed")


def decide(replan_id: str, decision: str, by: str, reason: str) -> pd.DataFrame:
    """Record a person's decision on what goes beyond the plan; the same decision twice changes nothing.

    Raises:
        InputError: where no person or reason is named, nothing goes beyond the plan, another decision stands, or the
            sale was re-planned since.
    """
    if not by.strip() or not reason.strip():
        raise InputError(f"re-plan {replan_id}", "a decision needs a person and a reason", "give --by and --reason")
    rows = _newest(replan_id)
    beyond = ~rows["within_limits"]
    stands = set(rows.loc[beyond, "status"]) - {PROPOSED, UNCHANGED}
    if stands == {decision}:
        return rows
    if stands:
        raise InputError(f"re-plan {replan_id}", f"it was already {stands.pop()}", "re-plan again")
    if not beyond.any():
        raise InputError(f"re-plan {replan_id}", "nothing in it goes beyond the plan", "there is nothing to decide",
                         field="within_limits")  # fmt: skip
    return _decided(replan_id, rows, beyond, decision, by, reason)


def _newest(replan_id: str) -> pd.DataFrame:
    """A re-plan's rows; InputError where the sale was re-planned since: its stock is no longer what they say."""
    rows = read(replan_id)
    newest = _earlier(str(rows["plan_id"].iloc[0]))["as_of"].max()
    if newest > rows["as_of"].iloc[0]:
        raise InputError(f"re-plan {replan_id}", f"the sale was re-planned at {newest:%Y-%m-%d %H:%M} UTC",
                         "decide on the newest re-plan", field="as_of")  # fmt: skip
    return rows


def _decided(replan_id: str, rows: pd.DataFrame, due: pd.Series, status: str, by: str, reason: str) -> pd.DataFrame:
    if not due.any():
        return rows
    changed = rows.copy()
    for name, value in (("status", status), ("decided_by", by), ("reason", reason)):
        changed[name] = changed[name].astype(object).where(~due, value)
    when = pd.to_datetime(changed["decided_at"], utc=True)
    changed["decided_at"] = when.where(~due, pd.Timestamp(datetime.now(UTC)))
    _commit(replan_id, changed)
    return changed


def worded(replan_id: str) -> list[str]:
    """What goes beyond the plan and waits for a person, a line a cell, what earns most first."""
    rows = read(replan_id)
    waits = rows[~rows["within_limits"] & (rows["status"] == PROPOSED)].sort_values("expected_gain", ascending=False)
    return [
        f"{row['sku_id']} in {row['region_id']}: {row['explanation']} Expected gain here {row['expected_gain']:.2f} "
        f"({row['gain_low']:.2f} to {row['gain_high']:.2f})."
        for row in waits.to_dict("records")
    ]


def open_replans() -> list[str]:
    """The newest re-plan of each plan, where something in it waits for a person."""
    lake = store.lake()
    newest: dict[str, str] = {}
    for partition in sorted(lake.partitions(DATASET)):
        name = partition.removeprefix("replan_id=")
        newest[plan_of(name)] = name
    rows = {name: read(name) for name in newest.values()}
    return [name for name, own in rows.items() if ((own["status"] == PROPOSED) & ~own["within_limits"]).any()]
