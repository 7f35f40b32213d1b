"""The configuration: what the files in configs/ say is valid, and what is not is said in one line."""

import math
from pathlib import Path

import pytest

from harness import evaluate
from harness.config import Config, ConfigError, load_config, require_limits

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_shipped_configurations_are_valid(path):
    assert load_config(path) != Config()


def test_diffbench_has_the_papers_protocol():
    plan = load_config(next(path for path in CONFIGS if path.name == "diffbench.yaml")).evaluation
    assert (plan.protocol, plan.prompts, plan.max_quality_loss) == ("fixed", 10, 0.05)


def test_overrides_go_before_the_file(tmp_path):
    path = written(tmp_path, "evaluation: {prompts: 8, batch_size: 2}\n")
    config = load_config(path, ["evaluation.prompts=6", "limits.call_s=5", "sandbox.tiers=[process]"])
    assert (config.evaluation.prompts, config.evaluation.batch_size) == (6, 2)
    assert config.limits.call_s == 5
    assert config.sandbox.tiers == ("process",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.prompts=6", r"evaluation\.batch_size: .*6 prompts \(evaluation\.prompts\) make no whole batches"),
        (
            "evaluation.warmup_batches=9",
            r"evaluation\.max_warmup_batches: .*below evaluation\.warmup_batches, which is 9",
        ),
        ("evaluation.restarts=33", r"evaluation\.restarts: .*32 batches .* are not one for each start"),
    ],
)
def test_numbers_of_batches_that_contradict_each_other_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_warm_up_calls_agree_within_half_of_the_half_width_unless_it_is_set():
    assert load_config(None, ["evaluation.half_width=0.01"]).evaluation.agreement == 0.005
    assert load_config(None, ["evaluation.warmup_agreement=0.3"]).evaluation.agreement == 0.3


def test_paths_in_a_file_count_from_its_folder(tmp_path):
    (tmp_path / "captions.txt").write_text("a\n")
    path = written(
        tmp_path, "models: {me/sd: weights/sd}\nsandbox: {visible: [data]}\ncaptions: {source: captions.txt}\n"
    )
    config = load_config(path)
    assert config.models == {"me/sd": tmp_path / "weights/sd"}
    assert config.sandbox.visible == (tmp_path / "data",)
    assert config.captions.source == str(tmp_path / "captions.txt")


def test_what_may_be_a_name_is_a_path_where_there_is_a_file(tmp_path):
    path = written(tmp_path, "captions: {source: openai}\nscorer: {model: ViT-L-14, pretrained: openai}\n")
    assert (load_config(path).captions.source, load_config(path).scorer.pretrained) == ("openai", "openai")
    (tmp_path / "openai").touch()
    assert load_config(path).scorer.pretrained == str(tmp_path / "openai")
    assert load_config(path).scorer.model == "ViT-L-14"


def test_a_local_scorer_counts_from_the_files_folder(tmp_path):
    assert (
        load_config(written(tmp_path, "scorer: {model: local-dir:clip}")).scorer.model == f"local-dir:{tmp_path}/clip"
    )


def test_a_tilde_is_the_users_folder_in_the_file_and_in_overrides(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = written(tmp_path, "models: {sd: ~/sd}\nsandbox: {visible: [~/data]}\nscorer: {model: local-dir:~/clip}\n")
    config = load_config(path, ["models.xl=~/xl", "captions.source=~/c.txt", "scorer.pretrained=~/clip.pt"])
    home = tmp_path / "home"
    assert config.models == {"sd": home / "sd", "xl": home / "xl"}
    assert config.sandbox.visible == (home / "data",)
    assert config.scorer.model == f"local-dir:{home}/clip"
    assert (config.captions.source, config.scorer.pretrained) == (f"{home}/c.txt", f"{home}/clip.pt")


def test_paths_of_overrides_count_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = load_config(written(tmp_path, "models: {a: x}"), ["models.b=x"])
    assert config.models == {"a": tmp_path / "x", "b": tmp_path / "here" / "x"}


def test_the_keys_of_free_dictionaries_may_have_dots():
    overrides = [
        "models.stabilityai/stable-diffusion-xl-base-1.0=/x",
        "sandbox.environment.a.b=c",
        "task_keys.gen_file=f.g",
    ]
    config = load_config(None, overrides)
    assert config.models == {"stabilityai/stable-diffusion-xl-base-1.0": Path("/x")}
    assert config.sandbox.environment == {"a.b": "c"}
    assert config.task_keys == {"gen_file": "f.g"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_quality_loss": 5}, "0.05 is 5%"),
        ({"max_quality_loss": -0.1}, "0.05 is 5%"),
        ({"max_quality_loss": math.nan}, "max_quality_loss is nan"),
        ({"req_speedup": 0}, "req_speedup is 0"),
        ({"req_speedup": math.inf}, "req_speedup is inf"),
        ({"req_latency_s": -1}, "req_latency_s is -1"),
        ({"req_latency_s": math.nan}, "req_latency_s is nan"),
    ],
)
def test_limits_that_nothing_can_be_judged_by_are_refused(limits, said):
    with pytest.raises(ConfigError, match=said):
        require_limits(**limits)
    with pytest.raises(ConfigError, match=said):
        evaluate("baseline.py", "candidate.py", **limits)


