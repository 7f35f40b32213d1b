import io
import re

import pytest
from rich.console import Console

from actors.messages import Progress, Status
from actors.model_config import ModelConfig
from harness.judge import judged
from harness.modelfile import compare_model_configs
from harness.records import RareLosses
from harness.report import text
from harness.report.display import LiveDisplay, LogDisplay, NullDisplay, Tally, make_display
from harness.report.summary import comparison_table, print_pairs, print_summary
from harness.run_statistics import summarise
from tests.harness.record_samples import FIXED, STRICT, record, unmeasured

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07[bold]x[/bold] :smile: \x9b2J\u202etxt.exe\nnext\r\tline\x00" + " word" * 200
)
RUN = [
    record(prompt_id="deepcache", difficulty="hard", level=5),
    record(prompt_id="slow", speedup=1.12, speedup_low=1.10, speedup_high=1.14),
    record(prompt_id="doubtful", req_speedup=None, req_latency_s=0.69, candidate_methods=()),
    judged(unmeasured(Status.CONFIG_MISMATCH, "num_inference_steps: 50 and 25", prompt_id="steps"), STRICT),
    judged(unmeasured(Status.LOAD_ERROR, HOSTILE, prompt_id="[red]rogue[/red]"), STRICT),
]
WIDTHS = [80, 120, 200]


def console(width=200, **options):
    return Console(file=io.StringIO(), width=width, **options)


def printed(at):
    return at.file.getvalue()


def report(width):
    at = console(width)
    print_pairs(at, RUN)
    print_summary(at, summarise(RUN))
    return printed(at)


def line_of(name, report):
    return next(line for line in report.splitlines() if line.startswith(name))


# The summary


@pytest.mark.parametrize("width", WIDTHS)
def test_every_pair_is_one_line_with_its_verdict_in_words(width):
    shown = report(width)
    assert max(map(len, shown.splitlines())) <= width
    assert re.match(r"deepcache +.*PASS .* 1\.62x ", line_of("deepcache", shown))
    assert re.match(r"slow +.*FAIL +speedup .* 1\.12x .*1\.50x", line_of("slow", shown))
    assert re.match(r"doubtful +.*INCONCLUSIVE +latency .*690 ms", line_of("doubtful", shown))
    assert re.match(r"steps +.*FAIL +config_mismatch ", line_of("steps", shown))
    assert re.match(r"\[red\]rogue\[/red\] +.*FAIL +load_error ", line_of("[red]", shown))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_says_why_pairs_did_not_pass(width):
    words = " ".join(report(width).split())
    assert "speedup 1.12x (1.10x to 1.14x) is below the required 1.50x" in words
    assert "num_inference_steps: 50 and 25" in words


def test_a_wider_console_shows_more():
    narrow, middle, wide = (report(width) for width in WIDTHS)
    assert "1.58x to 1.66x" not in narrow
    assert "1.58x to 1.66x" in line_of("deepcache", middle)
    assert "-0.2% to 1.0%" in line_of("deepcache", middle)
    assert re.match(r"deepcache +hard 5 +DeepCache, ToMe +PASS", line_of("deepcache", wide))
    assert re.search(r"5\.0% +100\.0%", line_of("deepcache", wide))


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_steers_nothing(width):
    shown = report(width)
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert "red [bold]x[/bold] :smile:" in " ".join(shown.split())


def test_colour_is_only_for_terminals():
    terminal = console(force_terminal=True)
    print_pairs(terminal, RUN)
    assert "\x1b[32mPASS" in printed(terminal)


def test_a_column_without_a_value_is_left_out():
    at = console()
    print_pairs(at, [judged(unmeasured(Status.MISSING_TASK, "alone", difficulty=None, level=None), STRICT)])
    heading = printed(at).splitlines()[0].split()
    assert "Speedup" not in heading
    assert "Task" not in heading
    assert "Verdict" in heading


