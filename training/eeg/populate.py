"""Fill the cache: index, build what is missing, write the corpus down. Reads the data, writes the cache only.

    python -m training.eeg.populate --data DIR --cache DIR --config FILE [--workers N] [--verify] [--json]

Whole files are kept, so the same command goes on where it was cut off, and any number of machines may build at once:
`plan_parts` on one, `build_part` on each, `finish` when all have ended. `populate` is the three on this machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask
from typing import Any, Final

from training.eeg.assembly import assemble
from training.eeg.cache import Cache
from training.eeg.corpus import Corpus, open_corpus
from training.eeg.index import SPLITS, Index, Source, limited, read_index, root_of
from training.eeg.recording_file import build_file, is_undamaged
from training.eeg.sections import CorpusChoice, Signal, Windows
from training.eeg.windows import KINDS, list_windows
from training.harness.config import load_config
from trimtab.errors import ProgramError, TrimtabError, UsageError
from trimtab.units import format_size

Part = tuple[str, ...]
Say = Callable[[str], None]
_PART_BYTES: Final = 256 * 1024**2


def populate(
    data: Path,
    cache: Path,
    config: Path,
    *,
    workers: int = 1,
    map_parts: Callable[[list[Part]], Iterable[dict[str, Any]]] | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Fill a cache and return in numbers what it holds (JSON-able). What is there and whole is kept.

    `map_parts` builds parts elsewhere and yields what `build_part` returned for each; by default `workers` processes
    do. Raises UsageError for data without a seizure, too many unusable recordings, or a cache that is someone else's.
    """
    signal, choice, windows = _sections(config)
    corpus = fill(data, cache, signal, choice, workers=workers, map_parts=map_parts, say=say)
    return _in_numbers(corpus, windows)


