"""The golden files of infra/: the recorded stacks, the policies, and Pulumi's command lines."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra import policies, pulumi_argv
from infra.embedded import record_stack
from infra.engine import declared
from infra.graph import Resource
from tests.support.catalogues import catalogue
from tests.support.worlds import everything
from trimtab.catalogue import Catalogue
from trimtab.catalogue.model import STACKS

_BUCKET_ARN = "arn:aws:s3:::harbour-charts-dev"
_PROVIDER_ARN = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"


def make() -> dict[str, str]:
    """Return every file."""
    files = {f"infra/stack-{stack}.json": _stack(catalogue(), stack) for stack in STACKS}
    files["infra/stack-everything-dev.json"] = _stack(everything("s3"), "dev")
    files["infra/stack-everything-prod.json"] = _stack(everything("kms"), "prod")
    files["infra/stack-dev-embedded.json"] = _embedded()
    files["infra/policies.json"] = _policies()
    files["infra/pulumi-argv.json"] = _command_lines()
    return files


def _stack(of: Catalogue, stack: str) -> str:
    graph = record_stack(of, stack)
    return _json({"resources": [_resource(resource) for resource in graph.resources], "exports": graph.exports})


def _resource(resource: Resource) -> dict[str, Any]:
    """Return a resource as a person compares it: others by their names, nothing that is empty, policies open."""
    plain = {key: value for key, value in asdict(resource).items() if value not in ("", (), {}, False)}
    del plain["urn"]
    plain["parent"] = _name(resource.parent)
    plain["dependencies"] = [_name(urn) for urn in resource.dependencies]
    plain["inputs"] = {
        key: json.loads(value) if key in ("policy", "assumeRolePolicy") else value
        for key, value in resource.inputs.items()
    }
    return plain


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _embedded() -> str:
    resources, notes = declared(record_stack(catalogue(), "dev"))
    return _json({"resources": [asdict(item) for item in resources], "notes": notes})


def _policies() -> str:
    return _json(
        {
            "modal_trust": policies.modal_trust(_PROVIDER_ARN, catalogue().modal),
            "job_access": policies.job_access(_BUCKET_ARN, data="datasets/tides/", results="results/tides/"),
            "bucket_access": policies.bucket_access(_BUCKET_ARN),
        }
    )


def _command_lines() -> str:
    builders = (
        pulumi_argv.pulumi_select_argv,
        pulumi_argv.pulumi_preview_argv,
        pulumi_argv.pulumi_refresh_argv,
        pulumi_argv.pulumi_up_argv,
        pulumi_argv.pulumi_provider_argv,
        pulumi_argv.pulumi_outputs_argv,
        pulumi_argv.pulumi_export_argv,
        pulumi_argv.pulumi_destroy_argv,
    )
    infra = str(Path(pulumi_argv.__file__).parent)
    commands = {builder.__name__: builder("pulumi", "prod") for builder in builders}
    commands["pulumi_import_argv"] = pulumi_argv.pulumi_import_argv("pulumi", "prod", "import.json")
    return _json({name: shlex.join(argv).replace(infra, "ROOT/infra") for name, argv in commands.items()})


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
