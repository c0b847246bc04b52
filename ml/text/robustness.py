"""Attacks and fairness together: measured once, as checks for the gate, as a section of the card and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.text.attacks import Reader, attack_checks, attack_suite
from ml.text.attacks import tables as attack_tables
from ml.text.data import Example
from ml.text.fairness import SHIFTED, fairness, fairness_checks
from ml.text.fairness import tables as fairness_tables
from ml.text.verdict import Check


@dataclass(frozen=True)
class Robustness:
    """Results of `attack_suite` and `fairness` for one model."""

    attacks: dict[str, Any]
    shifts: dict[str, Any]

    def checks(self) -> list[Check]:
        """What the gate asks of the two."""
        return [*attack_checks(self.attacks), *fairness_checks(self.shifts)]

    def metrics(self) -> dict[str, float]:
        """Figures for the run: `attack.<name>` in points, `shift.<where>` in probability, shares 0 to 1."""
        found = {f"attack.{name}": lost["loss"] for name, lost in self.attacks["attacks"].items()}
        found |= {"negation.flipped": self.attacks["negation"]["flipped"]}
        found |= {"sarcasm.accuracy": self.attacks["sarcasm"]["accuracy"]}
        for name, one in self.shifts.items():
            found[f"shift.{name.replace(': ', '.').replace(' ', '_')}"] = max(one[q]["shift"] for q in SHIFTED)
        return {name: float(value) for name, value in found.items()}

    def section(self) -> str:
        """The model card's section: two Markdown tables and what they leave out."""
        return "\n".join([*_attack_table(self.attacks), "", *_shift_table(self.shifts), ""])


def measure(scorer: Reader, examples: Sequence[Example], *, seed: int = 0, sample: int = 300) -> Robustness:
    """Attack the first `sample` frozen test examples of each language and score the fairness templates."""
    return Robustness(attack_suite(scorer, examples, seed, sample=sample), fairness(scorer))


def _attack_table(found: Mapping[str, Any]) -> list[str]:
    allowed = attack_tables().allowed
    lines = [
        f"**Under attack** (macro-F1 on those of the first {found['sample']} test sentences a language that the attack "
        "changes; docs/text_checks.md says what each does):",
        "",
        "| attack | sentences | before | after | loss, points | allowed |",
        "|---|---|---|---|---|---|",
    ]
    for name, lost in found["attacks"].items():
        cells = (name.replace("_", " "), lost["sentences"], f"{lost['before']:.3f}", f"{lost['after']:.3f}")
        lines.append(f"| {' | '.join(map(str, cells))} | {lost['loss']:+.1f} | {allowed[name]:g} |")
    pairs, told = found["negation"], found["sarcasm"]
    by = ", ".join(f"{lang} {share:.2f}" for lang, share in pairs["languages"].items())
    said = ", ".join(f"{lang} {share:.2f}" for lang, share in told["languages"].items())
    return [
        *lines,
        "",
        f"Of {pairs['pairs']} negation pairs {pairs['flipped']:.2f} flip ({by}; {allowed['negation']:g} must). "
        f"On {told['sentences']} sarcastic sentences the accuracy is {told['accuracy']:.2f} ({said}).",
    ]


def _shift_table(found: Mapping[str, Any]) -> list[str]:
    limit = fairness_tables()["allowed"]
    lines = [
        f"**When only a group changes** (largest mean shift between two groups, limit {limit:g}; "
        "in brackets the mean over sentences of the spread between groups, which is no part of the gate):",
        "",
        "| what changes | " + " | ".join(SHIFTED) + " |",
        "|---" * (len(SHIFTED) + 1) + "|",
    ]
    for name, one in found.items():
        cells = [f"{one[q]['shift']:.3f} ({one[q]['worst']:.3f})" for q in SHIFTED]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def draw(found: Robustness, path: Path) -> None:
    """Write a picture: loss by attack beside its allowance, shift by group beside the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    allowed, limit = attack_tables().allowed, float(fairness_tables()["allowed"])
    losses = {name.replace("_", " "): (lost["loss"], allowed[name]) for name, lost in found.attacks["attacks"].items()}
    shifts = {name: (max(one[q]["shift"] for q in SHIFTED), limit) for name, one in found.shifts.items()}
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.4), width_ratios=[1, 1.3])
    sides = ((losses, "Loss by attack", "points of macro-F1"), (shifts, "Shift by group", "probability"))
    for axis, (bars, title, unit) in zip(axes, sides, strict=True):
        names = list(bars)[::-1]
        values, bounds = [bars[n][0] for n in names], [bars[n][1] for n in names]
        colours = ["#c44e52" if value > bound else "#4c72b0" for value, bound in zip(values, bounds, strict=True)]
        axis.barh(range(len(names)), values, color=colours)
        axis.vlines(bounds, [at - 0.4 for at in range(len(names))], [at + 0.4 for at in range(len(names))], "black")
        axis.set_yticks(range(len(names)), names)
        axis.set(title=f"{title} (line: allowed)", xlabel=unit)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
