"""Payload: the inference services, the package that they share, and where their demo models come from."""
