"""Seizures in EEG: a TUSZ-like tree becomes a cache of continuous signal, windows of it are learnt from."""
