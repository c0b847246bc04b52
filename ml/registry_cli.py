"""`python -m ml registry …`: review and fetch registered models."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ml import registry


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("registry", help="promote, reject, roll back, show and fetch models")
    commands = group.add_subparsers(dest="command", required=True)
    for name, action, text in (
        ("promote", _promote, "copy an approved candidate to its model and make it champion"),
        ("reject", _reject, "record that a candidate was refused"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("candidate", help="for example flashsale-text-candidate")
        parser.add_argument("version", help="its version number")
        _decider(parser)
        if name == "promote":
            words = "promote although the gate did not pass; it is recorded with the reason"
            parser.add_argument("--override", action="store_true", help=words)
        parser.set_defaults(func=action)
    back = commands.add_parser("rollback", help="give the alias back to the version the champion replaced")
    back.add_argument("name", help="for example flashsale-text")
    _decider(back)
    back.set_defaults(func=_rollback)
    show = commands.add_parser("show", help="versions, tags and aliases")
    show.add_argument("name")
    show.set_defaults(func=_show)
    fetch = commands.add_parser("fetch", help="bring a version here; the answer names the folder")
    fetch.add_argument("model", help="models:/<name>/<version>, models:/<name>@champion, or <name>")
    fetch.set_defaults(func=_fetch)


def _decider(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", required=True, help="who decides")
    parser.add_argument("--reason", required=True, help="why")


def _promote(args: argparse.Namespace) -> dict[str, Any]:
    found = registry.promote(args.candidate, args.version, by=args.by, reason=args.reason, override=args.override)
    return found.as_dict()


def _reject(args: argparse.Namespace) -> dict[str, Any]:
    return registry.reject(args.candidate, args.version, by=args.by, reason=args.reason).as_dict()


def _rollback(args: argparse.Namespace) -> dict[str, Any]:
    return registry.rollback(args.name, by=args.by, reason=args.reason).as_dict()


def _show(args: argparse.Namespace) -> dict[str, Any]:
    return registry.show(args.name)


def _fetch(args: argparse.Namespace) -> dict[str, Any]:
    bare = not set("/@") & set(args.model)
    folder = registry.fetch_champion(args.model) if bare else registry.fetch(args.model)
    version: dict[str, Any] = json.loads((folder / registry.VERSION_FILE).read_text(encoding="utf-8"))
    return {**version, "path": str(folder)}
