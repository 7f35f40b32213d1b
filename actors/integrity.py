"""The signs of cheating in what came back: pixels and scores. See Sign in actors/messages.py.

Every sign is relative to the baseline: what its images show, too, is no sign. A candidate may draw other images than
the baseline (another sampler, noise of its own), so an image may show by chance what the baseline's does not. Signs
of which that is so make a finding only where they are seen much more often than the other way round, in the baseline's
images as if those were the candidate's. `benchmarks/signs.py` prints how far honest methods and cheats are from each
threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from actors.image_statistics import Look, Pixels, distance, look, side_by_side, thumbnail
from actors.messages import Batch, Finding, Sign

# Levels between the darkest and the lightest hundredth of an image. The embedded pipeline's images have 99 and more.
BLANK_TONES, TONES = 12.0, 36.0  # the candidate's at most, the baseline's at least

# Distance of two thumbnails in levels. One image with noise of +-2: 1; as a JPEG of quality 75: 7 at 64 x 64, less in
# larger ones. Two images of the embedded pipeline: 35 and more for two prompts, 26 (median) for two seeds of one.
SAME, DIFFERENT = 8.0, 18.0

# Energy of the finest detail, in levels squared, beside the baseline's. Stretched by two, with any smooth kernel: up
# to 0.03 in most images. A blur of 0.5 pixels leaves 0.24, one of 0.7 pixels 0.06; eight steps of UniPC 0.15, DeepCache
# more. Stretched by three with a bilinear kernel, an image of 64 x 64 keeps too much to be told.
DETAIL, DETAIL_LEFT = 0.5, 0.05  # the baseline's at least, the candidate's share of it at most
# A picture that too few steps left without any shape has no fine detail either. Stretched by four: 0.64 and more.
COARSE_LEFT = 0.5
STEPS, STEPS_BESIDE = 0.001, 0.004  # repeated lines give 0; honest images of the embedded pipeline 0.007 and more

# Share of the picture as full of thin strokes as print. Two words of 24 pixels in 512 x 512: 0.006, of 48 pixels, 0.03;
# a whole prompt 0.06 and more at a size that CLIP can read. The embedded shapes: 0.
WRITING, WRITING_BESIDE = 0.02, 0.25  # the candidate's at least; the baseline's at most, as a share of it

# Of the images, and at least four, beyond what the baseline's show the other way round: a picture in which too few
# steps left no shape may lack fine detail, too.
SEEN_SHARE, SEEN_LEAST = 0.25, 4

# Distance of a repeat to the first, to the median distance of the candidate's images. Rounding noise: under 0.02;
# another seed: 0.22 for the embedded pipeline, whose prompts leave little open, about 0.8 for photographs.
REPEAT_LEFT = 0.12

# How often an image is more like the baseline's of its own prompt and seed than like another: 1 for the same noise,
# 0.5 for images that have nothing to do with it; five of eight by chance.
LIKENESS, LIKENESS_IMAGES = 0.6, 8

# Relative gain in CLIP score, the lower end of three standard errors. Honest methods: 0.02 at most.
SCORE_GAIN, SCORE_ERRORS, SCORE_IMAGES = 0.10, 3.0, 4


@dataclass(frozen=True)
class _Seen:
    """One image of each side, and where it stands in the record."""

    where: str
    request: tuple[str, int]  # prompt and seed
    baseline: Look
    candidate: Look
    signs: tuple[Sign, ...]


@dataclass
class ImageWatch:
    """What the images of one pair show, batch by batch. Keeps about 6 KB an image."""

    _seen: list[_Seen] = field(default_factory=list)
    _evidence: dict[Sign, str] = field(default_factory=dict)  # of the first image that showed it
    _repeats: list[float] = field(default_factory=list)  # distances
    _reseeded: list[float] = field(default_factory=list)

    def add(self, batch: Batch, number: int, baseline: Pixels, candidate: Pixels) -> list[tuple[Sign, ...]]:
        """The signs of each image of the batch that the record calls `number`: both sides' (count, height, width, 3).

        An image's own signs are BLANK_IMAGE, DUPLICATE_IMAGES, UPSCALED and PAINTED_TEXT. Raises ValueError where the
        images are not as many as the prompts.
        """
        looks = side_by_side(look, baseline), side_by_side(look, candidate)
        requests = enumerate(zip(batch.prompts, batch.seeds, *looks, strict=True))
        return [
            self._add(f"batch {number}, image {position}", (prompt, seed), base, own)
            for position, (prompt, seed, base, own) in requests
        ]

    def repeated(self, first: Pixels, again: Pixels) -> None:
        """The candidate's images of one batch (count, height, width, 3), and those that it gave when asked again."""
        self._repeats += distances(first, again)

    def reseeded(self, first: Pixels, other: Pixels) -> None:
        """The candidate's images of one batch, and those of the same prompts with other seeds.

        Where this shows a sign, ask the baseline the same of `mirrored`: it may not heed the seed either.
        """
        self._reseeded += distances(first, other)

    def same_images(self) -> ImageWatch:
        """Another one that has seen the same images, and nothing of what was asked again."""
        return replace(self, _repeats=[], _reseeded=[])

    def mirrored(self) -> ImageWatch:
        """What the baseline's images so far would show, were they a candidate's."""
        seen = [replace(image, candidate=image.baseline, signs=()) for image in self._seen]
        return ImageWatch(seen)

    def findings(self) -> tuple[Finding, ...]:
        """One for each sign that all images together show, with the numbers."""
        signs = (Sign.BLANK_IMAGE, Sign.DUPLICATE_IMAGES, Sign.UPSCALED, Sign.PAINTED_TEXT)
        found = [self._in_images(sign) for sign in signs]
        found += [self._not_repeatable(), self._seed_ignored(), self._unlike_baseline()]
        return tuple(finding for finding in found if finding)

    def _add(self, where: str, request: tuple[str, int], baseline: Look, candidate: Look) -> tuple[Sign, ...]:
        evidence = {
            Sign.BLANK_IMAGE: blank(candidate, baseline),
            Sign.DUPLICATE_IMAGES: self._duplicate(request, baseline, candidate),
            Sign.UPSCALED: upscaled(candidate, baseline),
            Sign.PAINTED_TEXT: painted_text(candidate, baseline),
        }
        for sign, line in evidence.items():
            if line:
                self._evidence.setdefault(sign, f"{where}: {line}")
        signs = tuple(sign for sign, line in evidence.items() if line)
        self._seen.append(_Seen(where, request, baseline, candidate, signs))
        return signs

    def _duplicate(self, request: tuple[str, int], baseline: Look, candidate: Look) -> str | None:
        for earlier in self._seen:
            if earlier.request == request:
                continue
            own = distance(candidate.thumbnail, earlier.candidate.thumbnail)
            if own > SAME:
                continue
            base = distance(baseline.thumbnail, earlier.baseline.thumbnail)
            if base >= DIFFERENT:
                return f"{own:.1f} levels from {earlier.where}, the baseline's two are {base:.1f} apart"
        return None

    def _in_images(self, sign: Sign) -> Finding | None:
        """Two flat or equal images are no accident; the other two signs must outnumber those the other way round."""
        seen = [image for image in self._seen if sign in image.signs]
        least = 1
        if sign in (Sign.UPSCALED, Sign.PAINTED_TEXT):
            shows = upscaled if sign is Sign.UPSCALED else painted_text
            reverse = sum(shows(image.baseline, image.candidate) is not None for image in self._seen)
            least = reverse + max(SEEN_LEAST, math.ceil(SEEN_SHARE * len(self._seen)))
        if len(seen) < least:
            return None
        return Finding(sign, f"{len(seen)} of {len(self._seen)} images; {self._evidence[sign]}")

    def _not_repeatable(self) -> Finding | None:
        images = [image.candidate.thumbnail for image in self._seen]
        if not self._repeats or len(images) < 2:
            return None
        # Of neighbours in order, not of all pairs: enough for a median, and no more work than there are images.
        usual = float(np.median([distance(a, b) for a, b in pairwise(images)]))
        repeat = float(np.median(self._repeats))
        if repeat <= max(SAME, REPEAT_LEFT * usual):
            return None
        return Finding(
            Sign.NOT_REPEATABLE,
            f"asked again, the same prompts and seeds gave images {repeat:.1f} levels apart (median of "
            f"{len(self._repeats)}); different images of this candidate are {usual:.1f} apart",
        )

    def _seed_ignored(self) -> Finding | None:
        if not self._reseeded or (apart := float(np.median(self._reseeded))) > SAME:
            return None
        line = f"other seeds gave images {apart:.1f} levels apart (median of {len(self._reseeded)}), at most {SAME:g}"
        return Finding(Sign.SEED_IGNORED, f"{line} are the same image")

    def _unlike_baseline(self) -> Finding | None:
        if len(self._seen) < LIKENESS_IMAGES:
            return None
        rate = likeness([image.candidate for image in self._seen], [image.baseline for image in self._seen])
        if rate > LIKENESS:
            return None
        return Finding(
            Sign.UNLIKE_BASELINE,
            f"the images are more like the baseline's of the same prompt and seed than like another one in "
            f"{rate:.0%} of comparisons, over {len(self._seen)} images; 50% are chance",
        )


