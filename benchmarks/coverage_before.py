"""What the rules until a81425d made of the rows of `benchmarks/coverage.py`, where they had such rows.

The same pairs went through that commit's own `figures`, stopping rule and `judged`: no batches were discarded,
blocks were the baseline, the candidate and the baseline again, and nothing was known of starts and stretches. 300 to
1,000 runs of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Before:
    """Per cent of the runs: missed by any look, by the last one before the stop, PASS, PASS or FAIL. Mean batches."""

    any: float
    stop: float
    passed: float
    decided: float
    batches: float


BEFORE: Mapping[str, Mapping[str, Before]] = {
    "quality": {
        "1 image in 10 loses half, 64 images": Before(22.4, 22.4, 21.9, 22.4, 13.6),
        "1 image in 6 loses 30%, 64 images": Before(11.9, 11.9, 11.4, 11.9, 15.0),
        "1 image in 20 loses all, 64 images": Before(47.7, 47.7, 47.7, 47.7, 10.4),
        "1 image in 10 loses half, 128 images": Before(24.5, 23.1, 22.8, 23.1, 26.4),
        "1 image in 6 loses 30%, 128 images": Before(12.2, 11.7, 11.3, 11.7, 29.8),
        "1 image in 20 loses all, 128 images": Before(46.9, 45.5, 45.3, 45.5, 19.9),
        "exponential, 64 images": Before(9.1, 9.1, 8.5, 9.1, 15.4),
        "normal, sd 5%, 64 images": Before(5.5, 5.5, 3.0, 5.5, 15.8),
        "normal, sd 5%, ICC 0.3, 64 images": Before(15.2, 15.2, 6.5, 15.2, 15.2),
        "exponential, 128 images": Before(3.5, 3.5, 3.0, 3.5, 31.6),
        "normal, sd 5%, 128 images": Before(3.8, 3.8, 1.8, 3.8, 31.7),
        "normal, sd 5%, ICC 0.3, 128 images": Before(19.8, 19.8, 9.0, 19.8, 29.5),
        "log-normal, skewness 6, 64 images": Before(20.2, 20.2, 20.2, 20.2, 14.5),
        "log-normal, skewness 6, 128 images": Before(15.2, 14.8, 14.5, 14.8, 29.7),
        "1 image in 10 loses half, 10 images": Before(66.5, 66.5, 66.5, 66.5, 6.0),
        "1 image in 6 loses 30%, 10 images": Before(53.0, 53.0, 52.7, 53.0, 6.8),
        "1 image in 20 loses all, 10 images": Before(79.7, 79.7, 79.7, 79.7, 5.2),
        "4 images, 1 in 20 loses all, 4 images": Before(80.3, 80.3, 80.3, 80.3, 4.0),
        "baseline's mean 2 standard errors above 0, 64 images": Before(8.3, 8.3, 8.3, 8.3, 13.1),
        "true loss 1%: exponential, 64 images": Before(7.7, 0.7, 100.0, 100.0, 4.0),
        "true loss 1%: normal, sd 5%, 64 images": Before(3.7, 0.0, 100.0, 100.0, 6.1),
        "true loss 1%: normal, sd 5%, ICC 0.3, 64 images": Before(17.3, 2.7, 100.0, 100.0, 6.0),
    },
    "restarts": {
        "0.4% at 1%, not known, 1 x 10": Before(14.7, 3.7, 0.7, 3.7, 7.4),
        "0.4% at 1%, not known, 1 x 16": Before(21.0, 1.3, 0.3, 1.3, 9.0),
        "0.4% at 1%, not known, 1 x 32": Before(41.7, 1.3, 0.3, 2.3, 11.5),
        "5.0% at 5%, not known, 1 x 10": Before(45.7, 45.0, 23.0, 46.3, 8.8),
        "5.0% at 5%, not known, 1 x 16": Before(56.7, 54.3, 25.3, 57.0, 12.8),
        "5.0% at 5%, not known, 1 x 32": Before(65.0, 58.3, 31.7, 64.7, 21.7),
    },
    "warm-up": {
        "baseline 3% slow for 5 batches, 0.5%, 10 batches": Before(95.0, 93.3, 93.3, 93.3, 4.9),
        "baseline 3% slow for 5 batches, 1.0%, 10 batches": Before(55.7, 48.3, 44.0, 44.0, 7.8),
        "baseline 3% slow for 5 batches, 2.0%, 10 batches": Before(21.0, 19.3, 17.7, 17.7, 9.3),
        "baseline 3% slow for 5 batches, 0.5%, 16 batches": Before(70.0, 57.0, 57.0, 57.0, 7.4),
        "baseline 3% slow for 5 batches, 1.0%, 16 batches": Before(39.3, 21.3, 18.3, 18.3, 11.0),
        "baseline 3% slow for 5 batches, 2.0%, 16 batches": Before(13.7, 11.3, 10.7, 10.7, 14.8),
        "baseline 3% slow for 5 batches, 0.5%, 32 batches": Before(32.0, 11.7, 11.7, 11.7, 12.5),
        "baseline 3% slow for 5 batches, 1.0%, 32 batches": Before(17.7, 3.7, 3.0, 3.0, 15.3),
        "baseline 3% slow for 5 batches, 2.0%, 32 batches": Before(7.7, 2.7, 2.3, 2.3, 22.8),
        "candidate 3% slow for 5 batches, 1.0%, 10 batches": Before(53.0, 44.3, 0.0, 55.0, 7.6),
        "candidate 3% slow for 5 batches, 1.0%, 16 batches": Before(37.7, 22.3, 0.0, 28.3, 10.7),
        "fading over 3 batches, 0.5%, 10 batches, 3 discarded": Before(58.0, 17.7, 14.0, 14.0, 6.8),
    },
    "latency": {
        "slow phases of 4 turns, stretches of 1": Before(23.5, 23.2, 12.2, 23.2, 13.9),
        "slow phases of 12 turns, stretches of 1": Before(70.5, 70.0, 33.8, 70.5, 9.6),
        "slow phases of 40 turns, stretches of 1": Before(93.8, 92.8, 47.8, 94.0, 6.9),
        "quiet, stretches of 1": Before(4.0, 3.8, 2.2, 4.0, 15.9),
        "slow phases of 4 turns, every 2 turns before": Before(27.0, 26.8, 14.0, 27.3, 13.9),
        "slow phases of 12 turns, every 2 turns before": Before(67.2, 66.2, 34.2, 67.2, 9.8),
        "slow phases of 40 turns, every 2 turns before": Before(91.8, 90.8, 43.5, 91.2, 7.1),
        "quiet, every 2 turns before": Before(4.0, 3.0, 2.0, 4.0, 15.9),
    },
    "blocks": {
        "slow phases of 4 turns, 24 batches": Before(7.2, 7.2, 3.8, 7.2, 24.0),
        "slow phases of 12 turns, 24 batches": Before(19.5, 19.5, 8.8, 19.2, 24.0),
        "AR(1), rho 0.9, 24 batches": Before(28.7, 28.7, 13.0, 28.2, 24.0),
        "AR(1), rho 0.95, 24 batches": Before(30.2, 30.2, 12.8, 30.8, 24.0),
        "independent, 24 batches": Before(1.2, 1.2, 0.0, 1.0, 24.0),
        "drift, 24 batches": Before(0.0, 0.0, 0.0, 0.0, 24.0),
        "slow phases of 4 turns, 16 batches": Before(5.8, 5.8, 3.5, 5.8, 16.0),
        "slow phases of 12 turns, 16 batches": Before(16.8, 16.8, 8.0, 17.0, 16.0),
        "AR(1), rho 0.9, 16 batches": Before(23.0, 23.0, 10.8, 22.5, 16.0),
        "AR(1), rho 0.95, 16 batches": Before(23.8, 23.8, 13.8, 24.0, 16.0),
        "independent, 16 batches": Before(0.2, 0.2, 0.0, 0.5, 16.0),
        "drift, 16 batches": Before(0.0, 0.0, 0.0, 0.0, 16.0),
    },
    "efficiency": {
        "2% above its requirement, 1%, 16 batches": Before(2.7, 0.0, 65.0, 65.0, 8.4),
        "2% below its requirement, 1%, 16 batches": Before(3.7, 0.0, 0.0, 64.0, 8.6),
        "5% above its requirement, 1%, 16 batches": Before(3.7, 0.3, 100.0, 100.0, 5.7),
        "5% below its requirement, 1%, 16 batches": Before(2.3, 0.0, 0.0, 100.0, 5.7),
        "2% above its requirement, 5%, 16 batches": Before(4.3, 2.7, 11.0, 11.0, 15.6),
        "2% below its requirement, 5%, 16 batches": Before(2.7, 0.7, 0.0, 12.0, 15.6),
        "5% above its requirement, 5%, 16 batches": Before(3.0, 0.3, 59.7, 59.7, 14.0),
        "5% below its requirement, 5%, 16 batches": Before(3.7, 1.0, 0.0, 60.3, 13.8),
    },
}
