"""The whole command on real pictures with planted copies: what it finds, what it leaves alone, and how it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml

from tests.support.planted_pictures import quality, thousand_planted
from tests.support.slow_pictures import in_digits, kill_at_work
from training.dedup import planted as demo
from training.dedup.__main__ import main
from trimtab.storage.runs import list_runs

if TYPE_CHECKING:
    from training.dedup.planted import Planted


def config_of(path: Path, root: Path, **changes: dict[str, Any]) -> Path:
    """Write the local configuration with some sections' keys changed."""
    content = yaml.safe_load((root / "configs/local/dedup.yaml").read_text())
    content["threads"] = 1
    for section, values in changes.items():
        content[section].update(values)
    path.write_text(yaml.safe_dump(content))
    return path


def run(config: Path, data: Path, results: Path, *more: str) -> int:
    return main(["--config", str(config), "--data", str(data), "--results", str(results), *more])


def found_in(results: Path) -> tuple[dict[str, Any], Path]:
    (record,), _ = list_runs(results)
    directory = results / record.run_directory
    return json.loads((directory / "duplicates.json").read_bytes()), directory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo's pictures, laid out once."""
    out = tmp_path_factory.mktemp("planted") / "data"
    assert demo.main(["--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def small(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return every third of the demo's pictures."""
    out = tmp_path_factory.mktemp("small") / "data"
    for path in sorted(folder.rglob("*.*g"))[::3]:
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return out


def lay_out(planted: Planted, directory: Path) -> Path:
    for path, content in planted.files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


def test_of_a_thousand_pictures_every_exact_copy_is_found_and_large_clusters_are_whole(
    tmp_path: Path, root: Path
) -> None:
    planted = thousand_planted()
    data = lay_out(planted, tmp_path / "data")
    few_syncs = {"embedding": {"batch_size": 512}}
    assert run(config_of(tmp_path / "config.yaml", root, **few_syncs), data, tmp_path / "results") == 0
    document, _ = found_in(tmp_path / "results")
    table = quality(document, planted)
    assert table["exact"]["recall"] == 1
    assert all(table[kind]["recall"] > 0.99 for kind in ("resized", "recompressed", "flipped"))
    assert table["cropped"]["recall"] > 0.6
    assert table["all"]["precision"] > 0.95
    # The one of which twelve copies were planted: all thirteen in one cluster.
    originals = [original for original, _ in planted.copies.values()]
    often = max(set(originals), key=originals.count)
    family = {often, *(path for path, (original, _) in planted.copies.items() if original == often)}
    assert len(family) == 13
    paths = [{item["keep"]["path"], *(copy["path"] for copy in item["remove"])} for item in document["clusters"]]
    assert any(family <= cluster for cluster in paths)


def test_the_list_keeps_one_of_each_cluster_and_names_leaks_first(
    tmp_path: Path, root: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    results = tmp_path / "results"
    assert run(config_of(tmp_path / "config.yaml", root), folder, results, "--json") == 0
    final = json.loads(capsys.readouterr().out)["final"]
    document, directory = found_in(results)
    pictures = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*g")}
    assert {*document["keep"], *document["remove"]} == pictures
    assert len(document["keep"]) + len(document["remove"]) == len(pictures) == final["pictures"]
    for cluster in document["clusters"]:
        assert cluster["keep"]["path"] in document["keep"]
        assert all(copy["path"] in document["remove"] for copy in cluster["remove"])
        ranks = [("train", "val", "test").index(item["split"]) for item in (cluster["keep"], *cluster["remove"])]
        assert ranks[0] == max(ranks)
    leaking = [len(cluster["splits"]) > 1 for cluster in document["clusters"]]
    assert leaking == sorted(leaking, reverse=True)
    assert sum(leaking) == final["leaking_clusters"] > 0
    assert all(leak["before"] > leak["after"] == 0 for leak in document["leaks"])
    assert [row["threshold"] for row in document["sweep"]] == [0.8, 0.85, 0.9, 0.95, 0.99]
    assert document["sweep"][1]["remove"] == len(document["remove"])
    page = (directory / "contact_sheet.html").read_text()
    assert page.count("<img ") == page.count('src="data:image/jpeg;base64,')
    assert "http" not in page.replace("http-equiv", "")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_second_run_finds_its_embeddings_and_gives_the_same_bytes(
    tmp_path: Path, root: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path / "config.yaml", root)
    assert run(config, small, tmp_path / "one") == 0
    first, directory = found_in(tmp_path / "one")
    shutil.copytree(tmp_path / "one/cache", tmp_path / "two/cache")
    capsys.readouterr()
    assert run(config, small, tmp_path / "two") == 0
    said = capsys.readouterr().err
    assert "were there" in said
    assert "(0 were there)" not in said
    second, other = found_in(tmp_path / "two")
    assert second == first
    for name in ("duplicates.json", "contact_sheet.html"):
        assert (other / name).read_bytes() == (directory / name).read_bytes()


def test_a_run_whose_cache_was_lost_embeds_again_and_gives_the_same_bytes(
    tmp_path: Path, root: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path / "config.yaml", root)
    results = tmp_path / "results"
    assert run(config, small, results) == 0
    before, directory = found_in(results)
    (directory / "duplicates.json").unlink()
    shutil.rmtree(results / "cache")
    capsys.readouterr()
    assert run(config, small, results, "--json") == 0
    assert json.loads(capsys.readouterr().out)["resumed_from_step"] > 0
    assert found_in(results)[0] == before


def test_a_picture_that_changed_is_embedded_anew(
    tmp_path: Path, root: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small, data)
    config = config_of(tmp_path / "config.yaml", root)
    assert run(config, data, tmp_path / "results", "--run-id", "before") == 0
    one, other = sorted(data.rglob("*.png"))[:2]
    shutil.copy(one, other)
    assert run(config, data, tmp_path / "results", "--run-id", "before") == 2  # other data is another run
    assert run(config, data, tmp_path / "results", "--run-id", "after") == 0
    (record,) = [item for item in list_runs(tmp_path / "results").records if item.run_id == "after"]
    document = json.loads((tmp_path / "results" / record.run_directory / "duplicates.json").read_bytes())
    pair = {path.relative_to(data).as_posix() for path in (one, other)}
    assert any(
        pair <= {item["keep"]["path"], *(copy["path"] for copy in item["remove"])} for item in document["clusters"]
    )


def test_hostile_files_are_counted_named_and_do_no_harm(tmp_path: Path, root: Path, small: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small, data)
    (data / "train/evil<script>.png").write_text("<script>alert(1)</script>")
    (data / "train/cut.jpg").write_bytes(next(data.rglob("*.jpg")).read_bytes()[:300])
    (data / "train/none.gif").touch()
    (data / "train/away.png").symlink_to(root / "README.md")
    outside = set(tmp_path.iterdir())
    assert run(config_of(tmp_path / "config.yaml", root), data, tmp_path / "results") == 0
    document, directory = found_in(tmp_path / "results")
    assert {skip["path"]: skip["reason"] for skip in document["skipped"]} == {
        "train/away.png": "a link",
        "train/cut.jpg": "damaged",
        "train/evil<script>.png": "not a picture",
        "train/none.gif": "empty",
    }
    listed = {*document["keep"], *document["remove"]}
    assert not listed & {skip["path"] for skip in document["skipped"]}
    page = (directory / "contact_sheet.html").read_text()
    assert "<script" not in page
    assert "evil&lt;script&gt;.png" in page
    assert set(tmp_path.iterdir()) - outside == {tmp_path / "config.yaml", tmp_path / "results"}
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"runs", "checkpoints", "cache"}


def test_a_picture_that_crashes_its_decoder_is_named_and_the_run_ends_as_without_it(
    tmp_path: Path, root: Path, small: Path
) -> None:
    config = config_of(tmp_path / "config.yaml", root)
    assert run(config, small, tmp_path / "without") == 0
    data = tmp_path / "data"
    shutil.copytree(small, data)
    (data / "train/crash.pgm").write_bytes(in_digits())

    def kill_twice() -> None:
        for _ in range(2):
            kill_at_work(decoders_here)

    with ThreadPoolExecutor(1) as killer:
        killed = killer.submit(kill_twice)
        assert run(config, data, tmp_path / "with") == 0
        killed.result()
    expected, found = (found_in(tmp_path / name)[0] for name in ("without", "with"))
    assert found.pop("skipped") == [
        {"path": "train/crash.pgm", "reason": "crashed its decoder", "detail": "2 times, at last by SIGKILL"}
    ]
    assert expected.pop("skipped") == []
    assert found == expected
    assert not list(decoders_here())


def decoders_here() -> Iterator[int]:
    """Yield the processes that decode for this one."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "training.dedup.decoder_process" in child.cmdline():
                yield child.pid


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("matching", {"treshold": 0.9}, "did you mean 'threshold'"),
        ("matching", {"threshold": 1.5}, "matching.threshold"),
        ("matching", {"link": "average"}, "matching.link"),
        ("pictures", {"splits": ["a", "a"]}, "there twice"),
        ("embedding", {"gpu": 1}, "asks for resources"),
        ("matching", {"max_pairs": 3}, "more than 3 pairs"),
        ("matching", {"max_vectors_gib": 1e-9}, "do not fit"),
        ("embedding", {"manifest": "encoders/none.toml"}, "cannot be used"),
    ],
)
def test_what_is_wrong_is_said_in_three_parts(
    tmp_path: Path,
    root: Path,
    small: Path,
    capsys: pytest.CaptureFixture[str],
    section: str,
    values: dict[str, Any],
    said: str,
) -> None:
    code = run(config_of(tmp_path / "config.yaml", root, **{section: values}), small, tmp_path / "results")
    error = capsys.readouterr().err
    assert code in (2, 6)
    assert said in error
    assert "why: " in error
    assert "next: " in error


def test_a_cache_without_room_keeps_nothing_and_the_run_goes_on(tmp_path: Path, root: Path, small: Path) -> None:
    config = config_of(tmp_path / "config.yaml", root, embedding={"cache_max_gib": 0})
    assert run(config, small, tmp_path / "results") == 0
    assert not list((tmp_path / "results").rglob("*.npy"))


def test_the_demo_is_laid_out_once_and_is_the_same_each_time(tmp_path: Path, folder: Path) -> None:
    again = tmp_path / "again"
    assert demo.main(["--out", str(again)]) == 0
    assert demo.main(["--out", str(again)]) == 0
    for path in folder.rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes()
    truth = json.loads((again / demo.TRUTH).read_text())["copies"]
    assert {row["kind"] for row in truth} == set(demo.KINDS)
    assert all((again / row["path"]).is_file() and (again / row["original"]).is_file() for row in truth)
