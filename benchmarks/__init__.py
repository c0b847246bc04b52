"""Measurements side by side with a tuned peer: same inputs, same outputs, interleaved, ratio with its interval."""
