"""Profit of the platform's plans beside other planners', on simulated shops that none of them has seen.

    python benchmarks/decisions.py [--quick] [--seeds 30] [--text-model FOLDER] [--workers 2] [--exam exam.json]

The exam of `python -m marketplace exam`: each planner's plan meets the same true customers. `ratio` is the platform's
profit, with text, over the peer's, summed over the shops; its interval is a bootstrap over shops; `ours` and `peer` are
shares of a clairvoyant's profit. Against the planner who knows the true distribution, below 1 is what to expect.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import Result, machine, parser, write

PEERS = ("last_sale", "proportional", "newsvendor", "without_text", "shuffled_text", "true_distribution")


def _examine(seeds: int, text_model: Path | None, workers: int, quick: bool) -> dict[str, Any]:
    """Marks by planner of an exam in usual shops."""
    from marketplace.exam.run import exam
    from marketplace.world import Size

    size = Size(seed=1000, skus=6, regions=2, sales=10, days=80) if quick else Size(seed=1000)
    with tempfile.TemporaryDirectory() as place:
        summary = exam(size, ["usual"], 2 if quick else seeds, Path(place), text_model, workers)[0]
    found: dict[str, Any] = summary["planners"]
    return found


def main() -> None:
    """Measure and write `results/decisions.json`."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seeds", type=int, default=30, help="simulated shops")
    arguments.add_argument("--text-model", type=Path, help="folder of a text model; by default the corpora's labels")
    arguments.add_argument("--workers", type=int, default=2, help="shops at once")
    arguments.add_argument("--exam", type=Path, help="exam.json of an exam held on this machine: state that one")
    args = arguments.parse_args()
    if args.exam:
        found = json.loads(args.exam.read_text(encoding="utf-8"))[0]["planners"]
    else:
        found = _examine(args.seeds, args.text_model, args.workers, args.quick)
    ours = found["with_text"]["of_clairvoyant"]["value"]
    results = []
    for name in PEERS:
        over, peer = found[name]["platform_over"], found[name]["of_clairvoyant"]["value"]
        results.append(
            Result(f"plan_vs_{name}", over["value"], over["low"], over["high"], ours, peer, "share", machine())
        )
    write("decisions", results, quick=args.quick)


if __name__ == "__main__":
    main()
