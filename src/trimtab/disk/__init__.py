"""Disk: what is measured while steps run."""
