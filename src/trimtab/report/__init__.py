"""The page of a run: what was predicted, what was measured, and the pictures that show it."""
