"""`python -m ml text …`: train the text model, score a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("text", help="the text model: base, train, score")
    commands = group.add_subparsers(dest="command", required=True)
    base = commands.add_parser("base", help="make the base checkpoint ready and name its folder")
    base.add_argument("--name", help="embedded, a folder or a Hugging Face name; default: the setting")
    base.set_defaults(func=_base)
    train = commands.add_parser("train", help="fine-tune, evaluate and, with --register, hand in a candidate")
    train.add_argument("--config", help="demo, full or a YAML file; default: the setting")
    train.add_argument("--register", action="store_true", help="log to MLflow and register the candidate")
    train.add_argument("--out", type=Path, help="keep the model folder here")
    train.add_argument("--labels", type=Path, help="labelled sentences of your own beside the public ones")
    train.add_argument("--threads", type=int, help="CPU threads; default: the setting")
    train.set_defaults(func=_train)
    score = commands.add_parser("score", help="add sentiment, p_*, p_intent, spans, model_version to a file")
    score.add_argument("--in", dest="source", type=Path, required=True, help="Parquet or JSON Lines with `text`")
    score.add_argument("--out", type=Path, required=True, help="Parquet or JSON Lines, by its ending")
    score.add_argument("--model", help="models:/<name>/<version>, a name or a folder; default: the champion")
    score.add_argument("--threads", type=int, help="CPU threads; default: the setting")
    score.set_defaults(func=_score)

    ask = commands.add_parser("suggest", help="the texts of a file that are most worth a person's label")
    ask.add_argument("--in", dest="source", type=Path, required=True, help="Parquet or JSON Lines with `text`")
    ask.add_argument("--out", type=Path, required=True, help="the suggested rows with their scores and `doubt`")
    ask.add_argument("--count", type=int, default=100, help="how many texts (default: 100)")
    ask.add_argument("--model", help="as for `score`")
    ask.set_defaults(func=_suggest)


def _base(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.embedded import ensure_base_model

    name = args.name or settings().text_base_model
    return {"name": name, "path": str(ensure_base_model(name))}


def _train(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.pipeline import train_model
    from ml.text.train import load_config

    config = load_config(args.config or settings().text_config)
    return train_model(config, register=args.register, out=args.out, threads=args.threads, labels=args.labels)


def _score(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.score import score_file

    threads = args.threads or settings().threads
    return score_file(args.source, args.out, model=args.model, threads=threads)


def _suggest(args: argparse.Namespace) -> dict[str, Any]:
    import tempfile

    from flashsale.settings import settings
    from ml.text.labels import suggest
    from ml.text.score import read_texts, score_file, write_table

    with tempfile.TemporaryDirectory() as scratch:
        scored = Path(scratch) / "scored.parquet"
        score_file(args.source, scored, model=args.model, threads=settings().threads)
        found = suggest(read_texts(scored), args.count)
    write_table(found, args.out)
    return {"rows": found.num_rows, "out": str(args.out)}
