"""What is kept: data sets with manifests, checkpoints, and the registry of runs. Imports no cloud client."""
