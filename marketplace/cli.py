"""Command line of the simulated shop: `python -m marketplace write|serve|exam`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from flashsale.errors import InputError
from marketplace.regimes import REGIMES
from marketplace.world import Size


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    root = argparse.ArgumentParser(prog="python -m marketplace", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write a simulated shop as a folder source")
    write.add_argument("--out", type=Path, required=True, help="folder to write")
    write.add_argument("--seed", type=int, default=Size.seed)
    write.add_argument("--regime", choices=REGIMES, default="usual", help="what is not as usual")
    _add_size(write)
    write.set_defaults(func=_write)
    serve = commands.add_parser("serve", help="serve a written folder over HTTP")
    serve.add_argument("--dir", type=Path, required=True, help="folder written by `write`")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8090)
    serve.set_defaults(func=_serve)
    exam = commands.add_parser("exam", help="many simulated shops, every planner, judged by the truth")
    exam.add_argument("--out", type=Path, default=Path("exam"),
                      help="folder for exam.json, exam.md, exam.png (by default %(default)s)")  # fmt: skip
    exam.add_argument("--seeds", type=int, default=30, help="shops a regime")
    exam.add_argument("--first-seed", type=int, default=1000)
    exam.add_argument("--regimes", nargs="+", choices=[*REGIMES, "all"], default=["usual"])
    exam.add_argument("--text-model", type=Path, help="folder of a text model; by default the corpora's labels")
    exam.add_argument("--workers", type=int, default=2, help="shops at once")
    _add_size(exam)
    exam.set_defaults(func=_exam)
    return root


def _add_size(command: argparse.ArgumentParser) -> None:
    command.add_argument("--skus", type=int, default=Size.skus)
    command.add_argument("--regions", type=int, default=Size.regions)
    command.add_argument("--sales", type=int, default=Size.sales, help="past sales")
    command.add_argument("--days", type=int, default=Size.days, help="days of history")
    command.add_argument("--end", type=dt.date.fromisoformat, default=Size.end, help="first day after the history")


def _size(args: argparse.Namespace, seed: int, regime: str) -> Size:
    try:
        return Size(seed, args.skus, args.regions, args.sales, args.days, args.end, REGIMES[regime])
    except ValueError as error:
        raise InputError("simulated shop", str(error), "choose another size") from error


def _exam(args: argparse.Namespace) -> dict[str, Any]:
    from marketplace.exam.report import table
    from marketplace.exam.run import exam

    regimes = list(REGIMES) if "all" in args.regimes else args.regimes
    size = _size(args, args.first_seed, "usual")
    summaries = exam(size, regimes, args.seeds, args.out, args.text_model, args.workers)
    for summary in summaries:
        print(f"{summary['regime']}\n\n{table(summary)}")
    return {"out": str(args.out), "simulated": True, "exam": summaries}


def _write(args: argparse.Namespace) -> dict[str, Any]:
    from marketplace.shop import build_shop, write_shop

    size = _size(args, args.seed, args.regime)
    print(f"building a simulated shop (seed {size.seed})", file=sys.stderr)
    rows = write_shop(build_shop(size), args.out)
    return {"out": str(args.out), "seed": size.seed, "simulated": True, "rows": rows}


def _serve(args: argparse.Namespace) -> dict[str, Any]:
    import uvicorn

    from marketplace.server import create_app

    uvicorn.run(create_app(args.dir), host=args.host, port=args.port, log_level="warning")
    return {"served": str(args.dir)}


def main(argv: list[str] | None = None) -> int:
    """Run one command; its last line on stdout is one JSON object. Returns the exit status."""
    args = parser().parse_args(argv)
    try:
        outcome = args.func(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(outcome, sort_keys=True))
    return 0
