"""The command as a user runs it: real processes, real models, real files, and everything that can be typed wrong."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness import evaluate, load_config
from harness.calibration import read_calibration
from harness.records import Verdict
from harness.result_set import ResultSet
from tests.actors.model_files import honest_but

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "examples" / "models"
# A pipeline that takes half a second and next to no CPU.
SLOW_BUT_SMALL = honest_but(call="import time; time.sleep(0.5)")
TORCH_ALONE = "sandbox.preimports=[torch]"
SMALL = [
    "evaluation.prompts=4",
    "evaluation.seed=1726292070",  # four images are few: with other prompts an honest candidate may end otherwise
    "evaluation.rare_losses=assume_none",
    "evaluation.max_quality_loss=0.2",
    "evaluation.burn_in=1",
    "evaluation.batch_size=1",
    "evaluation.max_warmup_batches=2",
    "call.guidance_scale=5.0",
    "pool.address=local",
    "sandbox.tiers=[bwrap,process]",
]


def command(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)], capture_output=True, text=True, timeout=800, **options
    )


def write_tasks(folder: Path, *candidates: str, models: Path = MODELS) -> list[str]:
    """An annotation and a generated file with a task for each candidate, as arguments of `run`."""
    baseline = str(models / "baseline.py")
    files = {"gt_file": baseline, "baseline_file": baseline}
    anno = [
        {"prompt_id": n, "prompt_context": "Keep the pictures.", "difficulty": "easy", **files}
        for n, _ in enumerate(candidates, 1)
    ]
    gen = [{"prompt_id": n, "gen_file": str(models / f"{name}.py")} for n, name in enumerate(candidates, 1) if name]
    (folder / "anno.json").write_text(json.dumps(anno))
    (folder / "gen.json").write_text(json.dumps(gen))
    return ["--anno", str(folder / "anno.json"), "--gen", str(folder / "gen.json"), "--out", str(folder / "out")]


def settings(*overrides: str) -> list[str]:
    return [part for override in (*SMALL, *overrides) for part in ("--set", override)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A result set of six pairs, with the command that made it."""
    folder = tmp_path_factory.mktemp("run")
    tasks = write_tasks(folder, "deepcache", "baseline", "wrong_steps", "syntax_error", "exception", "")
    done = command("run", *tasks, *settings())
    return folder / "out", tasks, done


@pytest.mark.alone
def test_a_run_leaves_a_record_of_every_task(finished):
    out, _, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    records = {record.prompt_id: record for record in ResultSet.load(out)}
    statuses = {name: str(record.status) for name, record in records.items()}
    assert statuses == {
        "1": "measured",
        "2": "measured",
        "3": "config_mismatch",
        "4": "bad_source",
        "5": "call_error",
        "6": "missing_candidate",
    }
    assert records["1"].verdict is Verdict.PASS, records["1"].detail
    assert records["1"].candidate_methods == ("deepcache",)
    assert records["1"].speedup > records["2"].speedup
    assert records["1"].speedup_low < records["1"].speedup < records["1"].speedup_high
    assert abs(records["2"].quality_loss) < 1e-9, "the same pipeline draws the same pictures"
    assert records["2"].candidate_denoiser_calls == records["2"].candidate_num_inference_steps == 24
    assert records["5"].log


@pytest.mark.alone
def test_a_run_leaves_the_files_that_it_promises(finished):
    out, _, done = finished
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "batches.parquet",
        "evaluation_results.json",
        "images.parquet",
        "pairs.parquet",
        "run.json",
    ]
    assert pq.read_table(out / "batches.parquet").num_rows == 2 * 2 * (1 + 4), "that of the burn-in, too"
    images = pq.read_table(out / "images.parquet").to_pylist()
    assert len(images) == 2 * 4
    assert len({image["seed"] for image in images}) == 2 * 4, "no pair is asked what another one was"
    assert [entry["prompt_id"] for entry in json.loads((out / "evaluation_results.json").read_text())] == list("123456")
    assert json.loads((out / "run.json").read_text())["config"]["evaluation"]["prompts"] == 4
    assert "PASS" in done.stdout
    assert "config_mismatch" in done.stdout


@pytest.mark.alone
def test_the_same_command_again_measures_nothing_and_prints_the_same(finished):
    out, tasks, _ = finished
    before = pq.read_table(out / "pairs.parquet")
    start = time.monotonic()
    again = command("run", *tasks, *settings())
    assert again.returncode == 0
    assert time.monotonic() - start < 60
    assert pq.read_table(out / "pairs.parquet") == before
    assert "PASS" in again.stdout


@pytest.mark.alone
def test_another_configuration_on_the_same_folder_is_refused(finished):
    _, tasks, _ = finished
    done = command("run", *tasks, *settings("evaluation.max_quality_loss=0.01"))
    assert done.returncode == 2
    assert "evaluation.max_quality_loss" in done.stderr


