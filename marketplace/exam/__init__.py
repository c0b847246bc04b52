"""The simulated shop as examiner: draws shops, asks for plans, judges them by a truth that no planner sees."""
