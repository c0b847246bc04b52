"""Demand: what customers wanted when stock ran out, and what they will want next time."""
