"""Plans: what the sources decide, what a job carries, and what is refused before anything is measured."""

import dataclasses
import json
import re

import pyarrow.parquet as pq
import pytest

from actors.messages import Job, Outcome, Status
from actors.tiers import model_root
from harness import driver, run, stats
from harness.captions import CaptionsError, read_captions
from harness.config import Config, ConfigError, load_config
from harness.driver import pool_spec, require_fitting_scorer
from harness.planning import (
    FileReader,
    ModelNotFound,
    Planned,
    draw_secret,
    find_model,
    measuring_plan,
    plan_pair,
    sequential_design,
    too_few_images,
)
from harness.requirement import Requirement
from harness.result_set import ResultSet
from harness.run_info import ResultSetError, read_run_info
from harness.stats import LEAST_STRETCHES
from harness.tasks import load_pairs
from tests.harness.record_samples import batches

SECRET = "secret"
SOURCE = """
from diffusers import DDIMScheduler, StableDiffusionPipeline

def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained({model!r})
    pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config)
    return pipe

def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps={steps}, **call)
"""


def source(model="diffharness/tiny-shapes", scheduler="DDIMScheduler", steps=20) -> str:
    return SOURCE.format(model=model, scheduler=scheduler, steps=steps)


def planned(folder, candidate: str | None, reference: str = "", baseline: str = "", config: Config | None = None):
    """The plan of one pair of files with these sources, and the reader that read them."""
    (folder / "reference.py").write_text(reference or source())
    (folder / "baseline.py").write_text(baseline or source())
    if candidate is not None:
        (folder / "candidate.py").write_text(candidate)
    task = {"prompt_id": 7, "prompt_context": "", "difficulty": "easy"}
    files = {"gt_file": "reference.py", "baseline_file": "baseline.py"}
    (folder / "anno.json").write_text(json.dumps([{**task, **files}]))
    (folder / "gen.json").write_text(json.dumps([{"prompt_id": 7, "gen_file": "candidate.py"}]))
    pairs = load_pairs(folder / "anno.json", folder / "gen.json")
    reader = FileReader(config or Config())
    config = config or Config()
    return plan_pair(pairs[0], SECRET, config, sequential_design(config), reader), reader


def test_a_pair_that_agrees_is_a_job_with_its_sources(tmp_path):
    plan, _ = planned(tmp_path, source() + "\n# faster\n", config=load_config(None, ["call={guidance_scale: 5}"]))
    job = plan.next
    assert isinstance(job, Job)
    assert job.candidate.source.endswith(b"# faster\n")
    assert job.candidate.call == {"guidance_scale": 5}
    assert job.candidate.steps == 20
    assert job.candidate.path == str(tmp_path / "candidate.py")
    assert plan.sources.candidate.sha256 == job.candidate.sha256


@pytest.mark.parametrize(
    ("candidate", "status", "said"),
    [
        (None, Status.BAD_SOURCE, "no such file"),
        ("def load_pipe(:", Status.BAD_SOURCE, "candidate.py:1"),
        ("x = 1", Status.NO_PIPELINE, "load_pipe"),
        (source(steps=10), Status.CONFIG_MISMATCH, "reference 20, candidate 10"),
        (source(scheduler="LCMScheduler"), Status.CONFIG_MISMATCH, "scheduler_class"),
        (source(model="other/model"), Status.CONFIG_MISMATCH, "model_id"),
    ],
)
def test_what_the_source_decides_needs_no_job(tmp_path, candidate, status, said):
    plan, _ = planned(tmp_path, candidate)
    assert isinstance(plan.next, Outcome)
    assert plan.next.status is status
    assert said in plan.next.detail


def test_a_broken_reference_is_not_the_candidates_fault(tmp_path):
    plan, _ = planned(tmp_path, source(), reference="def")
    assert plan.next.status is Status.BASELINE_FAILED
    assert "reference.py" in plan.next.detail


