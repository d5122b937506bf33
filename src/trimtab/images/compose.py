"""Plain docker-compose files from the catalogue, for people who want no toolkit on the machine that serves. Pure.

They run the same images with the same limits and rights as a release, without the front: a change of image has a gap
there. The whole file has every service in its largest variant; the override makes each of them a CPU one.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from trimtab.catalogue import Catalogue, Service
from trimtab.images.build import image_tag
from trimtab.images.container import INSIDE_PORT, LOGS, MODELS, limits_environment

FOLDER: Final = "deploy/compose"
WHOLE: Final = "docker-compose.yml"
CPU: Final = "docker-compose.cpu.yml"
_HEADER: Final = """\
# Rendered from trimtab.yaml by `trimtab images compose`: do not edit. `trimtab images compose --check` compares.
#   {use}
# Models in ./models, or MODELS=/another/folder; for each service:
#   python -m services.model_zoo fetch --manifest services/NAME/models.toml --out models
# An image by its digest: {variable}=REGISTRY/NAME@sha256:...
"""
_GPU: Final = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


class _Reset:
    """What Compose takes out of the file that is overridden: `!reset null` (Compose 2.24 and later)."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Reset`, and what stands twice in full."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_Dumper.add_representer(_Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))


def compose_files(catalogue: Catalogue) -> dict[str, str]:
    """Return the text of each file by its name: the same catalogue gives the same bytes."""
    variable = _variable(next(iter(catalogue.services)))
    whole = {
        "name": catalogue.project,
        "services": {name: _service(catalogue, name, section) for name, section in catalogue.services.items()},
    }
    override = {
        "services": {
            name: _on_cpu(catalogue, name, section)
            for name, section in catalogue.services.items()
            if "cpu" in section.variants
        }
    }
    cpu_use = f"docker compose --file {WHOLE} --file {CPU} up --detach --wait"
    files = {WHOLE: (whole, "docker compose up --detach --wait"), CPU: (override, cpu_use)}
    return {
        name: _HEADER.format(use=use, variable=variable)
        + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120)
        for name, (document, use) in files.items()
    }


def _service(catalogue: Catalogue, name: str, service: Service) -> dict[str, Any]:
    variant = "gpu" if "gpu" in service.variants else next(iter(service.variants))
    document = {
        "image": _image(catalogue, name, variant),
        "environment": {"PORT": str(INSIDE_PORT), **limits_environment(service.limits)},
        "ports": [f"127.0.0.1:{service.port}:{INSIDE_PORT}"],
        "volumes": [{"type": "bind", "source": "${MODELS:-./models}", "target": MODELS, "read_only": True}],
        "user": "10001:10001",
        "read_only": True,
        "tmpfs": ["/tmp:size=64m,mode=1777"],  # noqa: S108 - inside the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": service.memory,
        "memswap_limit": service.memory,
        "pids_limit": 256,
        "healthcheck": {
            "test": ["CMD", "python", "-m", "services.serving.healthcheck"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{service.start:g}s",
        },
        "stop_grace_period": "15s",
        "restart": "unless-stopped",
        "logging": {"driver": LOGS["type"], "options": LOGS["config"]},
    }
    if variant == "gpu":
        document["deploy"] = {"resources": {"reservations": {"devices": [_GPU]}}}
    return document


def _on_cpu(catalogue: Catalogue, name: str, service: Service) -> dict[str, Any]:
    document: dict[str, Any] = {"image": _image(catalogue, name, "cpu")}
    if "gpu" in service.variants:
        document["deploy"] = _Reset()
    return document


def _image(catalogue: Catalogue, name: str, variant: str) -> str:
    return f"${{{_variable(name)}:-{image_tag(catalogue.project, name, variant)}}}"


def _variable(name: str) -> str:
    return f"{name.upper().replace('-', '_')}_IMAGE"
