"""A short run of benchmarks/fuzz.py: whatever a child writes ends as the code says, quickly and in bounds."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harness.report import text

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# What is drawn is bound by nothing but the number: half a second of a target each.
INPUTS = {"frames": 500, "answers": 250, "records": 100, "result_sets": 5, "lines": 500}


@pytest.fixture(scope="module")
def modules():
    """The modules fuzz, fuzz_inputs and fuzz_targets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fuzz
        import fuzz_inputs
        import fuzz_targets

        yield fuzz, fuzz_inputs, fuzz_targets


@pytest.mark.parametrize("name", INPUTS)
def test_what_a_child_writes_ends_as_the_code_says(modules, name):
    fuzz, *_ = modules
    function, strategy, _ = fuzz.load_targets()[name]
    outcomes = set()

    @settings(
        max_examples=INPUTS[name],
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value):
        outcomes.add(function(value))

    run()
    assert len(outcomes) > 1, "inputs that all end alike reach little of the code"


def test_an_honest_child_reaches_the_end_of_every_target(modules):
    _, inputs, targets = modules
    assert targets.answers(inputs.HONEST) == "load good, generate good, profile good"
    assert targets.records(inputs.HONEST) == "measured PASS"
    assert targets.result_sets(inputs.HONEST) == "measured PASS"


TEXTS = ["[" * 900 + "]" * 900, '"' + "x" * 300_000 + '"', '"' + "\\u202e" * 50_000 + '"']


@pytest.mark.parametrize("value", TEXTS, ids=["deep", "long", "escaped"])
@pytest.mark.parametrize("field", ["error", "message", "traceback"])
def test_an_error_that_a_child_reports_is_a_text_of_bounded_length(modules, field, value):
    _, inputs, targets = modules
    said = inputs.Answer(inputs.with_nonce(f'{{"error":"exception","{field}":{value}}}'))
    with targets.AnsweringChild(replace(inputs.HONEST, load=said)) as child:
        outcome = targets.measured(child)
    assert outcome.status == "load_error"
    assert len(outcome.detail) < 2100
    assert len(outcome.log) < 33_000
    assert "[[" not in outcome.detail + outcome.log


def test_the_fuzzer_sees_a_line_that_steers_the_terminal(modules, monkeypatch):
    *_, targets = modules
    monkeypatch.setattr(text, "plain", lambda said, limit: said[:limit])
    with pytest.raises(targets.Finding, match="steers"):
        targets.lines("\x1b[2J")


def test_the_fuzzer_sees_a_slow_input_and_one_that_takes_memory(modules, monkeypatch):
    fuzz, *_ = modules
    monkeypatch.setattr(fuzz, "SLOWEST_S", 0.01)
    with pytest.raises(fuzz.TooMuch, match="of the CPU"):
        fuzz.Tally().run(lambda _: str(sum(range(10_000_000))), None)
    tally, held = fuzz.Tally(), []
    monkeypatch.setattr(fuzz, "MOST_MEMORY", 20 * 2**20)
    held.append(b"x" * 2**26)
    with pytest.raises(fuzz.TooMuch, match="of memory"):
        tally.check_memory()
