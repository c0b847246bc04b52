"""Models and decisions: text, demand, scoring, allocation; runs by itself as `python -m ml`."""
