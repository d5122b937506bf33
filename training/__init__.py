"""Training payload: knows paths and a configuration. Imports no cloud client, no Modal and no Pulumi."""
