"""Fitting the ridge core: standardised, one-hot features, a penalty chosen by folds of whole sales."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.heads import Encoder, Ridge

Floats = npt.NDArray[np.float64]

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
FOLDS = 5  # sales are dealt into this many for choosing the penalty


def fit_encoder(frame: pd.DataFrame, categorical: list[str]) -> Encoder:
    """Learn means, scales and category levels from training rows."""
    numeric = [name for name in frame.columns if name not in categorical]
    levels = {name: sorted(frame[name].astype(str).unique()) for name in frame.columns if name in categorical}
    bare = Encoder(numeric, levels)
    raw = bare.raw(frame)
    raw[:, np.isnan(raw).all(axis=0)] = 0.0
    mean, scale = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
    return Encoder(numeric, levels, mean.tolist(), np.where(scale > 1e-9, scale, 1.0).tolist())


def fit_ridge(frame: pd.DataFrame, target: Floats, groups: npt.NDArray[Any], categorical: list[str]) -> Ridge:
    """Ridge regression; the penalty is chosen by folds that never split `groups` (rows of one sale)."""
    encoder = fit_encoder(frame, categorical)
    x = encoder.matrix(frame)
    penalty = _best_penalty(x, target, fold_of(groups, FOLDS))
    weights, intercept = _solve(x, target, penalty)
    return Ridge(encoder, weights.tolist(), intercept, penalty)


def _best_penalty(x: Floats, target: Floats, fold: npt.NDArray[np.int64]) -> float:
    losses = sum(_losses(x, target, fold == k) for k in range(FOLDS))
    return PENALTIES[int(np.argmin(losses))]


def fold_of(groups: npt.NDArray[Any], folds: int) -> npt.NDArray[np.int64]:
    """Fold of each row: groups in order of first appearance, dealt out in turn; shape (rows,)."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[inverse] % folds, dtype=np.int64)


def cross_fitted(frame: pd.DataFrame, target: Floats, groups: npt.NDArray[Any], categorical: list[str]) -> Floats:
    """Out-of-fold ridge predictions, shape (rows,): each sale is predicted by the others.

    Scaling and penalty are chosen once on all rows: they carry next to nothing of a single row's target.
    """
    x = fit_encoder(frame, categorical).matrix(frame)
    fold = fold_of(groups, FOLDS)
    penalty = _best_penalty(x, target, fold)
    out = np.full(len(target), float(np.mean(target)))
    for k in np.unique(fold):
        if (fold != k).any():
            weights, intercept = _solve(x[fold != k], target[fold != k], penalty)
            out[fold == k] = x[fold == k] @ weights + intercept
    return out


def _solve(x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
    mean_x, mean_y = x.mean(axis=0), float(y.mean())
    centred = x - mean_x
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - mean_y))
    return weights, mean_y - float(mean_x @ weights)


def _losses(x: Floats, y: Floats, held_out: npt.NDArray[np.bool_]) -> Floats:
    """Squared error on the held-out rows for every penalty, from one decomposition; shape (penalties,)."""
    if held_out.all() or not held_out.any():
        return np.zeros(len(PENALTIES))
    mean_x, mean_y = x[~held_out].mean(axis=0), float(y[~held_out].mean())
    centred = x[~held_out] - mean_x
    values, vectors = np.linalg.eigh(centred.T @ centred)
    score = vectors.T @ (centred.T @ (y[~held_out] - mean_y))
    weights = vectors @ (score[:, None] / (np.maximum(values, 0.0)[:, None] + np.array(PENALTIES)[None, :]))
    error = (y[held_out] - mean_y)[:, None] - (x[held_out] - mean_x) @ weights
    return np.asarray((error**2).sum(axis=0))
