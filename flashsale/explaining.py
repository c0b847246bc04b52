"""Explaining a score: the models' own command, run from here, since this room imports no model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from flashsale.errors import InputError

ROOT = Path(__file__).parents[1]


def explain(text: str, *, model: str | None = None) -> dict[str, Any]:
    """The words of `text` with what each added to the champion's (or `model`'s) answers, as `ml text explain` prints
    it.

    The marked line goes to stderr. Raises InputError where the command ends with one, which it has then said itself.
    """
    words = ["text", "explain", "--text", text]
    words += ["--model", str(Path(model).absolute()) if Path(model).is_dir() else model] if model else []
    return models_command("explain", words)


def models_command(subject: str, words: list[str]) -> dict[str, Any]:
    """What `python -m ml <words>` prints on its last line, as a mapping; its stderr is the caller's.

    Raises InputError about `subject` where the command ends with one, which it has then said itself.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "ml", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise InputError(subject, "the command ended with an error", "read the lines above")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
