"""Allocation: which price, promotion and hour for each SKU, and how many units to each region."""