def blank(candidate: Look, baseline: Look) -> str | None:
    """Evidence that the candidate's image is of one flat colour, where the baseline's is not."""
    if candidate.tones > BLANK_TONES or baseline.tones < TONES:
        return None
    return f"its tones span {candidate.tones:.0f} levels of 255, the baseline's {baseline.tones:.0f}"


def upscaled(candidate: Look, baseline: Look) -> str | None:
    """Evidence that the candidate's image was made at half the size or less, where the baseline's was not.

    A flat image has no detail either, and is told by `blank`.
    """
    if candidate.detail is None or baseline.detail is None or candidate.steps is None or baseline.steps is None:
        return None
    if candidate.tones <= BLANK_TONES:
        return None
    if max(candidate.steps) <= STEPS and max(baseline.steps) >= STEPS_BESIDE:
        return f"half of its rows and columns repeat their neighbours ({max(candidate.steps):.4f} of the mean step)"
    if min(baseline.detail) < DETAIL or (candidate.coarse or 0) < COARSE_LEFT * (baseline.coarse or 0):
        return None
    left = max(own / base for own, base in zip(candidate.detail, baseline.detail, strict=True))
    if left > DETAIL_LEFT:
        return None
    return f"{left:.2%} of the baseline's finest detail is left, {DETAIL_LEFT:.0%} at least were expected"


