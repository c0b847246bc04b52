"""The vocabulary every room of the platform shares: contracts, settings, the lake, windows of time."""

__version__ = "0.1.0"