def fill(
    data: Path,
    cache: Path,
    signal: Signal,
    choice: CorpusChoice,
    *,
    workers: int = 1,
    map_parts: Callable[[list[Part]], Iterable[dict[str, Any]]] | None = None,
    say: Say = lambda _: None,
) -> Corpus:
    """Fill a cache and open it: as `populate`, for who has the sections of a configuration in hand."""
    place = Cache(cache, signal)
    index, missing = _missing(data, place, choice)
    build = map_parts or (lambda parts: _built_here(data, place, parts, workers))
    parts = _parts(missing, max(8 * workers, sum(source.size_bytes for source in missing) // _PART_BYTES))
    for line in _progress(build(parts) if parts else (), missing):
        say(line)
    return assemble(index, place, choice)


def plan_parts(data: Path, cache: Path, config: Path, *, parts: int) -> list[Part]:
    """Return what is missing as at most so many parts of about the same size. Raises as `populate`."""
    signal, choice, _ = _sections(config)
    return _parts(_missing(data, Cache(cache, signal), choice)[1], parts)


def build_part(data: Path, cache: Path, config: Path, part: Part) -> dict[str, Any]:
    """Build some recordings' files; JSON-able counts. A recording that cannot be used is written down as such."""
    return _build(data, Cache(cache, _sections(config)[0]), part)


def finish(data: Path, cache: Path, config: Path) -> dict[str, Any]:
    """Write the corpus down, once all its parts are built. Raises ProgramError naming what is not built."""
    signal, choice, windows = _sections(config)
    place = Cache(cache, signal)
    place.prepare()
    return _in_numbers(assemble(_chosen(data, choice), place, choice), windows)


def verify(cache: Path, config: Path, *, say: Say = lambda _: None) -> int:
    """Read every file of the corpus again, set what is damaged aside as `NAME.broken`, and return how many were."""
    signal, choice, _ = _sections(config)
    place = Cache(cache, signal)
    broken = 0
    for one in open_corpus(cache, signal, choice).recordings:
        file = place.file_of(one.path)
        facts = place.facts(one.path)
        if facts is None or not is_undamaged(file, facts):
            if file.exists():
                file.replace(file.with_name(f"{file.name}.broken"))
            say(f"{one.path} is damaged or gone; populating makes it again")
            broken += 1
    return broken


def _sections(config: Path) -> tuple[Signal, CorpusChoice, Windows]:
    from training.eeg.config import Config

    values = load_config(config, Config)
    return values.signal, values.corpus, values.windows


def _chosen(data: Path, choice: CorpusChoice) -> Index:
    index = limited(read_index(data), choice.limit_files)
    train = [source for source in index.sources if source.split == "train"]
    if not any(source.events for source in train):
        odd = Counter(note.rule.value for note in (*index.left_out, *index.notes))
        raise UsageError(
            f"the labels of {data} have no seizure to train on",
            why=f"{len(train)} recordings in train, not one with a seizure; rules applied: {dict(odd) or 'none'}",
            remedy="look at one .csv_bi: its label column must say seiz somewhere; nothing was built",
        )
    return index


def _missing(data: Path, place: Cache, choice: CorpusChoice) -> tuple[Index, list[Source]]:
    index = _chosen(data, choice)
    place.prepare()
    found = place.facts_of(source.path for source in index.sources)
    return index, [
        source
        for source, facts in zip(index.sources, found, strict=True)
        if facts is None or not facts.is_final_for(source.size_bytes)
    ]


def _parts(missing: list[Source], parts: int) -> list[Part]:
    """Deal the recordings out, the largest first, each to the part that has least."""
    dealt: list[list[str]] = [[] for _ in range(min(parts, len(missing)))]
    weights = [0] * len(dealt)
    for source in sorted(missing, key=lambda source: (-source.size_bytes, source.path)):
        least = weights.index(min(weights))
        dealt[least].append(source.path)
        weights[least] += source.size_bytes + 1
    return [tuple(sorted(part)) for part in dealt]


def _build(data: Path, place: Cache, part: Part) -> dict[str, Any]:
    place.prepare()
    root = root_of(data)
    facts = [build_file(root / path, path, place.file_of(path), place.how, place.key) for path in part]
    return {
        "built": len(facts),
        "skipped": sum(one.skipped is not None for one in facts),
        "source_bytes": sum(max(0, one.source_bytes) for one in facts),
    }


def _built_here(data: Path, place: Cache, parts: list[Part], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        for part in parts:
            yield _build(data, place, part)
        return
    # Spawned: this process may have torch's threads, and a fork of one that has threads may never wake up.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            with _interrupts_later():
                results = pool.map(_build, itertools.repeat(data), itertools.repeat(place), parts)
            yield from results
        except BrokenProcessPool as error:
            raise ProgramError(
                "a process that built the cache was ended from outside",
                why="most often the system ran out of memory",
                remedy="give the same command with fewer --workers; what is built is kept",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Start processes that no interrupt reaches: Ctrl-C is for us, who let them end the part that they are at."""
    before = pthread_sigmask(SIG_BLOCK, {SIGINT})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def _progress(results: Iterable[dict[str, Any]], missing: list[Source]) -> Iterator[str]:
    begun = time.monotonic()
    done, built, total = 0, 0, sum(source.size_bytes for source in missing)
    for result in results:
        built += result["built"]
        done += result["source_bytes"]
        rate = done / max(time.monotonic() - begun, 1e-3)
        yield f"{built} of {len(missing)} built, {format_size(done)} of {format_size(total)}, {format_size(rate)}/s"


def _in_numbers(corpus: Corpus, how: Windows) -> dict[str, Any]:
    """Return what a corpus holds. Raises UsageError, with the cause, when none of its windows has a seizure."""
    counts = list_windows(corpus, how).counts()
    return {
        "cache": str(corpus.home),
        "sha256": corpus.sha256,
        "synthetic": corpus.synthetic,
        "recordings": len(corpus.recordings),
        "hours": round(sum(one.duration_s for one in corpus.recordings) / 3600, 3),
        "seizures": {split: sum(len(corpus.recordings[i].events) for i in corpus.of_split(split)) for split in SPLITS},
        "windows": {split: {kind: of_split[kind] for kind in KINDS} for split, of_split in counts.items()},
        **{key: corpus.report[key] for key in ("source_bytes", "cache_bytes", "skipped", "left_out", "counts")},
        "warnings": list(corpus.warnings),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.eeg.populate",
        description="Fill the cache of continuous signal. The same command again goes on, and repeats nothing.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a TUSZ-like tree; only read")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where the signal is kept")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the job's configuration, YAML")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--verify", action="store_true", help="first read again what is there, and set damage aside")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    options = parser.parse_args(arguments)
    try:
        if options.workers < 1:
            raise UsageError("--workers is below 1", why=f"it is {options.workers}", remedy="give 1 or more")
        if options.verify:
            verify(options.cache, options.config, say=_say)
        result = populate(options.data, options.cache, options.config, workers=options.workers, say=_say)
    except TrimtabError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return 130
    sys.stdout.write(f"{json.dumps(result, indent=1) if options.json else _as_text(result)}\n")
    return 0


def _as_text(result: dict[str, Any]) -> str:
    kind = "synthetic recordings" if result["synthetic"] else "recordings"
    lines = [
        f"{result['recordings']} {kind}, {result['hours']} h; {result['cache']}",
        f"{format_size(result['source_bytes'])} of EDF, {format_size(result['cache_bytes'])} of cache",
        *(
            f"{split}: {result['seizures'][split]} seizures; windows: "
            + ", ".join(f"{count} {kind}" for kind, count in counts.items())
            for split, counts in result["windows"].items()
        ),
        *(f"rule {rule}: {count}" for rule, count in result["counts"].items()),
        *(f"warning: {warning}" for warning in result["warnings"]),
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
