"""A whole catalogue whose names appear nowhere else, and ways to spoil it."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from trimtab.catalogue import Catalogue, parse_catalogue

TEXT = """\
project: harbour
owner: pilots
aws:
  region: eu-north-1
bucket:
  name: harbour-charts
  models: models/
modal:
  workspace: ac-harbour01
  environment: main
  app: harbour
base_image: python:3.11-slim-bookworm
services:
  gulls:
    port: 9001
    memory: 256MiB
    start: 20s
    variants:
      cpu: { size_over_base: 10MB }
    golden:
      picture: services/gulls/golden.jpg
      post: /v1/detect
      expect: { gull: 1 }
jobs:
  tides:
    data: datasets/tides/
    results: results/tides/
    source: training.tides.source
    config: configs/local/tides.yaml
    memory: 1GiB
    time: 1min
budgets:
  disk: 4GiB
  memory: 4GiB
  time: 10min
  usd: 0
"""


def catalogue(**changes: Any) -> Catalogue:
    """Return the catalogue with values changed: `catalogue(budgets__disk="1MiB")` sets budgets.disk."""
    return parse_catalogue(text(**changes))


def text(**changes: Any) -> str:
    """Return its text with values changed; a value of None takes the key out, a key that is not there is added."""
    return yaml.safe_dump(plain(**changes), sort_keys=False)


def plain(**changes: Any) -> dict[str, Any]:
    """Return it as plain data, with values changed as `text` does."""
    document: dict[str, Any] = copy.deepcopy(_PLAIN)
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = document
        for part in sections:
            section = section[part]
        if value is None:
            del section[key]
        else:
            section[key] = value
    return document


_PLAIN = yaml.safe_load(TEXT)