def test_a_folder_that_the_reference_names_may_be_loaded_and_one_of_the_candidate_not(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "others").mkdir()
    _, reader = planned(
        tmp_path, source(model="others"), reference=source(model="weights"), baseline=source(model="weights")
    )
    assert reader.models["weights"] == str(tmp_path / "weights")
    assert "others" not in reader.models


def test_a_model_of_the_hubs_cache_is_found_there(tmp_path, monkeypatch):
    repository = tmp_path / "cache" / "models--me--sd"
    snapshot = repository / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert find_model("me/sd", tmp_path) == str(snapshot)
    assert model_root(str(snapshot)) == str(repository), "a snapshot's files are links into its repository"


@pytest.mark.parametrize("name", ["no/such-model", "../outside", ".", "not a name at all"])
def test_a_model_that_no_child_could_load_is_the_baselines_failure(tmp_path, name):
    plan, _ = planned(tmp_path, source(), reference=source(model=name), baseline=source(model=name))
    assert plan.next.status is Status.BASELINE_FAILED
    assert repr(name) in plan.next.detail


def test_one_name_for_two_folders_is_refused(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "model").mkdir(parents=True)
    _, reader = planned(tmp_path / "one", source(model="./model"), source(model="./model"), source(model="./model"))
    (tmp_path / "two" / "b.py").write_text(source(model="./model"))
    with pytest.raises(ModelNotFound, match="absolute"):
        reader.read_trusted(tmp_path / "two" / "b.py")


def test_a_model_has_one_place_in_a_child_however_files_spell_its_name(tmp_path):
    (tmp_path / "model").mkdir()
    _, reader = planned(tmp_path, source(model="model"), source(model="./model"), source(model="model/"))
    assert reader.models["model"] == str(tmp_path / "model")
    assert len(reader.models) == 2, "that one, and the embedded one"


def test_models_that_lie_in_each_other_are_refused(tmp_path):
    (tmp_path / "sd" / "v1").mkdir(parents=True)
    for inner, outer in (("sd/v1", "sd"), ("sd", "sd/v1")):
        plan, _ = planned(tmp_path, source(model=inner), source(model=inner), source(model=outer))
        assert plan.next.status is Status.BASELINE_FAILED
        assert "lie in each other" in plan.next.detail


def test_a_run_goes_on_where_its_folder_has_another_name(tmp_path):
    infos = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("anno.json", "gen.json"):
            (tmp_path / name / file).write_text("[]")
        infos.append(driver.run_info(Config(), "run", tmp_path / name / "anno.json", tmp_path / name / "gen.json"))
    assert infos[0]["config"] == infos[1]["config"]
    (tmp_path / "two" / "gen.json").write_text("[{}]")
    other = driver.run_info(Config(), "run", tmp_path / "two" / "anno.json", tmp_path / "two" / "gen.json")
    assert other["config"] != infos[0]["config"]


def test_a_run_draws_a_secret_that_nobody_can_try_out_unless_its_seed_is_configured():
    assert len(draw_secret(Config())) == 64
    assert draw_secret(Config()) != draw_secret(Config())
    seeded = load_config(None, ["evaluation.seed=7"])
    assert draw_secret(seeded) == draw_secret(seeded)


def plan_of(name="7", requirement=Requirement(), config=None):  # noqa: B008  (it is frozen)
    config = config or Config()
    return measuring_plan(name, requirement, SECRET, config, sequential_design(config))


def test_a_latency_alone_needs_the_baseline_at_other_moments():
    assert plan_of(requirement=Requirement(latency_s=1.0)).stretches == LEAST_STRETCHES
    assert plan_of(requirement=Requirement(speedup=2.0)).stretches == 0


def test_a_plan_has_the_configured_starts_and_burn_in():
    plan = plan_of(config=load_config(None, ["evaluation.restarts=4", "evaluation.burn_in=1"]))
    assert (plan.starts, plan.burn_in, plan.batches) == (4, 1, 32)
    assert plan.warmup_agreement == 0.01
    assert plan.stop.design.by_starts


