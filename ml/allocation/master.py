"""The linear programme of column generation: which of the known partial plans to mix (Dantzig and Wolfe 1960)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def master_programme(
    columns: Sequence[Sequence[tuple[Any, float, Floats]]], limits: Floats, finite: npt.NDArray[np.bool_]
) -> tuple[Floats, float]:
    """Multipliers of the coupling rows and the value of the best mix.

    Args:
        columns: by block (a SKU or a group of them) the plans known: (the plan, its value, what it takes of each row).
        limits: right-hand sides, shape (rows,); only those marked `finite` are rows of the programme.
    """
    from scipy.optimize import linprog

    flat = [(i, column) for i, own in enumerate(columns) for column in own]
    values = np.array([column[1] for _, column in flat])
    use = np.array([column[2] for _, column in flat]).T[finite]
    owner = np.zeros((len(columns), len(flat)))
    owner[[i for i, _ in flat], np.arange(len(flat))] = 1.0
    scale = np.maximum(np.abs(use).max(axis=1, initial=0.0), 1.0)
    answer = linprog(
        -values, A_ub=use / scale[:, None], b_ub=limits[finite] / scale, A_eq=owner, b_eq=np.ones(len(columns)),
        method="highs",
    )  # fmt: skip
    multipliers = np.zeros(len(limits))
    multipliers[finite] = np.maximum(-answer.ineqlin.marginals / scale, 0.0)
    return multipliers, float(-answer.fun)
