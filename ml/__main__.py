"""`python -m ml <group> <command> …`: the one entry to models and decisions.

Progress goes to stderr; the last line of stdout is one JSON object, which a task takes as its result. A wrong
input ends with code 2 and a message that says what to do.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from flashsale.errors import InputError

GROUPS = {
    "text": "ml.text.cli",
    "registry": "ml.registry_cli",
    "demand": "ml.demand.cli",
    "scoring": "ml.scoring.cli",
    "allocation": "ml.allocation.cli",
    "report": "ml.report.cli",
    "serve": "ml.serve.cli",
    "assistant": "ml.assistant.cli",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for a wrong input.

    Only the asked group's module is imported, so that a light command stays light.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m ml", description=__doc__)
    if not given or given[0] in ("-h", "--help"):
        parser.add_argument("group", choices=sorted(GROUPS))
        parser.parse_args(given)
        return 0
    try:
        _load_group(given[0], parser.add_subparsers(dest="group", required=True))
        parsed = parser.parse_args(given)
        answer = parsed.func(parsed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(answer, ensure_ascii=False, sort_keys=True, default=str), flush=True)
    return 0


def _load_group(name: str, sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    if name not in GROUPS:
        raise InputError("command", f"there is no group {name!r}", f"choose one of {', '.join(GROUPS)}")
    try:
        module = importlib.import_module(GROUPS[name])
    except ModuleNotFoundError as error:
        if error.name is None or not GROUPS[name].startswith(error.name):
            raise  # a package that the group needs is missing: its name says more than ours
        remedy = f"install a version of the platform that has {GROUPS[name]}"
        raise InputError("command", f"the group {name!r} is not part of this installation", remedy) from error
    module.add_parser(sub)


if __name__ == "__main__":
    sys.exit(main())
