"""What is known of a SKU that was never sold: what others with attributes and titles like its own did before.

A value of the past (log units a day) is taken as a Gaussian process over SKUs (Rasmussen and Williams 2006,
chapter 2; Krige's method over places): SKUs of one category, of prices near one another, with titles alike vary
together. How much titles say beside the attributes, and how much is noise, is what makes the past likeliest (their
section 5.4.1), at each moment from what had ended by then. Where nothing tells SKUs apart all get the mean.

Titles come as vectors of the text model (`ml.text.titles`), in the column `title_vector`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.lake import Lake
from flashsale.tables import TITLES
from flashsale.warehouse_load import served_version

Floats = npt.NDArray[np.float64]

VECTOR = "title_vector"
LEAST_SKUS, MOST_SKUS = 5, 1000  # known ones: fewer tell nothing apart, of more those of the newest sales are enough
NEAR_TITLE, NEAR_PRICE = 0.1, 0.7  # of a cosine, and of log price: so far apart, SKUs share 1 / e of what they had
TITLE_SHARES = (0.0, 0.5)  # of what SKUs share, the part that titles tell; the rest is category and price
NOISES = (0.1, 0.3, 1.0, 3.0, 10.0)  # variance that nothing tells, over the variance that is shared


def with_vectors(rows: pd.DataFrame, lake: Lake) -> pd.DataFrame:
    """Rows with `title_vector`, the vector of `title` by the text model that is served; None where it has none.

    Rows come back as they are where they have no titles or nothing was embedded.
    """
    version = served_version(lake)
    kept = None if version is None else lake.manifest(TITLES, f"model_version={version}")
    if kept is None or "title" not in rows:
        return rows
    table = lake.read_one(kept)
    vectors = dict(zip(table["title"].to_pylist(), table["vector"].to_pylist(), strict=True))
    return rows.assign(**{VECTOR: rows["title"].map(vectors).astype(object)})


def of_relatives(rows: pd.DataFrame, history: pd.DataFrame, value: str) -> Floats:
    """What a past value of other SKUs lets expect of SKUs without one, from sales that ended before each row's cutoff.

    Args:
        rows: `sku_id`, `region_id`, `category`, `list_price`, `cutoff_at`; `title_vector` where titles were embedded.
        history: past cells with the same columns, `ends_at` and `value`; cells without a finite value do not count.
        value: the column to expect.

    Returns:
        Shape (rows,); NaN for SKUs that have the value themselves, and where fewer than `LEAST_SKUS` others have it.
    """
    out = np.full(len(rows), np.nan)
    past = history[np.isfinite(history[value].to_numpy(dtype=np.float64))]
    cutoffs, ends = microseconds(rows["cutoff_at"]), microseconds(past["ends_at"])
    own = pd.Series(ends).groupby(past["sku_id"].to_numpy()).min()
    new = ~(rows["sku_id"].map(own).to_numpy(dtype=np.float64) <= cutoffs)  # NaN, where there never was one, is new too
    for moment in np.unique(cutoffs[new]):
        known = past[ends <= moment]
        if known["sku_id"].nunique() >= LEAST_SKUS:
            places = np.flatnonzero(new & (cutoffs == moment))
            out[places] = _expected(rows.iloc[places], known, value)
    return out


def _expected(rows: pd.DataFrame, past: pd.DataFrame, value: str) -> Floats:
    """As `of_relatives`, of rows at one moment from the cells known then; shape (rows,)."""
    region = past.groupby("region_id")[value].mean()
    above = past[value] - past["region_id"].map(region)
    newest = past["ends_at"].groupby(past["sku_id"]).max().sort_values(kind="stable").index[-MOST_SKUS:]
    level = above.groupby(past["sku_id"]).mean()[newest]
    goods = past.drop_duplicates("sku_id", keep="last").set_index("sku_id").loc[newest].reset_index()
    asked = rows.drop_duplicates("sku_id").reset_index(drop=True)
    found = pd.Series(_likeliest(goods, asked, level.to_numpy(dtype=np.float64)), index=asked["sku_id"])
    usual = rows["region_id"].map(region).fillna(float(past[value].mean()))
    return np.asarray(usual.to_numpy(dtype=np.float64) + rows["sku_id"].map(found).to_numpy(dtype=np.float64))


def _likeliest(goods: pd.DataFrame, asked: pd.DataFrame, level: Floats) -> Floats:
    """Expected level of the SKUs asked for under the likeliest share of titles and noise, shape (asked,)."""
    mean, best, answer = float(level.mean()), -np.inf, np.zeros(len(asked))
    left = level - mean
    both = pd.concat([goods, asked], ignore_index=True)
    attributes, titles = _by_attributes(both, len(goods)), _by_title(both, len(goods))
    for share in TITLE_SHARES if titles is not None else TITLE_SHARES[:1]:
        kernel = attributes if titles is None else share * titles + (1.0 - share) * attributes
        values, axes = np.linalg.eigh(kernel[: len(goods)])
        seen = axes.T @ left
        for noise in NOISES:
            spread = np.maximum(values, 0.0) + noise
            scale = float(np.mean(seen**2 / spread))  # the likeliest variance, in closed form
            likely = -0.5 * (len(left) * np.log(max(scale, 1e-12)) + float(np.log(spread).sum()))
            if likely > best:
                best, answer = likely, kernel[len(goods) :] @ (axes @ (seen / spread))
    return np.asarray(mean + answer, dtype=np.float64)


def _by_attributes(rows: pd.DataFrame, goods: int) -> Floats:
    """Correlation by category and list price, half each, of all rows with the first `goods`, shape (rows, goods)."""
    category, price = rows["category"].to_numpy(), np.log(rows["list_price"].to_numpy(dtype=np.float64))
    same = category[:, None] == category[None, :goods]
    apart = (price[:, None] - price[None, :goods]) / NEAR_PRICE
    return np.asarray(0.5 * same + 0.5 * np.exp(-(apart**2)), dtype=np.float64)


def _by_title(rows: pd.DataFrame, goods: int) -> Floats | None:
    """Correlation by title, as `_by_attributes`; a row without a vector has none. None where no row has a vector."""
    if VECTOR not in rows or not rows[VECTOR].notna().any():
        return None
    known = rows[VECTOR].notna().to_numpy()
    blank = bytes(len(rows[VECTOR].dropna().iloc[0]))
    given = [vector if told else blank for vector, told in zip(rows[VECTOR], known, strict=True)]
    unit = np.stack([np.frombuffer(vector, dtype="<f2") for vector in given]).astype(np.float64)
    near = np.exp((unit @ unit[:goods].T - 1.0) / NEAR_TITLE)
    return np.asarray(near * np.outer(known, known[:goods]), dtype=np.float64)


def microseconds(values: pd.Series) -> npt.NDArray[np.int64]:
    """Moments as microseconds since 1970, shape (rows,)."""
    return np.asarray(pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]").astype("int64"), dtype=np.int64)