def test_the_statistics_hold_totals_and_groups():
    shown = report(80)
    assert "5 tasks: 1 passed, 1 inconclusive, 3 failed\npass rate 20.0% to 40.0%, no interval (one baseline)" in shown
    assert "mean achievement rate of hard tasks: 100.0% (of 1)" in shown
    assert "verdicts on which the strict and the fixed protocol differ: 2" in shown
    assert re.search(r"^difficulty hard +1 +1 +0 +0 +100\.0% +100\.0%", shown, re.MULTILINE)
    assert re.search(r"^method DeepCache +4 +1 +3 +0 +25\.0%", shown, re.MULTILINE)
    assert re.search(r"^method none +1 +0 +0 +1 +0% to 100%", shown, re.MULTILINE)
    assert re.search(r"^status config_mismatch +1 ", shown, re.MULTILINE)
    assert re.search(r"^reason latency +1 ", shown, re.MULTILINE)


def several(criteria, count=8):
    """Pairs with a baseline each: the first two are in doubt, and all the others pass."""
    doubt = {"speedup_low": 1.4, "speedup_mean_over_mean": 1.61}
    return [
        record(criteria, prompt_id=str(n), baseline_sha256=str(n), **(doubt if n < 2 else {})) for n in range(count)
    ]


def lines_of_the_summary(records):
    at = console(80)
    print_summary(at, summarise(records))
    return printed(at).partition("actors' time")[0].splitlines()[1:-1]


def test_the_summary_says_how_sure_the_pass_rate_and_the_verdicts_are():
    rate = summarise(several(STRICT)).total.pass_rate
    assert lines_of_the_summary(several(STRICT)) == [
        "8 tasks: 6 passed, 2 inconclusive, 0 failed",
        f"pass rate 75.0% to 100.0%, 95% interval {text.span(rate.interval_low, rate.interval_high)} (by 8 baselines)",
        "verdicts on which the strict and the fixed protocol differ: 2",
        "at most 0.2 false passes are expected",
        "each interval of a pair holds with 95%, 2 of them together with at least 90%",
    ]


def test_the_summary_of_the_fixed_protocol_has_the_strict_pass_rate_beside_its_own():
    lines = lines_of_the_summary(several(FIXED))
    assert lines[:2] == ["8 tasks: 8 passed, 0 inconclusive, 0 failed", "pass rate 100.0% by point values"]
    assert lines[2].startswith("strict pass rate 75.0% to 100.0%, 95% interval ")
    assert not any("false passes" in line for line in lines)


def test_pairs_with_a_single_demand_have_no_joint_confidence():
    assert not any("together" in line for line in lines_of_the_summary([record(req_speedup=None)]))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_fixed_protocol_says_what_the_strict_verdict_would_be(width):
    at = console(width)
    print_pairs(at, several(FIXED, 3))
    shown = printed(at)
    assert re.match(r"0 .*PASS +INCONCLUSIVE, speedup ", line_of("0 ", shown))
    assert "INCONCLUSIVE" not in line_of("2 ", shown)
    print_pairs(at, several(STRICT, 3))
    assert "Strict" not in printed(at).removeprefix(shown)


def test_the_log_says_what_the_strict_verdict_would_be():
    at = console(80)
    with LogDisplay(at) as display:
        display.start(1, 0)
        display.finished(several(FIXED)[0])
    assert "[1/1] 0: PASS (strict: INCONCLUSIVE, speedup): " in printed(at)


def test_a_strict_verdict_is_named_only_where_the_fixed_one_differs():
    bad = {"quality_loss": 0.06, "quality_loss_low": 0.04, "quality_loss_high": 0.08}
    assert text.why_and_strict(record(FIXED, **bad)) == "quality (strict: INCONCLUSIVE, quality)"
    worse = record(FIXED, speedup_mean_over_mean=1.4)
    assert text.why_and_strict(worse) == "speedup (strict: PASS)"
    assert text.why_and_strict(record(FIXED)) == text.strict(record(speedup_mean_over_mean=1.4)) == ""