def settings(**changes):
    return load_config(None, [f"evaluation.{key}={value}" for key, value in changes.items()])


def test_too_few_prompts_are_named_with_what_they_would_have_to_be():
    said = too_few_images(settings(prompts=10, batch_size=1))
    error = sequential_design(settings(prompts=10, batch_size=1)).error
    half, whole = (stats.images_needed(largest, 0.05, error) for largest in (0.5, 1.0))
    assert said.startswith(f"no candidate can pass with 10 prompts: it takes {half} to exclude")
    assert f"and {whole} if it can lose all" in said
    assert said.endswith("or evaluation.rare_losses: assume_none")
    enough = int(re.search(r"set evaluation.prompts to (\d+)", said).group(1))
    assert too_few_images(settings(prompts=enough, batch_size=1)) is None


@pytest.mark.parametrize("limit", [0.5, 0.05, 0.01])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.99])
def test_the_number_of_prompts_that_is_named_suffices(limit, confidence):
    few = {"prompts": 1, "batch_size": 1, "max_quality_loss": limit, "confidence": confidence}
    said = too_few_images(settings(**few))
    enough = int(re.search(r"set evaluation.prompts to (\d+)", said).group(1))
    assert too_few_images(settings(**{**few, "prompts": enough})) is None


def test_a_tiny_limit_is_answered_at_once():
    assert "no candidate can pass with 128 prompts" in too_few_images(Config(), max_quality_loss=1e-12)


def test_the_number_of_prompts_that_is_named_makes_whole_batches():
    said = too_few_images(settings(prompts=64, batch_size=16))
    assert said.startswith("perhaps no candidate can pass with 64 prompts")
    assert int(re.search(r"set evaluation.prompts to (\d+)", said).group(1)) % 16 == 0


@pytest.mark.parametrize(
    "changes",
    [{}, {"prompts": 8, "rare_losses": "assume_none"}, {"prompts": 8, "protocol": "fixed"}],
)
def test_there_is_no_warning_if_enough_images_are_measured_or_none_are_needed(changes):
    assert too_few_images(settings(**changes)) is None


def test_the_limit_of_the_command_goes_before_that_of_the_configuration():
    assert "it takes" in too_few_images(Config(), max_quality_loss=0.01)
    assert "a limit of 0" in too_few_images(Config(), max_quality_loss=0)


def test_every_pair_is_asked_other_questions(tmp_path):
    keys = []
    for name in ("7", "8"):
        plan, _ = planned(tmp_path, source())
        keys.append(plan_of(name, plan.pair.task.requirement).key)
    assert plan.next.plan.key == keys[0] != keys[1]
    assert SECRET not in keys[0]


def test_a_path_that_cannot_be_looked_at_is_said_in_a_line(tmp_path):
    nowhere = tmp_path / ("x" * 300)
    with pytest.raises(ResultSetError, match="too long"):
        read_run_info(nowhere)
    with pytest.raises(ResultSetError, match="too long"):
        ResultSet.load(nowhere)
    with pytest.raises(CaptionsError, match=r"captions\.source"):
        read_captions(f"{nowhere}.txt", "captions", "train")
    with pytest.raises(ConfigError, match=r"models\.sd"):
        FileReader(load_config(None, [f"models={{sd: {nowhere}}}"]))


def test_a_configured_model_must_be_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"models\.me/sd"):
        FileReader(load_config(None, [f"models={{me/sd: {tmp_path / 'none'}}}"]))


def test_embedded_models_are_known_by_name():
    reader = FileReader(Config())
    spec = pool_spec(Config(), reader.models, ())
    assert spec.scorer.model.startswith("local-dir:/")
    assert set(spec.sandbox.models) == {"diffharness/tiny-shapes"}, "a candidate never sees what scores it"


