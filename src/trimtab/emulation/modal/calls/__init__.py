"""The calls that the embedded Modal answers, a module for each subject. Importing this package registers them all."""

from trimtab.emulation.modal.calls import (
    apps,
    blobs,
    containers,
    dicts,
    functions,
    images,
    inputs,
    logs,
    mounts,
    queues,
    secrets,
    volumes,
    workspace,
)

__all__ = [
    "apps",
    "blobs",
    "containers",
    "dicts",
    "functions",
    "images",
    "inputs",
    "logs",
    "mounts",
    "queues",
    "secrets",
    "volumes",
    "workspace",
]
