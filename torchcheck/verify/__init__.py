"""Run the suite in the target interpreter (door), and sum up what its events amount to (pure)."""
