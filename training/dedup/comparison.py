"""The run itself, one step at a time (training.harness.learner.Learner): embed a batch, then search a block of pairs.

The state is where it stands, what was left out and the pairs so far; embeddings come back from their cache, and what
the cache has lost is computed again. Reads pictures, writes the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from training.dedup.contact_sheet import contact_sheet
from training.dedup.decoders import Decoders
from training.dedup.embeddings import EmbeddingCache
from training.dedup.encoders import load_encoder
from training.dedup.keeping import Files, outcome, split_of
from training.dedup.pairs import Pairs, PairSearch, joined
from training.dedup.reports import Report, duplicates_json, summary
from training.dedup.skips import Skip, UnusableError
from training.harness.learner import Ending, Milestone
from trimtab.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from training.dedup.config import Config
    from training.dedup.decoding import Decoded
    from training.dedup.survey import Survey

_TOLD: Final = 20  # how often each of the two parts says how far it is


class Comparison:
    """A data set being compared with itself."""

    def __init__(self, config: Config, data: Survey) -> None:
        """Start from step 0, or from a state with `load`. Raises BudgetError when the vectors cannot fit in memory."""
        torch.set_num_threads(config.threads)
        self._config, self._data = config, data
        how, recipe = config.embedding, data.recipe
        self._contents = len(data.sha256s)
        if (needed := self._contents * recipe.dimensions * 4) > config.matching.max_vectors_gib * 1024**3:
            raise BudgetError(
                f"the vectors of {self._contents} pictures do not fit",
                why=f"they take {needed / 1024**3:.1f} GiB, and matching.max_vectors_gib is"
                f" {config.matching.max_vectors_gib:g}",
                remedy="raise it on a machine with that much memory, or use an encoder with fewer dimensions",
            )
        self._decoders = Decoders(config.pictures.workers, data.limits)
        self._encode = load_encoder(recipe, batch_size=how.batch_size, threads=config.threads)
        self._cache = EmbeddingCache(data.cache, recipe.key, recipe.dimensions, round(how.cache_max_gib * 1024**3))
        self._vectors = np.zeros((self._contents, recipe.dimensions), np.float32)
        self._sizes = np.zeros((self._contents, 2), np.int64)
        self._unusable: dict[int, UnusableError] = {}
        self._ahead: dict[int, list[tuple[int, Future[Decoded]]]] = {}
        self._from_cache = 0
        self._batches = -(-self._contents // how.batch_size)
        self._search: PairSearch | None = None
        self._compared = np.zeros(0, np.int64)  # the contents that have a vector, once all were looked at
        self._pairs: list[Pairs] = []
        self.step = 0
        self.epochs: list[dict[str, float]] = []

    @property
    def done(self) -> bool:
        """Say whether every picture is embedded and every pair searched."""
        return self._search is not None and self.step == self._batches + self._search.steps

    @property
    def scope(self) -> str:
        """Return how much there is to compare."""
        found = f"{len(self._data.paths):,} pictures, {self._contents:,} different"
        return f"{found}, with the encoder {self._data.recipe.name} ({len(self._cache):,} embeddings are there)"

    def advance(self) -> Milestone | None:
        """Embed the next batch, or search the next block of pairs."""
        if self.step < self._batches:
            self._embed(self.step, ahead=True)
            self.step += 1
            if self.step == self._batches:
                self._begin_search()
            return self._embedded()
        if self._search is None:
            raise AssertionError("the search begins with the last batch")
        self._pairs.append(self._search.search(self.step - self._batches))
        self.step += 1
        if (count := self._pair_count()) > self._config.matching.max_pairs:
            raise BudgetError(
                f"there are more than {self._config.matching.max_pairs} pairs",
                why=f"{count} were found in {self.step - self._batches} of {self._search.steps} blocks, with a cosine"
                f" of at least {self._config.matching.floor:g}",
                remedy="raise matching.threshold and the least of matching.sweep; the embeddings are kept",
            )
        return self._searched()

    def finish(self) -> Ending:
        """Group the copies, say which to keep, and lay out the page and the list."""
        report = self._report()
        files = {
            "duplicates.json": duplicates_json(report),
            "contact_sheet.html": contact_sheet(report, self._decoders),
        }
        self._decoders.close()
        final = summary(report)
        line = (
            f"{final['clusters']} clusters ({final['leaking_clusters']} across splits),"
            f" {final['remove']} of {final['pictures']} pictures to remove; nothing was moved"
        )
        return Ending(line=line, final=final, files=files)

    def state(self) -> dict[str, Any]:
        """Return where it stands, what was left out and why, and the pairs so far."""
        self._pairs = [joined(self._pairs)]
        (pairs,) = self._pairs
        return {
            "torch": str(torch.__version__),
            "step": self.step,
            "epochs": self.epochs,
            "unusable": [[content, error.reason, error.detail] for content, error in sorted(self._unusable.items())],
            "first": pairs.first,
            "second": pairs.second,
            "cosine": pairs.cosine,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state over, and the embeddings that it stands on; those that the cache has lost are made again."""
        self.epochs = state["epochs"]
        self._unusable = {int(content): UnusableError(reason, said) for content, reason, said in state["unusable"]}
        self._pairs = [Pairs(first=state["first"], second=state["second"], cosine=state["cosine"])]
        for batch in range(min(int(state["step"]), self._batches)):
            self._embed(batch, ahead=False)
        self.step = int(state["step"])
        if self.step >= self._batches:
            self._begin_search()

    def _embed(self, batch: int, *, ahead: bool) -> None:
        """Fill a batch's vectors from the cache or the pictures; while they are encoded, the next ones are decoded."""
        waiting = self._ahead.pop(batch, None) or self._begin_decoding(batch)
        if ahead and batch + 1 < self._batches:
            self._ahead[batch + 1] = self._begin_decoding(batch + 1)
        fresh: list[int] = []
        pixels = []
        for content, future in waiting:
            try:
                decoded = future.result()
            except UnusableError as error:
                self._unusable[content] = error
                continue
            fresh.append(content)
            pixels.append(decoded.pixels)
            self._sizes[content] = decoded.width, decoded.height
        if not fresh:
            return
        vectors = self._encode(np.stack(pixels))
        sound = np.isfinite(vectors).all(axis=1)
        for content in np.array(fresh)[~sound].tolist():
            self._unusable[content] = UnusableError("no numbers from the encoder", "its vector has no direction")
        kept = np.array(fresh)[sound]
        self._vectors[kept] = vectors[sound]
        if len(kept):
            names = [self._data.sha256s[content] for content in kept]
            self._cache.put(names, vectors[sound], [(int(width), int(height)) for width, height in self._sizes[kept]])

    def _begin_decoding(self, batch: int) -> list[tuple[int, Future[Decoded]]]:
        """Take from the cache what is there, and set the decoders to work on the rest of a batch."""
        size, data = self._config.embedding.batch_size, self._data
        waiting = []
        for content in range(batch * size, min(self._contents, (batch + 1) * size)):
            if content in self._unusable:
                continue
            if (found := self._cache.find(data.sha256s[content])) is not None:
                self._vectors[content], *self._sizes[content] = found
                self._from_cache += 1
            else:
                path = data.directory / data.paths[data.first_of[content]]
                decoded = self._decoders.decode(path, data.sha256s[content], data.recipe.side, whole=data.recipe.whole)
                waiting.append((content, decoded))
        return waiting

    def _begin_search(self) -> None:
        usable = np.ones(self._contents, bool)
        usable[list(self._unusable)] = False
        self._compared = np.flatnonzero(usable)
        if not len(self._compared):
            raise UsageError(
                f"the data at {self._data.directory} cannot be used",
                why=f"none of its {len(self._data.paths)} files is a sound picture",
                remedy="give a directory with pictures anywhere below it; the formats are in docs/dedup.md",
            )
        vectors = self._vectors if usable.all() else self._vectors[usable]
        self._search = PairSearch(torch.from_numpy(vectors), self._config.matching.floor)

    def _pair_count(self) -> int:
        return sum(map(len, self._pairs))

    def _embedded(self) -> Milestone | None:
        if not _is_told(self.step, self._batches):
            return None
        count = min(self._contents, self.step * self._config.embedding.batch_size)
        line = f"embedded {count:,} of {self._contents:,} ({self._from_cache:,} were there)"
        if self._unusable:
            line += f", {len(self._unusable):,} cannot be used"
        return self._milestone(line, 0.5 * self.step / self._batches)

    def _searched(self) -> Milestone | None:
        steps = self._search.steps if self._search else 0
        at = self.step - self._batches
        if not _is_told(at, steps):
            return None
        return self._milestone(
            f"searched {at:,} of {steps:,} blocks: {self._pair_count():,} pairs", 0.5 + 0.5 * at / steps
        )

    def _milestone(self, line: str, done: float) -> Milestone:
        counts = {"done": done, "unusable": len(self._unusable), "pairs": self._pair_count()}
        self.epochs.append({"epoch": len(self.epochs) + 1, "step": self.step, **counts})
        return Milestone(line=line, metrics={"done": done})

    def _report(self) -> Report:
        data, how = self._data, self._config.matching
        place = np.full(self._contents, -1, np.int64)
        place[self._compared] = np.arange(len(self._compared))
        contents = place[np.array(data.content_of)]
        chosen = np.flatnonzero(contents >= 0)
        splits = self._config.pictures.splits
        paths = tuple(data.paths[index] for index in chosen)
        files = Files(
            paths=paths,
            sizes_bytes=tuple(data.sizes_bytes[index] for index in chosen),
            sizes=tuple((int(width), int(height)) for width, height in self._sizes[np.array(data.content_of)[chosen]]),
            contents=contents[chosen],
            splits=np.array([split_of(path, splits) for path in paths], np.int64),
        )
        unusable = [
            (data.paths[index], self._unusable[data.content_of[index]]) for index in np.flatnonzero(contents < 0)
        ]
        skips = [Skip(path=path, reason=error.reason, detail=error.detail) for path, error in unusable]
        pairs = joined(self._pairs)
        asked = {how.threshold, *how.sweep}
        found = {
            threshold: outcome(files, pairs.at_least(threshold), threshold, how.link, splits) for threshold in asked
        }
        return Report(
            config=self._config,
            survey=data,
            files=files,
            vectors=self._vectors[self._compared],
            outcome=found[how.threshold],
            sweep=tuple(found[threshold] for threshold in sorted(found)),
            skips=tuple(sorted((*data.skips, *skips), key=lambda skip: skip.path)),
        )


def _is_told(at: int, of: int) -> bool:
    """Say whether a step is one of the twenty, or the last."""
    return at == of or at * _TOLD // of != (at - 1) * _TOLD // of
