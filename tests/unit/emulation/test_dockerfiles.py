"""What a client's image definition becomes: base, commands, notices, and when it has to be built again."""

from __future__ import annotations

from pathlib import Path

from trimtab.emulation.modal.attempt import ImageDefinition, MountedFile
from trimtab.emulation.modal.dockerfiles import digest_of, dockerfile, recipe_of
from trimtab.process import Secret

BASE = "python:3.11-slim-bookworm"
DEBIAN_SLIM = (
    "FROM python:3.11.12-slim-bookworm",
    "RUN apt-get update",
    "RUN apt-get install -y gcc gfortran build-essential",
    "RUN pip install --upgrade pip wheel uv",
    "RUN echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections",
    'CMD ["sleep", "172800"]',
)


def image(*commands: str, base: ImageDefinition | None = None, files: tuple[MountedFile, ...] = ()) -> ImageDefinition:
    return ImageDefinition(image_id="im-1", commands=commands, base=base, context=files)


def test_the_platform_s_own_image_is_stood_for_by_the_catalogue_s_and_needs_no_build() -> None:
    recipe = recipe_of(image(*DEBIAN_SLIM), base_image=BASE)
    assert (recipe.base, recipe.commands, recipe.python) == (BASE, (), "3.11")
    assert "compilers" in recipe.notices[0]


def test_what_a_person_added_is_built_as_it_was_sent() -> None:
    recipe = recipe_of(image("FROM base", "RUN python -m pip install tides", base=image(*DEBIAN_SLIM)), base_image=BASE)
    assert (recipe.base, recipe.commands) == (None, ("RUN python -m pip install tides",))


def test_a_gpu_base_falls_back_to_the_cpu_s_and_says_so() -> None:
    registry = image("FROM nvidia/cuda:12.8.1-devel-ubuntu22.04")
    recipe = recipe_of(registry, base_image=BASE)
    assert recipe.base == BASE
    assert "nvidia/cuda:12.8.1-devel-ubuntu22.04" in recipe.notices[0]
    added = image("FROM base", "COPY /python/. /usr/local", "ENV TERMINFO_DIRS=/etc/terminfo", base=registry)
    assert recipe_of(added, base_image=BASE).commands == ()


def test_another_base_is_taken_as_it_is() -> None:
    recipe = recipe_of(image("FROM --platform=linux/amd64 ubuntu:24.04", "RUN true"), base_image=BASE)
    assert (recipe.base, recipe.commands, recipe.notices) == ("ubuntu:24.04", ("RUN true",), ())


def test_uv_comes_from_the_package_index() -> None:
    sent = image("FROM base", "COPY --from=ghcr.io/astral-sh/uv:0.9.1 /uv /.uv/uv", base=image(*DEBIAN_SLIM))
    (command,) = recipe_of(sent, base_image=BASE).commands
    assert command.startswith("RUN python -m pip install --no-cache-dir uv==0.9.1 ")
    assert command.endswith("/.uv/uv")


def test_secrets_and_wheels_are_lent_to_each_run_and_stay_out_of_the_image() -> None:
    recipe = recipe_of(image("FROM ubuntu:24.04", "RUN pip install x", "ENV A=1"), base_image=BASE)
    text = dockerfile(recipe, "ubuntu:24.04", arguments=("PIP_INDEX_URL",), secrets=("TOLD",), has_wheels=True)
    assert text.splitlines() == [
        "FROM ubuntu:24.04",
        "ARG PIP_INDEX_URL",
        "ARG PIP_FIND_LINKS=/trimtab/wheels",
        "ARG UV_FIND_LINKS=/trimtab/wheels",
        (
            "RUN --mount=type=bind,source=.trimtab-wheels,target=/trimtab/wheels --mount=type=secret,id=TOLD"
            ' export TOLD="$(cat /run/secrets/TOLD)"; pip install x'
        ),
        "ENV A=1",
    ]


def test_an_image_is_another_when_a_command_its_base_its_python_or_a_file_s_content_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    older = (DEBIAN_SLIM[0].replace("3.11.12", "3.12.10"), *DEBIAN_SLIM[1:])
    slim = image(*DEBIAN_SLIM)
    images = [
        slim,
        image(*older),
        image("FROM base", "RUN x", base=slim),
        image("FROM base", "RUN y", base=slim),
        image("FROM base", "RUN x", base=image("FROM ubuntu:24.04")),
        *(
            image("FROM base", "RUN x", base=slim, files=(MountedFile(path="f", content=tmp_path / name, mode=0o644),))
            for name in ("a", "b")
        ),
    ]
    digests = [digest_of(one, base_image=BASE) for one in images]
    assert len(set(digests)) == len(images)
    assert digests == [digest_of(one, base_image=BASE) for one in images]


def test_a_secret_s_value_is_not_part_of_what_an_image_is() -> None:
    one, other = (
        ImageDefinition(image_id="im", commands=("FROM x",), base=None, context=(), environment={"A": Secret(value)})
        for value in ("1", "2")
    )
    assert digest_of(one, base_image=BASE) == digest_of(other, base_image=BASE)
