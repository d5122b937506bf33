"""Image folders, as the jobs that learn from pictures read them."""
