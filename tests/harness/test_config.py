"""The configuration: what the files in configs/ say is valid, and what is not is said in one line."""

from pathlib import Path

import pytest

from harness.config import Config, ConfigError, load_config

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
    config = load_config(path, ["evaluation.prompts=3", "limits.call_s=5", "sandbox.tiers=[process]"])
    assert (config.evaluation.prompts, config.evaluation.batch_size) == (3, 2)
    assert config.limits.call_s == 5
    assert config.sandbox.tiers == ("process",)


def test_paths_in_a_file_count_from_its_folder(tmp_path):
    (tmp_path / "captions.txt").write_text("a\n")
    path = written(
        tmp_path, "models: {me/sd: weights/sd}\nsandbox: {visible: [data]}\ncaptions: {source: captions.txt}\n"
    )
    config = load_config(path)
    assert config.models == {"me/sd": tmp_path / "weights/sd"}
    assert config.sandbox.visible == (tmp_path / "data",)
    assert config.captions.source == str(tmp_path / "captions.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evalution: {prompts: 3}", "unknown key evalution; did you mean evaluation?"),
        ("evaluation: {promts: 3}", "unknown key evaluation.promts; did you mean evaluation.prompts?"),
        ("limits: {cal_s: 3}", "unknown key limits.cal_s; did you mean limits.call_s?"),
        ("evaluation: {prompts: 0}", "evaluation.prompts"),
        ("evaluation: {prompts: many}", "evaluation.prompts"),
        ("evaluation: {protocol: loose}", "evaluation.protocol"),
        ("evaluation: {max_quality_loss: 5}", "evaluation.max_quality_loss"),
        ("limits: {call_s: -1}", "call_s must be positive"),
        ("sandbox: {tiers: []}", "sandbox.tiers"),
        ("sandbox: {tiers: [gvisor]}", "sandbox.tiers"),
        ("models: {../up: x}", "'../up' is no name"),
        ("models: {/abs: x}", "'/abs' is no name"),
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
