"""What a choice of recordings came to: index and built files, held against each other, become the corpus' JSON.

The last step of populating. Reads the cache's files, writes one; counts every rule that was applied on the way.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from training.eeg.annotations import within
from training.eeg.cache import Cache
from training.eeg.corpus import FORMAT, Corpus, digest_of
from training.eeg.index import Index, Source
from training.eeg.notes import Note, Rule, counted
from training.eeg.recording_file import Facts
from training.eeg.sections import CorpusChoice
from training.eeg.whole_file import remove_abandoned, whole_file
from trimtab.errors import ProgramError, UsageError

_DURATION_SLACK_S: Final = 1.0


def assemble(index: Index, place: Cache, choice: CorpusChoice) -> Corpus:
    """Write the corpus down, whole, and return it.

    Raises ProgramError naming what is not built yet, UsageError where too much is unusable.
    """
    remove_abandoned(place.home)
    signal = place.how
    notes = [*index.left_out, *index.notes]
    recordings: list[dict[str, Any]] = []
    used: list[Facts] = []
    unbuilt: list[str] = []
    skipped: list[Note] = []
    found = place.facts_of(source.path for source in index.sources)
    for source, facts in zip(index.sources, found, strict=True):
        if facts is None or (facts.skipped is None and facts.source_bytes != source.size_bytes):
            unbuilt.append(source.path)
        elif facts.skipped is not None:
            skipped.append(facts.skipped)
        else:
            used.append(facts)
            recordings.append(_entry(source, facts, signal.rate_hz, notes))
    if unbuilt:
        raise ProgramError(
            f"{len(unbuilt)} recordings are not in the cache yet",
            why=f"the first is {unbuilt[0]}",
            remedy="build the missing parts: populating again does; what is there is kept",
        )
    notes += skipped
    unused = [*skipped, *(note for note in index.left_out if note.path.lower().endswith(".edf"))]
    _check_share(unused, len(recordings), choice)
    warnings = _warnings(recordings, skipped, index.left_out, notes)
    raw = {
        "format": FORMAT,
        "signal_key": place.key,
        "signal": signal.model_dump(mode="json"),
        "choice": choice.model_dump(mode="json"),
        "index_sha256": index.sha256,
        "sha256": digest_of(recordings, place.key),
        "recordings": recordings,
        "synthetic": any(facts.synthetic for facts in used),
        "report": {
            **counted(notes),
            "skipped": len(skipped),
            "left_out": len(index.left_out),
            "source_bytes": sum(facts.source_bytes for facts in used),
            "cache_bytes": sum(place.file_of(facts.path).stat().st_size for facts in used),
            "warnings": warnings,
        },
    }
    path = place.corpus_file(choice)
    with whole_file(path) as stream:
        stream.write(json.dumps(raw, indent=1).encode())
    return Corpus(place.home, raw)


def _entry(source: Source, facts: Facts, rate_hz: int, notes: list[Note]) -> dict[str, Any]:
    """Return a recording as it stands in the corpus' file; what was odd about it is added to `notes`."""
    duration_s = facts.samples / rate_hz
    events, odd = within(source.events, duration_s)
    notes += facts.notes
    notes += [Note(path=source.path, rule=rule, detail=detail) for rule, detail in odd]
    if source.labelled_s is not None and abs(source.labelled_s - duration_s) > _DURATION_SLACK_S:
        detail = f"{source.labelled_s:g} s by its labels, {duration_s:g} s by its signal"
        notes.append(Note(path=source.path, rule=Rule.DURATION_DIFFERS, detail=detail))
    return {
        "path": source.path,
        "samples": facts.samples,
        "events": [list(event) for event in events],
        "present": list(facts.present),
        "source_bytes": facts.source_bytes,
        "source_sha256": facts.source_sha256,
    }


def _check_share(unused: list[Note], used: int, choice: CorpusChoice) -> None:
    every = used + len(unused)
    if used and len(unused) <= choice.max_skipped_share * every:
        return
    by_rule = dict(Counter(note.rule.value for note in unused).most_common())
    raise UsageError(
        f"{len(unused)} of {every} recordings cannot be used",
        why=f"{by_rule}; the first: {unused[0].path}: {unused[0].detail}",
        remedy="mend the data, or allow it by corpus.max_skipped_share",
    )


def _warnings(
    recordings: list[dict[str, Any]], skipped: list[Note], left_out: tuple[Note, ...], notes: list[Note]
) -> list[str]:
    """Say what a reader of the numbers must know; recordings that are there twice are added to `notes`."""
    warnings = []
    if skipped or left_out:
        by_rule = Counter(note.rule.value for note in (*skipped, *left_out))
        names = ", ".join(f"{count} {rule}" for rule, count in sorted(by_rule.items()))
        warnings.append(f"{len(skipped) + len(left_out)} files are not used: {names}")
    homes: dict[str, list[str]] = {}
    for one in recordings:
        homes.setdefault(one["source_sha256"], []).append(one["path"])
    twice = [sorted(paths) for paths in homes.values() if len(paths) > 1]
    notes += [Note(path=paths[0], rule=Rule.RECORDING_TWICE, detail=f"also {', '.join(paths[1:])}") for paths in twice]
    if leaked := sum(len({path.split("/")[0] for path in paths}) > 1 for paths in twice):
        warnings.append(f"{leaked} recordings are in more than one split; what they measure looks too good")
    return warnings
