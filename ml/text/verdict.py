"""One check of a gate: what was measured, what it may be at most or must be at least, and whether it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """A check that was made.

    Args:
        name: what was checked, in a few words.
        passed: whether the figure keeps the limit.
        figure, limit: both in the unit that `unit` names (`points` are hundredths of F1); None where there is none.
        note: what a reviewer should know beside the two numbers.
        judged: False for a figure that is told and decides nothing (`passed` is then True).
    """

    name: str
    passed: bool
    figure: float | None = None
    limit: float | None = None
    unit: str = ""
    note: str = ""
    judged: bool = True

    def reason(self) -> str:
        """The check as one line of the gate's reasons."""
        parts = [self.name]
        if self.figure is not None:
            unit = f" {self.unit}" if self.unit else ""
            bound = "" if self.limit is None else f" (limit {self.limit:g}{unit})"
            parts.append(f": {self.figure:.4g}{unit}{bound}")
        if self.note:
            parts.append(f"; {self.note}" if len(parts) > 1 else f": {self.note}")
        verdict = (", passed" if self.passed else ", NOT PASSED") if self.judged else ""
        return "".join(parts) + verdict

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