def test_the_summary_says_what_the_time_went_into_and_what_to_beware_of():
    records = [
        record(prompt_id="1", device="NVIDIA H100", launch_bound=True, batches_marked=2, idle_s=0.0, wall_s=60.0),
        record(prompt_id="2", device="NVIDIA A100", idle_s=0.0, wall_s=60.0),
    ]
    at = console()
    print_summary(at, summarise(records))
    shown = printed(at)
    assert "2 min 00 s of the actors' time, 60 s a verdict" in shown
    assert "the devices are not alike, and times on them not to be compared: NVIDIA H100 (1), NVIDIA A100 (1)" in shown
    assert "pairs whose baseline waits for the CPU that launches its kernels: 1" in shown
    assert "batches that the machine disturbed, and that are judged all the same: 2" in shown


@pytest.mark.parametrize("width", WIDTHS)
def test_warnings_are_said_of_pairs_that_pass_too_and_not_said_twice_of_rejected_ones(width):
    at = console(width)
    seen = {"unlike_baseline": "52% of comparisons"}
    rejected = judged(
        unmeasured(Status.REJECTED, "seed_ignored: the same images", findings={"seed_ignored": "."}), STRICT
    )
    print_pairs(at, [record(prompt_id="odd", findings=seen), rejected])
    shown = " ".join(printed(at).split())
    assert shown.count("unlike_baseline") == 1
    assert shown.count("seed_ignored") == 1
    assert "rejected" in shown


def said_of(*records):
    at = console(80)
    print_pairs(at, records)
    return " ".join(printed(at).split())


def test_verdicts_about_two_processes_are_footnoted():
    covered = record(covers_restarts=True)
    assert "The verdicts are about the two processes that ran" in said_of(record(), record())
    assert "1 of 2 verdicts are about the two processes that ran" in said_of(record(), covered)
    failed = judged(unmeasured(Status.TIMEOUT, covers_restarts=None), STRICT)
    assert "two processes" not in said_of(covered, failed)


def test_the_assumption_that_there_are_no_rare_losses_is_footnoted():
    assumed = record(rare_losses=RareLosses.ASSUME_NONE)
    assert "taken for absent (evaluation.rare_losses: assume_none)" in said_of(record(), assumed)
    assert "taken for absent" not in said_of(record())


def test_no_records_are_reported_too():
    at = console()
    print_pairs(at, [])
    print_summary(at, summarise([]))
    assert "0 tasks: 0 passed, 0 inconclusive, 0 failed" in printed(at)
    assert "rate" not in printed(at).partition("Tasks")[0]


def test_a_comparison_shows_both_sides_and_marks_what_differs():
    reference = ModelConfig("StableDiffusionPipeline", "tiny", "DDIMScheduler", 50)
    candidate = ModelConfig("StableDiffusionPipeline", None, "DDIMScheduler", 25, ("deepcache", "tgate"))
    at = console(100)
    at.print(comparison_table(compare_model_configs(reference, candidate)))
    shown = printed(at)
    assert re.search(r"^num_inference_steps +50 +25 +differs", shown, re.MULTILINE)
    assert re.search(r"^model_id +tiny +not known *$", shown, re.MULTILINE)
    assert re.search(r"^methods +none +DeepCache, T-GATE *$", shown, re.MULTILINE)


def test_a_comparison_cuts_no_value_off():
    name = "an-organisation/" + "a-long-model-name-" * 2
    at = console(60)
    at.print(comparison_table(compare_model_configs(*[ModelConfig(None, name, None, None)] * 2)))
    assert "…" not in printed(at)
    assert printed(at).count("name") == 4


# Words and numbers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("one\n  two\tthree", "one two three"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1bcreset", "reset"),
        ("a\x08b\u202ec\u200bd\x00", "a b c d"),
        ("图像 ok", "图像 ok"),
        ("x" * 30, "x" * 17 + "..."),
        ("\x1b", ""),
    ],
)
def test_plain_text(given, expected):
    assert text.plain(given, 20) == expected


