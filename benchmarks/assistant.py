"""The assistant's classifier beside TF-IDF with logistic regression, on public questions and on the shop's own.

    FLASHSALE_CACHE=… python benchmarks/assistant.py [--quick] [--model FOLDER] [--data FOLDER]

`--data` holds `banking77-train.csv`, `banking77-test.csv` (PolyAI, CC BY 4.0) and `bitext-ecommerce.csv` (Bitext,
CDLA-Sharing 1.0), each set being the other's out-of-scope questions. Bitext's utterances are made from templates, so
they are split by template: utterances of one intent with the same content words, in any order and form, stay together.
The shop's own questions are asked one by one of a classifier without them; out of scope are banking's.

Stated is the share of all messages, a fifth of them out of scope, that are answered rightly where 2 % are answered
wrongly; the ratio's interval is a paired bootstrap over test questions. Details go to `assistant-details.json`.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import harness
import numpy as np

from ml.assistant import evaluate as E
from ml.assistant.bound import Bound, choose
from ml.assistant.classify import fit, regression
from ml.assistant.intents import SHOP, load_knowledge
from ml.assistant.vectors import base_folder, copy_encoder, set_centre, vectors
from ml.text.pooled import pool
from ml.text.score import locate

PROMISE, SHARE, DRAWS = 0.02, 0.2, 1000
#: Words that a template's variants add or leave out; what is left says which template it was.
FILLERS = frozenset(
    """
    i im m me my mine we our us you your u ya could can would will do does did is are am be been being have has had ve a
    an the to of in on for from with about at as and or if it its this that there some any what which how where when who
    why help assistance assist need want like please pls show tell let give know try trying see check checking find get
    info information more question s d ll t don dont not no cant unable able
    """.split()  # noqa: SIM905
)
COMMON = 8


def templates(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A name a text, equal for utterances of one template; misspelt words count as the common word nearest to them."""
    parts = [re.findall(r"[a-z]+", text.lower().replace("{{order number}}", "")) for text in texts]
    seen = Counter(word for words in parts for word in set(words))
    common = [word for word, count in seen.items() if count >= COMMON]
    known = {word: word for word in common}
    for word in sorted(seen):
        if word not in known:
            known[word] = (difflib.get_close_matches(word, common, 1, 0.8) or [word])[0]
    return [
        label + ":" + " ".join(sorted({stem(known[word]) for word in words if known[word] not in FILLERS}))
        for words, label in zip(parts, labels, strict=True)
    ]


