"""Which recordings a corpus has: TUSZ's tree to a list with the official splits and the seizures. Reads files only.

    DIR/edf/{train,dev,eval}/PATIENT/SESSION/MONTAGE/PATIENT_SESSION_TOKEN.{edf,csv_bi,csv}

DIR may be a bucket's mount: it is listed once, and only annotations are read. Links are followed within DIR only. A
patient in two splits is an error: what such splits measure is how well patients are remembered.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from training.eeg.annotations import MAX_BYTES, Kind, Span, parse_annotation
from training.eeg.notes import Note, Rule, UnusableError, printable
from trimtab.errors import UsageError
from trimtab.storage.manifests import path_problems

SPLITS: Final = ("train", "dev", "eval")
_KINDS: Final[tuple[Kind, ...]] = ("csv_bi", "csv")  # the first that is there is read
_AT_ONCE: Final = 16  # a bucket's mount answers each small read after some 50 ms
_MAX_FILES: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recording to be read: where, whose, and when its seizures are (seconds, as its labels say)."""

    path: str
    split: str
    patient: str
    session: str
    montage: str
    size_bytes: int
    events: tuple[Span, ...]
    labelled_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The recordings that have labels, by path; `root` is the directory of the splits; `notes` what was odd."""

    root: Path
    sources: tuple[Source, ...]
    left_out: tuple[Note, ...]
    notes: tuple[Note, ...]

    @property
    def sha256(self) -> str:
        """Return one digest over which recordings there are, their sizes and their labels."""
        whole = hashlib.sha256()
        for source in self.sources:
            whole.update(f"{source.path}\0{source.size_bytes}\0{source.events}\n".encode())
        return whole.hexdigest()


def read_index(data: Path) -> Index:
    """List a corpus and read its labels. Raises UsageError where there is none, or a patient is in two splits."""
    root = root_of(data)
    left_out: list[Note] = []
    files = dict(_files(root, left_out))
    recordings = [path for path in sorted(files) if path.lower().endswith(".edf")]
    placed = [parts for path in recordings if (parts := _placed(path, left_out))]
    _check_patients(placed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = list(pool.map(lambda parts: _source(root, files, parts), placed))
    sources = [found for found in read if isinstance(found, tuple)]
    left_out += [note for note in read if isinstance(note, Note)]
    if not sources:
        raise UsageError(
            f"{data} has no recording with labels",
            why=f"{len(recordings)} EDF files were found; {_first(left_out)}",
            remedy="lay it out as DIR/edf/{train,dev,eval}/PATIENT/SESSION/MONTAGE/NAME.{edf,csv_bi}",
        )
    return Index(
        root=root,
        sources=tuple(source for source, _ in sources),
        left_out=tuple(left_out),
        notes=tuple(note for _, notes in sources for note in notes),
    )


def root_of(data: Path) -> Path:
    """Return the directory of the splits. Raises UsageError where there is none."""
    for root in (data / "edf", data):
        if any((root / split).is_dir() for split in SPLITS):
            return root.resolve()
    raise UsageError(
        f"the data at {data} cannot be used",
        why="it has no train, dev or eval below edf/" if data.is_dir() else "it is no directory",
        remedy="lay it out as DIR/edf/{train,dev,eval}/PATIENT/SESSION/MONTAGE/NAME.{edf,csv_bi}",
    )


def limited(index: Index, limit_files: int | None) -> Index:
    """Return at most so many of the recordings: of each split its share, of these about half with a seizure.

    The choice depends on the paths alone, so that it is the same on every machine.
    """
    if limit_files is None or limit_files >= len(index.sources):
        return index
    chosen: list[Source] = []
    for split, share in zip(SPLITS, (3, 1, 1), strict=True):
        wanted = min(limit_files - len(chosen), max(1, limit_files * share // 5))
        members = sorted((source for source in index.sources if source.split == split), key=_drawn)
        ill = [source for source in members if source.events]
        well = [source for source in members if not source.events]
        half = ill[: max(math.ceil(wanted / 2), wanted - len(well))]
        chosen += [*half, *well[: wanted - len(half)]]
    rest = sorted(set(index.sources) - set(chosen), key=_drawn)
    chosen += rest[: limit_files - len(chosen)]
    return Index(
        root=index.root,
        sources=tuple(sorted(chosen, key=lambda source: source.path)),
        left_out=index.left_out,
        notes=tuple(note for note in index.notes if note.path in {source.path for source in chosen}),
    )


def _drawn(source: Source) -> str:
    return hashlib.sha256(source.path.encode()).hexdigest()


def _files(root: Path, left_out: list[Note]) -> Iterator[tuple[str, int]]:
    """Yield path and size of each regular file below root, links within it included."""
    count = 0
    pending = [split for split in SPLITS if (root / split).is_dir()]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            left_out.append(_left_out(folder, Rule.UNREADABLE, error.strerror or str(error)))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}"
            count += 1
            if count > _MAX_FILES:
                raise UsageError(
                    f"{root} has more than {_MAX_FILES} files",
                    why="TUSZ has 22,083; this is not it",
                    remedy="give the directory of one corpus",
                )
            try:
                if rule := _strange(root, entry, path):
                    left_out.append(_left_out(path, *rule))
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path, entry.stat().st_size
            except OSError as error:
                left_out.append(_left_out(path, Rule.UNREADABLE, error.strerror or str(error)))


def _strange(root: Path, entry: os.DirEntry[str], path: str) -> tuple[Rule, str] | None:
    """Tell why an entry is not looked into, if so."""
    if problems := path_problems([path]):
        return Rule.NAME_NOT_TEXT, printable(problems[0])
    if entry.is_symlink():
        target = Path(entry.path).resolve()
        if not target.is_relative_to(root):
            return Rule.LINK, "it leads out of the data: not followed"
        if not target.is_file():
            return Rule.LINK, "it leads to no file: not followed"
    elif not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        return Rule.LAYOUT_ODD, "neither a file nor a directory"
    return None


def _placed(path: str, left_out: list[Note]) -> PurePosixPath | None:
    placed = PurePosixPath(path)
    if len(placed.parts) == 5:
        return placed
    left_out.append(_left_out(path, Rule.LAYOUT_ODD, "not SPLIT/PATIENT/SESSION/MONTAGE/NAME.edf"))
    return None


def _check_patients(placed: list[PurePosixPath]) -> None:
    """Raise UsageError when a patient, by the directory's name or the file's, is in two splits."""
    homes: dict[str, set[str]] = {}
    for path in placed:
        for patient in (path.parts[1], path.name.split("_", 1)[0]):
            homes.setdefault(patient.casefold(), set()).add(path.parts[0])
    if leaked := sorted(patient for patient, splits in homes.items() if len(splits) > 1):
        first = f"{leaked[0]} in {' and '.join(sorted(homes[leaked[0]]))}"
        raise UsageError(
            f"{len(leaked)} patients are in more than one split",
            why=f"{first}; what is learnt of a patient must not be measured on him",
            remedy="use the official splits of the corpus, or move each patient into one",
        )


def _source(root: Path, files: dict[str, int], path: PurePosixPath) -> tuple[Source, list[Note]] | Note:
    """Read one recording's labels; a note says why it has none that can be used."""
    name = str(path)
    for kind in _KINDS:
        if (beside := str(path.with_suffix(f".{kind}"))) in files:
            break
    else:
        return _left_out(name, Rule.UNANNOTATED, "neither .csv_bi nor .csv beside it")
    try:
        with (root / beside).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        read = parse_annotation(content, kind=kind, stem=path.stem)
    except OSError as error:
        return _left_out(name, Rule.ANNOTATION_BROKEN, f".{kind}: {error.strerror or error}")
    except UnusableError as error:
        return _left_out(name, error.rule, f".{kind}: {error.detail}")
    source = Source(
        path=name,
        split=path.parts[0],
        patient=path.parts[1],
        session=path.parts[2],
        montage=path.parts[3],
        size_bytes=files[name],
        events=read.events,
        labelled_s=read.duration_s,
    )
    return source, [Note(path=name, rule=rule, detail=detail) for rule, detail in read.odd]


def _left_out(path: str, rule: Rule, detail: str) -> Note:
    return Note(path=printable(path), rule=rule, detail=detail)


def _first(notes: list[Note]) -> str:
    if not notes:
        return "nothing is there"
    return f"the first that was left out: {notes[0].path}: {notes[0].rule.value}: {notes[0].detail}"
