"""Trimtab: know it fits before you ship it."""
