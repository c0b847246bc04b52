"""Command line of the simulated shop: `python -m marketplace write|serve`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from flashsale.errors import InputError
from marketplace.world import Size


def parser() -> argparse.ArgumentParser:
    """The argument parser of both commands."""
    root = argparse.ArgumentParser(prog="python -m marketplace", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write a simulated shop as a folder source")
    write.add_argument("--out", type=Path, required=True, help="folder to write")
    write.add_argument("--seed", type=int, default=Size.seed)
    write.add_argument("--skus", type=int, default=Size.skus)
    write.add_argument("--regions", type=int, default=Size.regions)
    write.add_argument("--sales", type=int, default=Size.sales, help="past sales")
    write.add_argument("--days", type=int, default=Size.days, help="days of history")
    write.add_argument("--end", type=dt.date.fromisoformat, default=Size.end, help="first day after the history")
    write.set_defaults(func=_write)
    serve = commands.add_parser("serve", help="serve a written folder over HTTP")
    serve.add_argument("--dir", type=Path, required=True, help="folder written by `write`")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8090)
    serve.set_defaults(func=_serve)
    return root


def _write(args: argparse.Namespace) -> dict[str, Any]:
    from marketplace.shop import build_shop, write_shop

    try:
        size = Size(args.seed, args.skus, args.regions, args.sales, args.days, args.end)
    except ValueError as error:
        raise InputError("simulated shop", str(error), "choose another size") from error
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
