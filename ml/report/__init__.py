"""The report after a loop: one self-contained page a planner can read and question."""
