"""`python -m ml text …`: train the text model, score a file, check labels, explain a score."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.times import parse_utc
from ml.threads import thread_count

if TYPE_CHECKING:
    from ml.text.tune import Lab


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("text", help="the text model: base, train, score, suggest, check-labels, explain")
    commands = group.add_subparsers(dest="command", required=True)
    base = commands.add_parser("base", help="make the base checkpoint ready and name its folder")
    base.add_argument(
        "--name",
        help="embedded, a folder or a Hugging Face name; pinned: NAME@sha256:HEX",
    )
    base.set_defaults(func=_base)
    train = commands.add_parser("train", help="fine-tune, evaluate and, with --register, hand in a candidate")
    train.add_argument("--config", help="demo, full or a YAML file; default: the setting")
    train.add_argument("--register", action="store_true", help="log to MLflow and register the candidate")
    train.add_argument("--out", type=Path, help="keep the model folder here")
    train.add_argument("--labels", type=Path, help="labelled sentences of your own beside the public ones")
    train.add_argument("--base", help="base model in the setting's stead; pinned: NAME@sha256:HEX")
    train.add_argument("--teacher", help="a registered version, name or folder to shrink (config: small)")
    train.add_argument(
        "--texts", type=Path, nargs="+", default=[], help="texts that nobody judged, for a teacher to answer"
    )
    train.add_argument("--checkpoints", type=Path, help="folder of checkpoints; an interrupted run goes on from there")
    train.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    train.set_defaults(func=_train)
    _add_choices(commands)
    score = commands.add_parser("score", help="add sentiment, p_*, p_intent, spans, model_version to a file")
    score.add_argument("--in", dest="source", type=Path, required=True, help="Parquet or JSON Lines with `text`")
    score.add_argument("--out", type=Path, required=True, help="Parquet or JSON Lines, by its ending")
    score.add_argument("--model", help="models:/<name>/<version>, a name or a folder; default: the champion")
    score.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    score.set_defaults(func=_score)

    ask = commands.add_parser("suggest", help="the texts of a file that are most worth a person's label")
    ask.add_argument("--in", dest="source", type=Path, required=True, help="Parquet or JSON Lines with `text`")
    ask.add_argument("--out", type=Path, required=True, help="the suggested rows with their scores and `doubt`")
    ask.add_argument("--count", type=int, default=100, help="how many texts (default: 100)")
    ask.add_argument("--model", help="as for `score`")
    ask.set_defaults(func=_suggest)
    weak = commands.add_parser(
        "weak-labels", help="label the shop's texts with intent: rules, behaviour, a label model"
    )
    weak.add_argument("--out", type=Path, required=True, help="the label file, Parquet or JSON Lines")
    weak.add_argument(
        "--as-of", type=parse_utc, help="what was known then counts (ISO 8601, UTC); default: the newest act"
    )
    weak.add_argument("--window-days", type=int, default=14, help="how long after a text an act counts (default: 14)")
    weak.set_defaults(func=_weak_labels)
    _add_checks(commands)


def _add_choices(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    folds = commands.add_parser("validate", help="k-fold cross-validation of a configuration on the training sentences")
    folds.add_argument("--config", help="as for `train`")
    folds.add_argument("--folds", type=int, default=5, help="how many folds (default: 5)")
    folds.add_argument("--fold", type=int, help="only this one, counted from 0")
    folds.set_defaults(func=_validate)
    tune = commands.add_parser("tune", help="search a configuration (Optuna, pruned) and write it as YAML")
    tune.add_argument("--config", help="where to start from, as for `train`")
    tune.add_argument("--trials", type=int, default=20)
    tune.add_argument("--minutes", type=float, help="stop asking for trials after so long")
    tune.add_argument("--out", type=Path, required=True, help="the YAML file")
    tune.set_defaults(func=_tune)
    read = commands.add_parser("pretrain", help="let a base model read unlabelled texts first (masked words)")
    read.add_argument("--in", dest="source", type=Path, nargs="+", required=True, help="files with a column `text`")
    read.add_argument("--out", type=Path, required=True, help="folder of the new base model")
    read.add_argument("--base", help="as for `train`")
    read.add_argument("--config", help="whose reading and layers to use; default: canonical, all layers")
    read.add_argument("--epochs", type=int, default=1)
    read.add_argument("--rate", type=float, default=2e-4, help="largest learning rate")
    read.set_defaults(func=_pretrain)
    for parser in (folds, tune):
        parser.add_argument("--base", help="as for `train`")
        parser.add_argument("--labels", type=Path, help="as for `train`")
        parser.add_argument("--track", action="store_true", help="each fold or trial is a run in MLflow")
    for parser in (folds, tune, read):
        parser.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")


def _add_checks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    labels = commands.add_parser(
        "check-labels", help="hold a label file against what is known; stops at doubtful labels"
    )
    labels.add_argument("--labels", type=Path, help="the label file; without it the public labels alone are checked")
    labels.add_argument("--ledger", type=Path, help="labels of an earlier training; default: the champion's")
    labels.add_argument("--out", type=Path, help="write the rows to read here, Parquet or JSON Lines")
    labels.add_argument("--digests", action="store_true", help="print the public labels' digests as they are read now")
    labels.set_defaults(func=_check_labels)
    explain = commands.add_parser("explain", help="which words made the model say so (integrated gradients)")
    given = explain.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", help="one text; the marked line goes to stderr")
    given.add_argument("--in", dest="source", type=Path, help="Parquet or JSON Lines with `text`")
    explain.add_argument("--out", type=Path, help="for --in: Parquet or JSON Lines, by its ending")
    explain.add_argument(
        "--sample", type=int, default=20, help="for --in: how many texts, chosen by hash (default: 20)"
    )
    explain.add_argument("--model", help="as for `score`")
    explain.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    explain.set_defaults(func=_explain)
    stored = commands.add_parser("explain-scored", help="explain a sample of the newest scored texts, into the lake")
    stored.add_argument("--model", required=True, help="folder of the fetched model version that scored them")
    stored.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    stored.set_defaults(func=_explain_scored)
    titles = commands.add_parser("embed-titles", help="the catalog's titles as the model's vectors, into the lake")
    titles.add_argument("--model", help="as for `score`")
    titles.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    titles.set_defaults(func=_embed_titles)


def _base(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.base import ensure_base_model, weights_digest

    name = args.name or settings().text_base_model
    folder = ensure_base_model(name)
    return {"name": name, "path": str(folder), "sha256": weights_digest(folder)}


def _train(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.config import load_config
    from ml.text.pipeline import train_model

    config = load_config(args.config or settings().text_config)
    return train_model(
        config,
        register=args.register,
        out=args.out,
        threads=args.threads,
        labels=args.labels,
        base=args.base,
        teacher=args.teacher,
        texts=args.texts,
        checkpoints=args.checkpoints,
    )


def _validate(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.config import load_config
    from ml.text.tune import cross_validate, run_fold

    config = load_config(args.config or settings().text_config)
    if args.fold is not None:
        return run_fold(config, args.fold, args.folds, _lab(args))
    return cross_validate(config, args.folds, _lab(args))


def _lab(args: argparse.Namespace) -> Lab:
    from ml.text.tune import Lab

    return Lab(args.base, args.labels, args.track, args.threads)


def _tune(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.config import load_config
    from ml.text.tune import search

    config = load_config(args.config or settings().text_config)
    return search(config, args.trials, args.out, minutes=args.minutes, lab=_lab(args))


def _pretrain(args: argparse.Namespace) -> dict[str, Any]:
    from ml.text.config import load_config
    from ml.text.pretrain import pretrain
    from ml.text.score import read_texts

    texts = [text for source in args.source for text in read_texts(source)["text"].to_pylist()]
    config = load_config(args.config) if args.config else None
    return pretrain(
        texts, args.out, base=args.base, config=config, epochs=args.epochs, rate=args.rate, threads=args.threads
    )


def _score(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.score import score_file

    threads = args.threads or settings().threads
    return score_file(args.source, args.out, model=args.model, threads=threads)


def _suggest(args: argparse.Namespace) -> dict[str, Any]:
    import tempfile

    from flashsale.settings import settings
    from ml.text.labels import suggest
    from ml.text.score import read_texts, score_file, writable, write_table

    writable(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        scored = Path(scratch) / "scored.parquet"
        score_file(args.source, scored, model=args.model, threads=settings().threads)
        found = suggest(read_texts(scored), args.count)
    write_table(found, args.out)
    return {"rows": found.num_rows, "out": str(args.out)}


def _weak_labels(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.lake import Lake
    from flashsale.settings import settings
    from ml.text.weak_labels import label_shop_texts

    lake = Lake(settings().lake_uri)
    return label_shop_texts(lake, args.out, as_of=args.as_of, window_days=args.window_days)


def _check_labels(args: argparse.Namespace) -> dict[str, Any]:
    from ml.text.poison import check_file, pinned_digests, source_digests

    if args.digests:
        from flashsale.corpora import load_sentences

        return {"now": source_digests(load_sentences()), "pinned": pinned_digests()}
    return check_file(args.labels, ledger=args.ledger, out=args.out)


def _explain(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.text.explain_files import explain_file, explain_text

    threads = args.threads or settings().threads
    if args.text is not None:
        return explain_text(args.text, model=args.model, threads=threads)
    return explain_file(args.source, args.out, sample=args.sample, model=args.model, threads=threads)


def _explain_scored(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.lake import Lake
    from flashsale.settings import settings
    from ml.text.explain_files import explain_scored

    chosen = settings()
    lake = Lake(chosen.lake_uri)
    threads = args.threads or chosen.threads
    return explain_scored(lake, args.model, texts=chosen.explain_texts, days=chosen.explain_days, threads=threads)


def _embed_titles(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.lake import Lake
    from flashsale.settings import settings
    from ml.text.titles import embed_titles

    chosen = settings()
    return embed_titles(Lake(chosen.lake_uri), args.model, args.threads or chosen.threads)