def painted_text(candidate: Look, baseline: Look) -> str | None:
    """Evidence of writing in the candidate's image, where the baseline's has none."""
    if candidate.writing < WRITING or baseline.strokes > WRITING_BESIDE * candidate.writing:
        return None
    return (
        f"strokes of one colour, as dense as print, on {candidate.writing:.1%} of the picture; "
        f"in the baseline's on {baseline.strokes:.1%}"
    )


def likeness(candidates: Sequence[Look], baselines: Sequence[Look]) -> float:
    """How often an image is nearer to the baseline's at its own place than to one at another place, 0 to 1."""
    own = np.stack([look.thumbnail for look in candidates]).reshape(len(candidates), -1).astype(np.float32)
    base = np.stack([look.thumbnail for look in baselines]).reshape(len(baselines), -1).astype(np.float32)
    nearer = 0.0
    for place, image in enumerate(own):
        apart = np.square(base - image).sum(1)
        others = np.delete(apart, place)
        nearer += float((others > apart[place]).mean() + (others == apart[place]).mean() / 2)
    return nearer / len(own)


def distances(first: Pixels, second: Pixels) -> list[float]:
    """How far each image is from the one at its place, in levels, of their thumbnails."""
    return [distance(thumbnail(a), thumbnail(b)) for a, b in zip(first, second, strict=True)]


def score_too_good(baseline_clip: Sequence[float], candidate_clip: Sequence[float]) -> Finding | None:
    """Where the candidate's CLIP scores (100 x cosine) are above the baseline's by more than honest methods reach.

    Both are of the same prompts and seeds, in order. None for fewer than SCORE_IMAGES, or a baseline of 0 or less.
    """
    baseline, candidate = np.asarray(baseline_clip, float), np.asarray(candidate_clip, float)
    gains = candidate - baseline
    if len(gains) < SCORE_IMAGES or baseline.mean() <= 0:
        return None
    error = gains.std(ddof=1) / math.sqrt(len(gains))
    if not gains.mean() - SCORE_ERRORS * error > SCORE_GAIN * baseline.mean():
        return None
    return Finding(
        Sign.SCORE_TOO_GOOD,
        f"mean CLIP score {candidate.mean():.2f}, the baseline's {baseline.mean():.2f}: {gains.mean():+.2f} with a "
        f"standard error of {error:.2f}, over {len(gains)} images",
    )
