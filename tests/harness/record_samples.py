"""Pairs for the tests of records, verdicts and reports: one that was measured well, to be changed field by field."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from actors.messages import BatchRow, ImageRow, Layout, Side, Status, Stopped
from harness.judge import Criteria, judged
from harness.records import Figures, PairFacts, PairRecord, Protocol, RareLosses

STRICT = Criteria(Protocol.STRICT, max_quality_loss=0.05)
FIXED = Criteria(Protocol.FIXED, max_quality_loss=0.05)

MEASURED: dict[str, Any] = {
    "prompt_id": "7",
    "context": "At least 1.5x faster.",
    "level": 2,
    "difficulty": "medium",
    "status": Status.MEASURED,
    "detail": "",
    "findings": {},
    "confidence": 0.95,
    "speedup": 1.62,
    "speedup_low": 1.58,
    "speedup_high": 1.66,
    "speedup_mean_over_mean": 1.61,
    "quality_loss": 0.004,
    "quality_loss_low": -0.002,
    "quality_loss_high": 0.010,
    "largest_loss": 0.875,
    "baseline_clip": 31.25,
    "candidate_clip": 31.125,
    "ssim": 0.875,
    "psnr": 24.5,
    "baseline_seconds_per_image": 1.1,
    "candidate_seconds_per_image": 0.68,
    "candidate_seconds_per_image_low": 0.66,
    "candidate_seconds_per_image_high": 0.70,
    "rare_losses": RareLosses.BOUND,
    "starts": 1,
    "start_order_effect": 0.0013,
    "covers_restarts": False,
    "batches_measured": 4,
    "batches_planned": 8,
    "batches_repeated": 0,
    "batches_marked": 0,
    "images_measured": 16,
    "layout": Layout.INTERLEAVED,
    "stopped": Stopped.VERDICT,
    "req_speedup": 1.5,
    "requirement_source": "text",
    "baseline_file": "/tasks/baseline.py",
    "baseline_sha256": "ab" * 32,
    "baseline_num_inference_steps": 50,
    "baseline_methods": (),
    "baseline_warmup_s": (5.5, 4.25),
    "candidate_file": "/tasks/candidate.py",
    "candidate_methods": ("deepcache", "tome"),
    "host": "node-1",
    "versions": {"python": "3.11.9", "torch": "2.6.0"},
    "attempt": 1,
    "started_at": datetime(2025, 3, 1, 12, 0, 0, 123456, UTC),
    "finished_at": datetime(2025, 3, 1, 12, 0, 41, tzinfo=UTC),
    "wall_s": 40.876544,
    "idle_s": 0.25,
    "timed_s": 26.5,
    "log": "",
}
FIGURES = [field.name for field in dataclasses.fields(Figures)]


def facts(**changes: Any) -> PairFacts:
    """A measured pair that passes, with other values for some fields; what it does not name is None."""
    fields = {field.name: None for field in dataclasses.fields(PairFacts)}
    return PairFacts(**{**fields, **MEASURED, **changes})


def unmeasured(status: Status, detail: str = "", **changes: Any) -> PairFacts:
    """A pair that ended in another status, without figures."""
    return facts(**dict.fromkeys(FIGURES), status=status, detail=detail, **changes)


def record(criteria: Criteria = STRICT, **changes: Any) -> PairRecord:
    """The record of `facts(**changes)`."""
    return judged(facts(**changes), criteria)


def batches(count: int = 2) -> list[BatchRow]:
    """Batches of 4 images, timed in turn: the baseline takes 4.4 s, the candidate 2.2 s."""
    rows = []
    for batch in range(count):
        for side in Side:
            seconds = 4.4 if side is Side.BASELINE else 2.2
            rows.append(
                BatchRow(
                    batch=batch,
                    turn=len(rows),
                    side=side,
                    images=4,
                    wall_s=seconds,
                    device_s=seconds - 0.01,
                    denoiser_calls=50,
                    peak_memory_bytes=None,
                    started_at=1.7e9 + len(rows),
                    block=0,
                    started_last=side is Side.CANDIDATE,
                )
            )
    return rows


def images(count: int = 8) -> list[ImageRow]:
    """Images in batches of 4."""
    return [
        ImageRow(
            batch=index // 4,
            position=index % 4,
            prompt=f"picture {index}",
            seed=2**62 + index,
            prompt_truncated=False,
            baseline_clip=30.0 + index,
            candidate_clip=29.5 + index,
            ssim=0.5 + index / 100,
            psnr=20.0 + index,
            mismatched_clip=3.0 + index / 10,
        )
        for index in range(count)
    ]
