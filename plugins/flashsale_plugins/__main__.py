"""`python -m flashsale_plugins load|audit …`: what the DAGs' tasks of the same names do, without Airflow.

    load --source DIR --request FILE    every stream of the source through its gate into the lake, and the request
    audit features [plan --plan-id ID]

The last line of stdout is one JSON object; a wrong input ends with code 2 and says what to do.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flashsale.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m flashsale_plugins", description=__doc__)
    sub = top.add_subparsers(dest="command", required=True)
    load = sub.add_parser("load", help="a source's streams and one sale request, through the gate, into the lake")
    load.add_argument("--source", required=True, help="folder, http(s):// or postgresql:// source")
    load.add_argument("--request", type=Path, help="the sale request; it also says up to when events count")
    load.add_argument("--streams", default="", help="comma-separated; by default all")
    load.set_defaults(func=_load)
    audit = sub.add_parser("audit", help="audit the features that were built, or a plan, or both")
    audit.add_argument("what", nargs="+", choices=("features", "plan"))
    audit.add_argument("--plan-id", default="")
    audit.set_defaults(func=_audit)
    return top


def _load(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.contracts import STREAMS
    from flashsale.lake import Lake
    from flashsale.settings import pseudonym_key, settings
    from flashsale_plugins.load import load_source

    streams = [name for name in args.streams.split(",") if name] or list(STREAMS)
    return load_source(args.source, args.request, streams, Lake(settings().lake_uri), pseudonym_key())


def _audit(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale_plugins.audits import audit_features, audit_plan

    return {
        what: audit_features(published=False) if what == "features" else audit_plan(args.plan_id) for what in args.what
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for a wrong input."""
    args = parser().parse_args(arguments)
    try:
        answer = args.func(args)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(answer, ensure_ascii=False, sort_keys=True, default=str), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
