"""How a person's decision is given on the command line, for a plan and for a re-plan alike."""

from __future__ import annotations

import argparse

DECISIONS = ("approved", "rejected")


def add_decision(parser: argparse.ArgumentParser) -> None:
    """Add `--decision`, `--by` and `--reason`, all of which must be given."""
    parser.add_argument("--decision", required=True, choices=DECISIONS)
    parser.add_argument("--by", required=True, help="who decides")
    parser.add_argument("--reason", required=True, help="why")
