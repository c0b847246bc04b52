"""The text model behind HTTP: `python -m ml serve`; docs/serving.md says how it is run."""