def test_the_embedded_scorer_is_not_used_unasked_on_other_models(tmp_path):
    (tmp_path / "sd" / "v1").mkdir(parents=True)
    plan, _ = planned(tmp_path, source(model="sd/v1"), reference=source(model="sd/v1"), baseline=source(model="sd/v1"))
    with pytest.raises(ConfigError, match="sd/v1"):
        require_fitting_scorer(Config(), [plan.next])
    require_fitting_scorer(load_config(None, ["scorer.model=diffharness/tiny-shapes-clip"]), [plan.next])
    plan, _ = planned(tmp_path, source())
    require_fitting_scorer(Config(), [plan.next])


# Whole runs, of candidates whose sources decide: nothing is loaded, and Ray is not started.


def run_again(folder):
    """Runs the pair that `planned` wrote, and returns its record."""
    (record,) = run(folder / "anno.json", folder / "gen.json", folder / "out", Config())
    return record


def end_in(patch, plan, **fields):
    """Let every pair end in the outcome of `plan` with other values."""
    patch.setattr(
        driver, "plan_pair", lambda pair, *_: Planned(pair, plan.sources, dataclasses.replace(plan.next, **fields))
    )


def test_a_run_needs_no_more_than_the_files_and_a_configuration(tmp_path):
    planned(tmp_path, source(steps=10))
    assert run_again(tmp_path).status is Status.CONFIG_MISMATCH
    assert json.loads((tmp_path / "out" / "run.json").read_text())["command"] == "harness.run"


def test_a_run_of_an_older_version_is_not_gone_on_with(tmp_path):
    planned(tmp_path, source(steps=10))
    run_again(tmp_path)
    info = tmp_path / "out" / "run.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "schema_version": 4}))
    with pytest.raises(ResultSetError, match=r"run\.json: schema_version is 4"):
        run_again(tmp_path)


@pytest.mark.parametrize("name", ["anno", "gen"])
def test_a_run_does_not_go_on_with_changed_tasks(tmp_path, name):
    planned(tmp_path, source(steps=10))
    run_again(tmp_path)
    with (tmp_path / f"{name}.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ResultSetError, match=f"tasks.{name}_sha256"):
        run_again(tmp_path)


def test_a_pair_whose_files_have_changed_is_measured_again_and_no_other(tmp_path):
    planned(tmp_path, None)
    assert run_again(tmp_path).status is Status.BAD_SOURCE
    (tmp_path / "candidate.py").write_text(source(steps=10))
    kept = run_again(tmp_path)
    assert read_run_info(tmp_path / "out")["statistics"]["total"]["failed"] == 1
    assert (kept.status, kept.candidate_num_inference_steps) == (Status.CONFIG_MISMATCH, 10)
    assert run_again(tmp_path) == kept
    (tmp_path / "reference.py").write_text(source(steps=5))
    assert run_again(tmp_path).reference_num_inference_steps == 5
    (tmp_path / "candidate.py").unlink()
    assert run_again(tmp_path).status is Status.BAD_SOURCE


def test_a_record_stays_while_nothing_can_be_measured(tmp_path):
    planned(tmp_path, source(steps=10))
    kept = run_again(tmp_path)
    (tmp_path / "reference.py").write_text("def")
    assert run_again(tmp_path) == kept


def test_what_the_harness_failed_at_is_measured_again(tmp_path, monkeypatch):
    plan, _ = planned(tmp_path, source(steps=10))
    with monkeypatch.context() as patch:
        end_in(patch, plan, status=Status.INFRASTRUCTURE)
        assert run_again(tmp_path).status is Status.INFRASTRUCTURE
    assert run_again(tmp_path).status is Status.CONFIG_MISMATCH


def test_values_that_no_table_holds_are_an_infrastructure_record(tmp_path, monkeypatch):
    plan, _ = planned(tmp_path, source(steps=10))
    row = dataclasses.replace(batches(1)[0], images=True)
    end_in(monkeypatch, plan, status=Status.TIMEOUT, batches=(row,))
    kept = run_again(tmp_path)
    assert kept.status is Status.INFRASTRUCTURE
    assert "cannot be stored" in kept.detail
    assert pq.read_table(tmp_path / "out" / "batches.parquet").num_rows == 0
