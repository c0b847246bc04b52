"""Replay: the loop of the DAGs on one folder of events and one request, without a scheduler."""
