"""`python -m ml registry …`: review and fetch registered models."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ml import registry, registry_review, registry_rights


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
    words = "the version that is to give way; nothing changes where it was rolled back already"
    back.add_argument("--champion", dest="champion_is", help=words)
    _decider(back)
    back.set_defaults(func=_rollback)
    tags = commands.add_parser("apply-tags", help="show the decisions that were tagged in MLflow, and carry them out")
    tags.add_argument("name", nargs="?", help="one candidate, for example flashsale-text-candidate; all without")
    tags.add_argument("--yes", action="store_true", help="carry them out: you know that a reviewer set the tags")
    tags.set_defaults(func=_apply_tags)
    rights = commands.add_parser("rights", help="make the trainer's login on the server and set what it may write")
    rights.set_defaults(func=_rights)
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
    champion_is = args.champion_is or None
    return registry.rollback(args.name, by=args.by, reason=args.reason, champion_is=champion_is).as_dict()


def _apply_tags(args: argparse.Namespace) -> dict[str, Any]:
    answer = registry_review.apply_tags(args.name, carry_out=args.yes)
    for d in answer["decisions"]:
        over = ", over its gate" if d["override"] else ""
        print(f"{d['candidate']}/{d['version']}: {d['review']}{over} by {d['by']}: {d['reason']}", file=sys.stderr)
    if answer["decisions"] and not args.yes:
        print("nothing was changed; --yes carries it out", file=sys.stderr)
    return answer


def _rights(_: argparse.Namespace) -> dict[str, Any]:
    return registry_rights.give_rights()


def _show(args: argparse.Namespace) -> dict[str, Any]:
    return registry.show(args.name)


def _fetch(args: argparse.Namespace) -> dict[str, Any]:
    bare = not set("/@") & set(args.model)
    folder = registry.fetch_champion(args.model) if bare else registry.fetch(args.model)
    version: dict[str, Any] = json.loads((folder / registry.VERSION_FILE).read_text(encoding="utf-8"))
    return {**version, "path": str(folder)}