def test_numbers_are_rounded_for_people():
    assert text.percent(-0.0001) == "0.0%"
    assert [text.span(None, 0.1), text.span(0.25, 0.25), text.span(0.25, 0.35)] == ["-", "25.0%", "25.0% to 35.0%"]
    assert [text.level(value) for value in (0.95, 0.999, 1 - 2 * (1 - 0.95))] == ["95%", "99.9%", "90%"]
    assert [text.at_most(value) for value in (12 * 0.025, 11 * 0.025, 0.025)] == ["0.3", "0.3", "0.1"]
    assert [text.seconds(value) for value in (None, 0.0123, 0.9996, 1.234, 85.0, 1234.5)] == [
        "-",
        "12.3 ms",
        "1 s",
        "1.23 s",
        "85 s",
        "1234 s",
    ]
    assert [text.duration(value) for value in (0.4, 41.4, 185, 7800)] == ["0 s", "41 s", "3 min 05 s", "2 h 10 min"]


# Progress


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_time_left_comes_from_pairs_that_were_run():
    clock = Clock()
    tally = Tally(total=14, already_done=2, clock=clock)
    clock.now = 10.0
    tally.add(judged(unmeasured(Status.CONFIG_MISMATCH, wall_s=0.0), STRICT))
    assert tally.left_s is None
    clock.now = 60.0
    tally.add(record())
    tally.add(record())
    assert tally.left_s == pytest.approx(30.0 * 9)
    assert str(tally) == "2 passed, 1 failed, 0 inconclusive, 9 left"


def test_the_log_has_a_line_for_each_finished_pair():
    at = console(80)
    with LogDisplay(at) as display:
        display.start(7, 2)
        for one in RUN:
            display.finished(one)
    lines = printed(at).splitlines()
    assert lines[0] == "7 pairs, 2 of them finished before"
    assert lines[2] == "[4/7] slow: FAIL speedup: speedup 1.12x (1.10x to 1.14x) is below the required 1.50x (41 s)"
    assert lines[5].startswith("[7/7] [red]rogue[/red]: FAIL load_error: red [bold]x[/bold]")
    assert len(lines) == 6


def test_the_log_says_now_and_then_what_an_actor_does():
    clock = Clock()
    at = console(80)
    display = LogDisplay(at, clock)
    display.start(1, 0)
    for seconds, phase, batch in [
        (0, "loading", 0),
        (1, "loading", 0),
        (2, "warm-up", 0),
        (11, "measuring", 1),
        (30, "measuring", 2),
    ]:
        clock.now = seconds
        display.progress([Progress("gpu-0", "7", phase, batch, 8), Progress("gpu-1", None, "idle")])
    assert printed(at).splitlines()[1:] == ["gpu-0: 7: loading", "gpu-0: 7: measuring, batch 1 of 8"]


def test_the_live_view_has_a_line_for_each_actor_and_the_totals():
    at = console(100, force_terminal=True)
    clock = Clock()
    with LiveDisplay(at, clock) as display:
        display.start(14, 2)
        clock.now = 20.0
        display.finished(RUN[0])
        display.progress([Progress("gpu-0", "[red]rogue", "measuring", 3, 8), Progress("gpu-1", None, "idle")])
        shot = console(100)
        shot.print(display._render())
    lines = [line.rstrip() for line in printed(shot).splitlines()]
    assert "3 of 14  20 s, about 3 min 40 s left" in lines[0]
    assert lines[1:] == [
        "1 passed, 0 failed, 0 inconclusive, 11 left",
        "gpu-0  [red]rogue  measuring, batch 3 of 8",
        "gpu-1              idle",
    ]
    assert "[3/14] deepcache: " in printed(at)


def test_the_live_view_leaves_the_terminal_as_it_was():
    at = console(100, force_terminal=True)
    with pytest.raises(KeyboardInterrupt), LiveDisplay(at) as display:
        display.start(3, 0)
        raise KeyboardInterrupt
    assert printed(at).count("\x1b[?25l") == printed(at).count("\x1b[?25h") == 1  # the cursor: hidden, shown


def test_the_console_decides_on_the_display():
    assert isinstance(make_display(console()), LogDisplay)
    assert isinstance(make_display(console(force_terminal=True)), LiveDisplay)


def test_a_display_can_be_silent(capsys):
    with NullDisplay() as display:
        display.start(1, 0)
        display.progress([Progress("gpu-0", "7", "measuring")])
        display.finished(RUN[0])
    assert capsys.readouterr() == ("", "")
