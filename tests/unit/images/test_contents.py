"""Which directories are named of an image that grew: those that say most, and none twice."""

from __future__ import annotations

from trimtab.images.contents import largest_apart

SITE = "/opt/venv/lib/python3.11/site-packages"


def sizes(files: dict[str, int]) -> dict[str, int]:
    """Return the bytes below each directory of these files."""
    found: dict[str, int] = {}
    for path, size in files.items():
        parts = path.strip("/").split("/")[:-1]
        for depth in range(len(parts) + 1):
            name = "/" + "/".join(parts[:depth])
            found[name] = found.get(name, 0) + size
    return found


def test_a_folder_is_named_where_its_bytes_lie_and_not_by_those_above_it() -> None:
    assert largest_apart(sizes({f"{SITE}/torch/lib/libtorch.so": 500, f"{SITE}/torch/x.py": 10})) == (
        (f"{SITE}/torch/lib", 500),
    )


def test_a_crowd_is_named_by_its_members() -> None:
    files = {f"{SITE}/numpy/core.so": 300, f"{SITE}/scipy/a.so": 200, f"{SITE}/PIL/a.so": 100}
    assert largest_apart(sizes(files)) == ((f"{SITE}/numpy", 300), (f"{SITE}/scipy", 200), (f"{SITE}/PIL", 100))


def test_at_most_five_are_named_the_largest_first() -> None:
    files = {f"/data/d{size}/x": size for size in range(1, 9)}
    assert largest_apart(sizes(files)) == tuple((f"/data/d{size}", size) for size in (8, 7, 6, 5, 4))


def test_files_at_the_root_belong_to_the_root() -> None:
    assert largest_apart(sizes({"/big": 10})) == (("/", 10),)


def test_nothing_grew() -> None:
    assert largest_apart({}) == ()
