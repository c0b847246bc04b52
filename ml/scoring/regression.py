"""Time-based regression (Kerman, Wang, Vaver 2017, "Estimating ad effectiveness using geo experiments in a time-based
regression framework"): before the sale the series is regressed on its donors' mean, y_t = a + b x_t + e_t; the line,
carried on over the days ahead, is what would have happened. With flat priors the posterior predictive is Student's t:
its covariance is s2 (I + X1 (X'X)^-1 X1'), which holds what is unsure about the line as well as each day's noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml.scoring.structural import Forecast

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TINY = 1e-9  # ridge that keeps the system solvable where the donors' mean never moved


def forecast(units: Floats, usable: Bools, control: Floats, control_ahead: Floats) -> Forecast:
    """Carry on the regression of every series on one control.

    Args:
        units: past units, shape (series, days).
        usable: days that count, same shape; at least three a series.
        control: the donors' mean on the past days, shape (days,).
        control_ahead: the same on the days ahead.
    """
    centre = float(control.mean())
    past, later = (np.stack([np.ones_like(x), x - centre], axis=1) for x in (control, control_ahead))
    counted = usable.astype(np.float64)
    gram = np.einsum("nt,ti,tj->nij", counted, past, past) + TINY * np.eye(2)
    pull = np.einsum("nt,ti->ni", counted * units, past)
    inverse = np.linalg.inv(gram)
    slope = np.einsum("nij,nj->ni", inverse, pull)
    left = (units - slope @ past.T) * counted
    variance = (left**2).sum(axis=1) / np.maximum(counted.sum(axis=1) - 2.0, 1.0)
    shape = np.eye(len(later)) + np.einsum("hi,nij,kj->nhk", later, inverse, later)
    return Forecast(slope @ later.T, variance[:, None, None] * shape)
