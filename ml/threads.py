"""The number of CPU threads, as every command's `--threads` reads it."""

from __future__ import annotations

import argparse


def thread_count(text: str) -> int:
    """A whole number of one or more. Raises argparse.ArgumentTypeError, which ends a command with code 2."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads: give 1 or more")
    return int(text)
