"""Scoring finished sales: what happened against what would have happened without them."""