@pytest.mark.alone
def test_judging_again_needs_no_measurement(finished):
    out, _, _ = finished
    assert "PASS" in command("judge", out).stdout
    strict = command("judge", out, "--max-quality-loss", "0", "--protocol", "fixed")
    assert strict.returncode == 0
    records = ResultSet.load(out)
    assert records[0].verdict is Verdict.PASS, "the result set stays as it is"


def test_an_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path):
    names = "one", "two", "three"
    for name in ("baseline", *names):
        (tmp_path / f"{name}.py").write_text(SLOW_BUT_SMALL)
    tasks = write_tasks(tmp_path, *names, models=tmp_path)
    arguments = ["run", *tasks, *settings("evaluation.prompts=1", TORCH_ALONE)]
    kept = {}
    for number, finished in ((signal.SIGTERM, ["1"]), (signal.SIGINT, ["1", "2"])):
        said = interrupt(number, f"[{len(finished)}/3]", arguments)
        assert "goes on from there" in said
        assert "Traceback" not in said
        before, kept = kept, {record.prompt_id: record for record in ResultSet.load(tmp_path / "out")}
        assert sorted(kept) == finished
        assert {name: kept[name] for name in before} == before
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    records = {record.prompt_id: record for record in ResultSet.load(tmp_path / "out")}
    assert sorted(records) == ["1", "2", "3"]
    assert {name: records[name] for name in kept} == kept


def interrupt(number: int, after: str, arguments: list[str]) -> str:
    """Sends a signal to the command once it has printed `after`; what it then says on stderr."""
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_ctrl_c,
    )
    for line in running.stdout:
        if after in line:
            time.sleep(1)  # in the middle of a pair, while the driver waits for Ray
            running.send_signal(number)
            break
    _, said = running.communicate(timeout=180)
    assert running.returncode == 130, said
    return said


def heeds_ctrl_c() -> None:
    """A process that a shell started in the background, and all that it starts, would not heed SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_one_pair_from_python():
    config = load_config(None, [*SMALL, "evaluation.prompts=2"])
    record = evaluate(MODELS / "baseline.py", MODELS / "wrong_scheduler.py", req_speedup=1.5, config=config)
    assert (record.verdict, record.reason) == ("FAIL", "config")
    assert "DPMSolverMultistepScheduler" in record.detail


def test_a_calibration_measures_a_file_against_itself_and_suggests_settings(tmp_path):
    out, file = tmp_path / "c.json", tmp_path / "baseline.py"
    file.write_text(SLOW_BUT_SMALL)
    sizes = ["--batch-size", 1, "--batches", 2, "--restarts", 2]
    done = command("calibrate", file, *sizes, "--out", out, *settings(TORCH_ALONE))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_calibration(out).rows
    assert (row.actor, row.device_id, row.batch_size) == ("cpu 0", "cpu", 1)
    assert row.speedup_low < row.speedup < row.speedup_high
    assert row.timed - row.disturbed <= 4 <= row.timed
    assert len(row.start_means) == 2
    pasted = [line for line in done.stdout.splitlines() if line.strip().startswith("--set evaluation.batch_size=1 ")]
    assert [load_config(None, line.split()[1::2]).evaluation.batch_size for line in pasted] == [1, 1]
    assert str(out) in done.stdout


def test_check_says_what_differs_and_exits_with_1():
    assert command("check", MODELS / "baseline.py", MODELS / "tome.py").returncode == 0
    differs = command("check", MODELS / "baseline.py", MODELS / "wrong_steps.py")
    assert differs.returncode == 1
    assert "reference 24, candidate 12" in differs.stdout


def test_doctor_finds_the_models_and_a_sandbox():
    done = command("doctor")
    assert "diffharness/tiny-shapes" in done.stdout
    assert "sandbox tier bwrap" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--anno", "no.json", "--gen", "no.json", "--out", "out"], "no.json"),
        (["check", "no.py", "no.py"], "no.py: no such file"),
        (["judge", "nowhere"], "there is no such folder"),
        (["eval", "a.py", "b.py", "--config", "no.yaml"], "no.yaml"),
        (["eval", "a.py", "b.py", "--set", "evaluation.promts=3"], "did you mean evaluation.prompts?"),
        (["eval", "a.py", "b.py", "--set", "captions.source=no.parquet"], "captions.source"),
        (["calibrate", "no.py"], "no.py: no such file"),
        (["calibrate", "no.py", "--out", "no/c.json"], "no/c.json: give a file in a folder that is there"),
        (["calibrate", "no.py", "--batches", "1"], "--batches"),
        (["run", "--anno", "x"], "Missing option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_what_is_typed_wrong_is_said_in_a_line(arguments, said, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_files_that_are_not_there_are_a_record_of_eval():
    done = command("eval", "no_baseline.py", MODELS / "baseline.py", *settings())
    assert done.returncode == 1
    assert "no_baseline.py" in done.stdout
