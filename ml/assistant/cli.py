"""`python -m ml assistant …`: build a customer service assistant, ask it, measure it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flashsale.errors import InputError
from ml.threads import thread_count


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("assistant", help="the customer service assistant: build, ask, evaluate")
    commands = group.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="make an assistant of a knowledge file and past conversations")
    make.add_argument("--knowledge", type=Path, help="YAML file of intents; default: the shop's that comes along")
    past = make.add_mutually_exclusive_group()
    past.add_argument("--history", type=Path, help="Parquet or JSON Lines: conversation_id, role, text, event_at")
    past.add_argument("--lake", action="store_true", help="the lake's committed support messages as history")
    make.add_argument("--out", type=Path, required=True, help="the assistant's folder")
    _add_model(make)
    make.add_argument("--layers", type=int, help="lower layers of the encoder that make the vectors; default: all")
    make.add_argument("--most-wrong", type=float, default=0.02, help="largest share of wrong answers (default: 0.02)")
    make.add_argument(
        "--outside-share", type=float, default=0.2, help="expected share of messages out of scope (default: 0.2)"
    )
    make.add_argument("--least-similarity", type=float, default=0.8, help="of a past question (default: 0.8)")
    make.add_argument("--least-conversations", type=int, default=2, help="an answer was given in (default: 2)")
    make.set_defaults(func=_build)
    ask = commands.add_parser("ask", help="the reply to one message")
    ask.add_argument("--assistant", type=Path, required=True, help="a folder that `build` wrote")
    ask.add_argument("--text", required=True)
    ask.add_argument("--language", choices=["zh", "en"], help="of the answer; default: the message's")
    ask.add_argument("--context", action="append", default=[], metavar="NAME=VALUE", help="a slot's value; repeatable")
    ask.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")
    ask.set_defaults(func=_ask)
    check = commands.add_parser("evaluate", help="accuracy, hand-overs and wrong answers on labelled questions")
    check.add_argument("--train", type=Path, required=True, help="CSV with text, category")
    check.add_argument("--test", type=Path, required=True, help="CSV with text, category")
    check.add_argument("--out-of-scope", type=Path, nargs="*", default=[], help="CSV files with text")
    check.add_argument("--out", type=Path, required=True, help="folder for evaluation.json and risk_coverage.png")
    _add_model(check)
    check.add_argument("--layers", type=int, help="as for `build`")
    check.add_argument("--most-wrong", type=float, default=0.02, help="as for `build`")
    check.add_argument("--outside-share", type=float, default=0.2, help="as for `build`")
    check.set_defaults(func=_evaluate)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="text model whose encoder it takes: models:/<name>/<version>, a name or a folder; default: the base",
    )
    parser.add_argument("--threads", type=thread_count, help="CPU threads; default: the setting")


def _use_threads(threads: int | None) -> int | None:
    import torch

    from flashsale.settings import settings

    chosen = threads or settings().threads
    if chosen is not None:
        torch.set_num_threads(chosen)
    return chosen


def _build(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.lake import Lake
    from flashsale.settings import settings
    from ml.assistant.assistant import Plan, build
    from ml.assistant.history import from_file, from_lake
    from ml.assistant.intents import SHOP
    from ml.assistant.retrieve import Choice

    _use_threads(args.threads)
    plan = Plan(
        layers=args.layers,
        most_wrong=args.most_wrong,
        outside_share=args.outside_share,
        least_similarity=args.least_similarity,
        choice=Choice(least_conversations=args.least_conversations),
    )
    history = from_file(args.history) if args.history else from_lake(Lake(settings().lake_uri)) if args.lake else None
    with _encoder(args.model) as (folder, version):
        facts = build(args.knowledge or SHOP, folder, version, args.out, history=history, plan=plan)
    return facts | {"out": str(args.out)}


def _ask(args: argparse.Namespace) -> dict[str, Any]:
    from ml.assistant.assistant import Assistant

    context = dict(_named(value) for value in args.context)
    assistant = Assistant.load(args.assistant, threads=_use_threads(args.threads))
    return assistant.ask(args.text, language=args.language, context=context).as_dict()


def _named(value: str) -> tuple[str, str]:
    name, equals, given = value.partition("=")
    if not equals:
        raise InputError("message", f"{name!r} has no value", "write it as NAME=VALUE", field="context")
    return name, given


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from ml.assistant.evaluate import evaluate_files

    _use_threads(args.threads)
    given = {name: getattr(args, name) for name in ("layers", "most_wrong", "outside_share")}
    files = {"train": args.train, "test": args.test, "outside": args.out_of_scope}
    with _encoder(args.model) as (folder, version):
        return evaluate_files(folder, version, **files, out=args.out, **given)


@contextmanager
def _encoder(model: str | None) -> Iterator[tuple[Path, str]]:
    """Folder and label of the text model named, or of the base model of the setting."""
    from flashsale.settings import settings
    from ml.assistant.vectors import base_folder
    from ml.text.score import locate

    if model is not None:
        yield locate(model)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield base_folder(settings().text_base_model, Path(scratch) / "base")