@pytest.mark.parametrize("written", ["8e9", "8.0e+9", "8000000000", "8_000_000_000"])
def test_a_number_of_bytes_may_be_written_in_any_way(written):
    value = load_config(None, [f"limits.memory_bytes={written}"]).limits.memory_bytes
    assert (value, type(value)) == (8_000_000_000, int)


def test_no_limit_on_memory_stays_none():
    assert load_config(None, ["limits.memory_bytes=null"]).limits.memory_bytes is None


def test_sound_limits_are_taken():
    require_limits(req_speedup=1.5, req_latency_s=0.2, max_quality_loss=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evalution: {prompts: 3}", "unknown key evalution; did you mean evaluation?"),
        ("evaluation: {promts: 3}", "unknown key evaluation.promts; did you mean evaluation.prompts?"),
        ("limits: {cal_s: 3}", "unknown key limits.cal_s; did you mean limits.call_s?"),
        ("evaluation: {prompts: 0}", "evaluation.prompts"),
        ("evaluation: {prompts: many}", "evaluation.prompts"),
        ("evaluation: {protocol: loose}", "evaluation.protocol"),
        ("evaluation: {rare_losses: ignore}", "evaluation.rare_losses"),
        ("evaluation: {restarts: 0}", "evaluation.restarts"),
        ("evaluation: {burn_in: -1}", "evaluation.burn_in"),
        ("evaluation: {max_quality_loss: 5}", "evaluation.max_quality_loss"),
        ("limits: {call_s: -1}", "call_s must be positive"),
        ("sandbox: {tiers: []}", "sandbox.tiers"),
        ("sandbox: {tiers: [gvisor]}", "sandbox.tiers"),
        ("limits: {call_s: .inf}", "call_s must be positive and finite"),
        ("limits: {call_s: .nan}", "call_s must be positive and finite"),
        ("limits: {clock_slack: .inf}", "clock_slack must be positive and finite"),
        ("limits: {load_s: 3e6}", "load_s must be below 2,000,000 s"),
        ("limits: {memory_bytes: 1000}", "memory_bytes is 1,000; the libraries of a pipeline alone need 1,073,741,824"),
        ("limits: {processes: 0}", "processes must be positive"),
        ("limits: {processes: 1.5}", "limits.processes"),
        ("limits: {memory_bytes: 8GB}", "limits.memory_bytes"),
        ("integrity: {reject: [unlike]}", "integrity.reject.0: Input should be 'blank_image'"),
        ("models: {../up: x}", "'../up' is no name"),
        ("models: {..: x}", "'..' is no name"),
        ("models: {.: x}", "'.' is no name"),
        ("models: {'': x}", "'' is no name"),
        ("models: {/abs: x}", "'/abs' is no name"),
        ("models: {sd: x, sd/v1: y}", "'sd' is a parent of 'sd/v1'"),
        ("models: {diffharness: x}", "'diffharness' is a parent of 'diffharness/tiny-shapes'"),
        ("call: {since: 2025-01-02}", "call: Value error, must be what JSON can hold"),
        ("call: {scale: .inf}", "call: Value error, must be what JSON can hold"),
        ("call: {since: 2025-13-32}", "no YAML"),
        ("- a\n- b", "is a list"),
        ("a: b: c", "no YAML"),
        ("\x00", "no YAML"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_key(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_every_problem_is_said_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "evaluation: {prompts: 0, batch_size: 0}"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("override", ["evaluation.prompts", "=3", "evaluation.prompts.more=3", "call={"])
def test_an_override_that_cannot_be_read_is_refused(override, tmp_path):
    with pytest.raises(ConfigError, match=r"--set|evaluation"):
        load_config(written(tmp_path, "evaluation: {prompts: 3}"), [override])


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")
