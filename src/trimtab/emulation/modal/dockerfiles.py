"""What a client's image definition becomes here: which base, which commands, and what is said about it. Pure.

Modal's own images (debian_slim) are built once by the platform; here the catalogue's base image stands for them. A GPU
base has no GPU to run on, so the CPU base stands for it too. Everything that a person added is built as it was sent.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from typing import Final

from trimtab.emulation.modal.attempt import ImageDefinition

PYTHON_SLIM: Final = re.compile(r"(?:docker\.io/)?(?:library/)?python:(?P<version>\d+\.\d+)[\w.]*-slim(?:-\w+)?")
_GPU_BASE: Final = re.compile(r"(^|/)(nvidia/|cuda|pytorch/pytorch|tensorflow/tensorflow:\S*gpu)|cuda", re.IGNORECASE)
_SHELL_RUN: Final = re.compile(r"^\s*RUN\s+(?!--|\[)", re.IGNORECASE)
_RUN: Final = re.compile(r"^\s*RUN\s+", re.IGNORECASE)
_UV_IMAGE: Final = re.compile(r"^COPY --from=ghcr\.io/astral-sh/uv:(?P<version>\S+) /uv (?P<target>\S+)$")
# What Modal puts below debian_slim (modal/_image.py): package tools and compilers, none of them a person's wish.
_OF_THE_PLATFORM: Final = re.compile(
    r"RUN (apt-get update|apt-get install -y gcc gfortran build-essential|pip install --upgrade pip.*"
    r"|echo 'debconf debconf/frontend select Noninteractive' \| debconf-set-selections"
    r"|(python -m )?(uv )?pip install .*modal_requirements\.txt|rm /modal_requirements\.txt)"
    r"|COPY /modal_requirements\.txt .*|COPY /python/\. /usr/local|RUN ln -s /usr/local/bin/python3 .*"
    r"|ENV TERMINFO_DIRS=.*|CMD \[\"sleep\", \"\d+\"\]"
)
WHEELS: Final = ".trimtab-wheels"
"""The folder of a build's context that holds the wheels which this machine's pip finds without an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a definition is built: on `base` (None: on the image of its base definition), by these commands.

    Without commands the base itself is the image. `python` is the version that the base must have, if it says one.
    """

    base: str | None
    commands: tuple[str, ...]
    python: str | None
    notices: tuple[str, ...]


def recipe_of(image: ImageDefinition, *, base_image: str) -> Recipe:
    """Return how a definition is built here. `base_image` is the catalogue's."""
    commands = [command for command in image.commands if command.strip()]
    first, rest = commands[0], commands[1:]
    reference = re.sub(r"^\s*FROM\s+(--\S+\s+)*", "", first, flags=re.IGNORECASE).split()[0]
    if image.base is not None:
        if all(_OF_THE_PLATFORM.fullmatch(line.strip()) for line in rest):
            rest = []  # add_python=: the standalone Python that Modal keeps, and what it needs
        return Recipe(base=None, commands=_ours(rest), python=None, notices=())
    slim = PYTHON_SLIM.fullmatch(reference)
    if slim is not None:
        added = [line for line in rest if not _OF_THE_PLATFORM.fullmatch(line.strip())]
        notice = f"{base_image} stands for {reference}; compilers (gcc, gfortran, build-essential) are not in it"
        said = () if reference == base_image and len(added) == len(rest) else (notice,)
        return Recipe(base=base_image, commands=_ours(added), python=slim["version"], notices=said)
    if _GPU_BASE.search(reference) or image.gpu:
        added = [line for line in rest if not _OF_THE_PLATFORM.fullmatch(line.strip())]
        notice = f"{reference} is for GPUs and there is none here: {base_image} stands for it, without CUDA"
        return Recipe(base=base_image, commands=_ours(added), python=None, notices=(notice,))
    return Recipe(base=reference, commands=_ours(rest), python=None, notices=())


def _ours(commands: list[str]) -> tuple[str, ...]:
    """Return the commands with uv taken from the package index: its image's registry needs an account-free network."""
    ours = []
    for line in commands:
        uv = _UV_IMAGE.match(line.strip())
        if uv is None:
            ours.append(line)
        else:
            wanted = "uv" if uv["version"] == "latest" else f"uv=={uv['version']}"
            target = shlex.quote(uv["target"])
            ours.append(
                f"RUN python -m pip install --no-cache-dir {wanted} && mkdir -p $(dirname {target})"
                f' && ln -sf "$(command -v uv)" {target}'
            )
    return tuple(ours)


def dockerfile(
    recipe: Recipe, base: str, *, arguments: tuple[str, ...], secrets: tuple[str, ...], has_wheels: bool
) -> str:
    """Return the Dockerfile. `arguments` become build arguments, `secrets` are files that each RUN reads."""
    lines = [f"FROM {base}", *(f"ARG {name}" for name in arguments)]
    if has_wheels:
        lines.append("ARG PIP_FIND_LINKS=/trimtab/wheels\nARG UV_FIND_LINKS=/trimtab/wheels")
    lines += [_with_mounts(command, secrets, has_wheels=has_wheels) for command in recipe.commands]
    return "\n".join(lines) + "\n"


def _with_mounts(command: str, secrets: tuple[str, ...], *, has_wheels: bool) -> str:
    if not _RUN.match(command):
        return command
    mounts = [f"--mount=type=bind,source={WHEELS},target=/trimtab/wheels"] if has_wheels else []
    mounts += [f"--mount=type=secret,id={name}" for name in secrets]
    exports = ""
    if secrets and _SHELL_RUN.match(command):
        exports = "".join(f'export {name}="$(cat /run/secrets/{name})"; ' for name in secrets)
    return _RUN.sub(lambda _: " ".join(["RUN", *mounts, exports]).rstrip() + " ", command, count=1)


def digest_of(image: ImageDefinition, *, base_image: str) -> str:
    """Return what tells whether an image has to be built again: commands, base, context by content, arguments."""
    recipe = recipe_of(image, base_image=base_image)
    digest = hashlib.sha256()
    parts: list[str] = [recipe.base or "", recipe.python or "", *recipe.commands]
    parts += [f"{name}={value}" for name, value in sorted(image.build_args.items())]
    parts += sorted(image.environment)
    if image.base is not None:
        parts.append(digest_of(image.base, base_image=base_image))
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    for file in sorted(image.context, key=lambda file: file.path):
        content = hashlib.sha256(file.content.read_bytes()).hexdigest()
        digest.update(f"{len(file.path)}:{file.path}{file.mode:o}:{content}".encode())
    return digest.hexdigest()