def stem(word: str) -> str:
    """A word without its English ending, roughly: cancelling and canceled are one."""
    for ending in ("ations", "ation", "ings", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return re.sub(r"(.)\1$", r"\1", word).rstrip("e")


def bitext(path: Path) -> tuple[E.Questions, E.Questions]:
    """Training and test questions, seven and three tenths of the templates, equal utterances once."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list({row["utterance"]: row for row in csv.DictReader(handle)}.values())
    texts, labels = [row["utterance"] for row in rows], [row["intent"] for row in rows]
    names = templates(texts, labels)
    test = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 >= 7 for name in names]
    sides = [[at for at, held in enumerate(test) if held is side] for side in (False, True)]
    train, asked = (E.Questions([texts[at] for at in side], [labels[at] for at in side]) for side in sides)
    return train, asked


def thinned(questions: E.Questions, most: int) -> E.Questions:
    """At most so many of the questions, drawn evenly."""
    step = -(-len(questions.texts) // most)
    return E.Questions(questions.texts[::step], questions.labels[::step])


def shop(folder: Path, outside: Sequence[str]) -> dict[str, tuple[E.Outcome, Bound]]:
    """Both methods on the shop's own questions, each asked of a classifier that was fitted without it.

    Strength, temperature, confidence and bound are those of the whole, as they are for the assistant that is built.
    """
    knowledge = load_knowledge(SHOP)
    texts, labels = knowledge.examples()
    with tempfile.TemporaryDirectory() as scratch:
        scorer = copy_encoder(folder, Path(scratch), None)
        set_centre(scorer, Path(scratch), pool(scorer, texts))
        rows, known, beyond = (vectors(scorer, part).astype(float) for part in (texts, knowledge.outside(), outside))
    whole, *held = fit(rows, labels, known)
    bound = choose(*held, most_wrong=PROMISE, outside_share=SHARE)
    confidence, right = np.zeros(len(texts)), np.zeros(len(texts), dtype=bool)
    for at in range(len(texts)):
        kept = np.arange(len(texts)) != at
        part = regression(rows[kept], whole.labels[kept], whole.strength)
        one = replace(
            whole, weight=part.coef_.T.astype(float), bias=part.intercept_.astype(float),
            vectors=rows[kept], labels=whole.labels[kept],
        )  # fmt: skip
        best, sure = one.confidences(rows[at : at + 1])
        confidence[at], right[at] = sure[0], best[0] == whole.labels[at]
    mine = E.Outcome(confidence, right, whole.confidences(beyond)[1])
    theirs, other = peer_in_folds(E.Questions(texts, labels), outside)
    return {"assistant": (mine, bound), "tfidf": (theirs, other)}


def peer_in_folds(questions: E.Questions, outside: Sequence[str]) -> tuple[E.Outcome, Bound]:
    """TF-IDF on questions in 20 parts, each asked of the other 19, for want of time to fit one a question."""
    turn = np.random.default_rng(0).permutation(np.arange(len(questions.texts)) % 20)
    confidence, right = np.zeros(len(turn)), np.zeros(len(turn), dtype=bool)
    beyond: Any = None
    for fold in range(20):
        sides = [[at for at in range(len(turn)) if bool(turn[at] == fold) is side] for side in (False, True)]
        parts = [E.Questions([questions.texts[at] for at in s], [questions.labels[at] for at in s]) for s in sides]
        found, bound = E.peer(*parts, outside, most_wrong=PROMISE, outside_share=SHARE)
        confidence[sides[1]], right[sides[1]] = found.confidence, found.right
        beyond = found.outside if beyond is None else beyond
    return E.Outcome(confidence, right, beyond), bound


def compared(name: str, both: dict[str, tuple[E.Outcome, Bound]], draws: int) -> harness.Result:
    """The ratio of rightly answered shares at the promise, with a paired bootstrap over test questions."""
    mine, theirs = both["assistant"][0], both["tfidf"][0]
    sides = [outcome.right_at(PROMISE, SHARE) for outcome in (mine, theirs)]
    dice, ratios = np.random.default_rng(0), []
    for _ in range(draws):
        inside = dice.integers(len(mine.right), size=len(mine.right))
        outside = dice.integers(len(mine.outside), size=len(mine.outside))
        one, other = (outcome.drawn(inside, outside).right_at(PROMISE, SHARE) for outcome in (mine, theirs))
        ratios.append(one / max(other, 1e-9))
    low, high = np.quantile(ratios, [0.025, 0.975])
    ratio = sides[0] / max(sides[1], 1e-9)
    return harness.Result(name, ratio, float(low), float(high), *sides, "answered rightly", harness.machine())


def main() -> None:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--model", help="models:/<name>/<version>, a name or a folder; default: the base model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    args = parser.parse_args()
    scratch = tempfile.TemporaryDirectory()
    folder, version = locate(args.model) if args.model else base_folder("embedded", Path(scratch.name) / "base")
    print(f"vectors by {version}", file=sys.stderr, flush=True)
    banking = tuple(E.read_questions(args.data / f"banking77-{part}.csv") for part in ("train", "test"))
    shops = bitext(args.data / "bitext-ecommerce.csv")
    most = 600 if args.quick else 1_000_000
    given = {"most_wrong": PROMISE, "outside_share": SHARE}
    results, details = [], {}
    for name, (train, test), (_, other) in (("bitext", shops, banking), ("banking77", banking, shops)):
        train, test, outside = thinned(train, most), thinned(test, most), thinned(other, most).texts
        print(
            f"{name}: {len(train.texts)} + {len(test.texts)}, {len(outside)} out of scope", file=sys.stderr, flush=True
        )
        both = {
            "assistant": E.ours(folder, train, test, outside, **given),
            "tfidf": E.peer(train, test, outside, **given),
        }
        results.append(compared(name, both, 50 if args.quick else DRAWS))
        details[name] = {method: E.measures(*found) for method, found in both.items()}
        E.print_table(details[name])
    if not args.quick:
        both = shop(folder, thinned(banking[1], 600).texts)
        results.append(compared("shop.yaml", both, DRAWS))
        details["shop.yaml"] = {method: E.measures(*found) for method, found in both.items()}
        E.print_table(details["shop.yaml"])
    harness.write("assistant", results, quick=args.quick)
    target = harness.RESULTS / ("quick" if args.quick else "") / "assistant-details.json"
    target.write_text(json.dumps(details, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
