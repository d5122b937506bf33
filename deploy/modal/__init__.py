"""The wiring of what runs on Modal: one thin app for all jobs, and their resources."""
