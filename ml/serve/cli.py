"""`python -m ml serve`: the text model behind HTTP until SIGTERM."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.threads import thread_count

if TYPE_CHECKING:
    from ml.serve.app import Router


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group, which is one command; it sets `func`, which returns what is printed as JSON at the end.

    Options that are not given come from `FLASHSALE_SERVE_*`, see `ml.serve.settings`.
    """
    words = "the text model behind HTTP: tokens, limits, metrics; every further setting is FLASHSALE_SERVE_<NAME>"
    group = sub.add_parser("serve", help="score over HTTP until SIGTERM", description=words)
    group.add_argument("--model", help="models:/<name>/<version>, a name or a folder; default: the champion, followed")
    group.add_argument("--host", help="address to listen on; default: 127.0.0.1, this machine alone")
    group.add_argument("--port", type=int, help="port to listen on, 0 takes a free one; default: 8095")
    group.add_argument("--tokens", type=Path, help="file of name:sha256hex-of-token lines; default: a token of its own")
    group.add_argument("--threads", type=thread_count, help="CPU threads of a model call; default: the setting")
    group.add_argument("--reload-seconds", type=float, help="how often the champion is looked up; default: 30")
    group.add_argument("--window-ms", type=float, help="how long a model call waits for more requests; default: 0")
    group.add_argument("--batch-texts", type=int, help="most texts joined into one model call; default: 64")
    group.add_argument("--assistant", type=Path, help="folder of `ml assistant build`; adds POST /v1/assist")
    group.set_defaults(func=_serve)


def _serve(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.settings import settings
    from ml.serve.server import serve
    from ml.serve.settings import ServeSettings, serve_settings

    given = {name: value for name, value in vars(args).items() if name in ServeSettings.model_fields}
    threads = args.threads or settings().threads
    return serve(args.model, serve_settings(**given), threads=threads, routers=_routers(args.assistant, threads))


def _routers(assistant: Path | None, threads: int | None) -> list[Router]:
    """The routers beside the text model's; raises InputError where the assistant's folder is altered."""
    if assistant is None:
        return []
    from ml.assistant.assistant import Assistant
    from ml.assistant.router import assist_router

    return [assist_router(Assistant.load(assistant, threads=threads), threads=threads)]
