"""The catalogue's JSON Schema, from the same model that validates it. Pure."""

from __future__ import annotations

import json
from typing import Any

from trimtab.catalogue.model import Catalogue


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) as the text of its file."""
    schema: dict[str, Any] = Catalogue.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for field in section["properties"].values():
            if "patternProperties" in field:
                field["additionalProperties"] = False  # a name that fits no pattern is wrong, not free
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "trimtab.yaml"
    return json.dumps(schema, indent=2) + "\n"
