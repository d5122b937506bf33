"""What a build depends on: its digest changes with everything that is read, and with nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.images.build import image_tag, inputs_digest


def tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def digest(root: Path, *, also: tuple[str, ...] = ("base",)) -> str:
    return inputs_digest((root,), root=root, also=also)


FILES = {"Dockerfile": b"FROM x", "app/main.py": b"print()", "app/data.bin": b"\0\1"}


def test_the_same_files_elsewhere_have_the_same_digest(tmp_path: Path) -> None:
    assert digest(tree(tmp_path / "a", FILES)) == digest(tree(tmp_path / "b", FILES))


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "app/main.py": b"print( )"},
        {**FILES, "app/more.py": b""},
        {name: content for name, content in FILES.items() if name != "app/data.bin"},
        {"Dockerfile": b"FROM x", "app/main2.py": b"print()", "app/data.bin": b"\0\1"},
        {**FILES, "app/main.py": b"\0\1", "app/data.bin": b"print()"},
    ],
    ids=["another content", "a file more", "a file less", "another name", "contents exchanged"],
)
def test_whatever_a_build_reads_changes_the_digest(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert digest(tree(tmp_path / "a", FILES)) != digest(tree(tmp_path / "b", files))


def test_what_python_compiled_changes_nothing(tmp_path: Path) -> None:
    before = digest(tree(tmp_path, FILES))
    tree(tmp_path, {"app/__pycache__/main.cpython-311.pyc": b"x", ".pytest_cache/v": b"y"})
    assert digest(tmp_path) == before


def test_the_base_and_the_variant_count_as_well(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    found = {digest(tmp_path, also=also) for also in (("base", "cpu"), ("base", "gpu"), ("basec", "pu"), ("basecpu",))}
    assert len(found) == 4


def test_the_order_in_which_files_are_named_does_not_count(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    one, other = tmp_path / "Dockerfile", tmp_path / "app"
    assert inputs_digest((one, other), root=tmp_path, also=()) == inputs_digest((other, one), root=tmp_path, also=())


_TREES = st.dictionaries(st.from_regex(r"\A[ab0-9:]{1,3}\Z"), st.binary(max_size=4), max_size=3)


@given(_TREES, _TREES)
def test_two_trees_have_one_digest_only_if_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("trees")
    (root / "a").mkdir()
    (root / "b").mkdir()
    assert (digest(tree(root / "a", one)) == digest(tree(root / "b", other))) == (one == other)


def test_an_images_name_says_project_service_and_variant() -> None:
    assert image_tag("harbour", "gulls", "cpu") == "harbour/gulls:cpu"
