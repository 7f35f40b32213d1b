"""What the commands do around the functions that they call."""

import sys

import pytest
from typer.testing import CliRunner

from actors.messages import Status
from harness import cli
from harness.config import ConfigError
from harness.judge import judged
from harness.run_info import read_out_of_use, write_end, write_run_info
from tests.harness.record_samples import STRICT, record, unmeasured


def test_the_log_of_a_hostile_file_does_not_steer_the_terminal(monkeypatch):
    log = "Traceback\n\x1b]0;title\x07\x1b[2Jfirst \ud800 line\n[bold]second"
    failed = judged(unmeasured(Status.CALL_ERROR, "ValueError", log=log), STRICT)
    monkeypatch.setattr(cli.driver, "evaluate", lambda *_, **__: failed)
    done = CliRunner().invoke(cli.app, ["eval", "a.py", "b.py"])
    assert done.exit_code == 1
    assert done.stdout.endswith("Traceback\nfirst line\n[bold]second\n")


def test_a_limit_in_percent_is_refused(tmp_path):
    for command in (["eval", "a.py", "b.py"], ["judge", str(tmp_path)]):
        done = CliRunner().invoke(cli.app, [*command, "--max-quality-loss", "5"])
        assert isinstance(done.exception, ConfigError)
        assert "0.05 is 5%" in str(done.exception)


def test_too_few_prompts_are_warned_of_before_anything_is_measured(monkeypatch):
    passed = record()
    monkeypatch.setattr(cli.driver, "evaluate", lambda *_, **__: passed)
    few = ["eval", "a.py", "b.py", "--set", "evaluation.prompts=8"]
    assert "warning: no candidate can pass with 8 prompts" in CliRunner().invoke(cli.app, few).stderr
    assumed = [*few, "--set", "evaluation.rare_losses=assume_none"]
    assert CliRunner().invoke(cli.app, assumed).stderr == ""
    strict = ["eval", "a.py", "b.py", "--max-quality-loss", "0.01"]
    assert "no candidate can pass with 128 prompts" in CliRunner().invoke(cli.app, strict).stderr


def test_a_run_warns_of_too_few_prompts_once(monkeypatch, tmp_path):
    monkeypatch.setattr(cli.driver, "run", lambda *_: [record()])
    files = ["--anno", "anno.json", "--gen", "gen.json", "--out", str(tmp_path), "--set", "evaluation.prompts=8"]
    assert CliRunner().invoke(cli.app, ["run", *files]).stderr.count("no candidate can pass") == 1


@pytest.mark.parametrize("command", [["run", "--anno", "a", "--gen", "g", "--out", "o"], ["eval", "a.py", "b.py"]])
def test_a_calibration_that_cannot_be_read_is_said_in_one_line(command, monkeypatch, tmp_path, capsys):
    path = tmp_path / "none.json"
    monkeypatch.setattr(sys, "argv", ["diffharness", *command, "--set", f"pool.calibration={path}"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert f"error: {path}: the calibration cannot be read" in capsys.readouterr().err


def test_a_run_ends_with_the_gpus_that_it_lost(tmp_path, monkeypatch):
    lost = "gpu 3 (NVIDIA H100, GPU-1234, of node7) was taken out of use: \x1b[2J12 numbers are wrong"

    def run(*_):
        write_run_info(tmp_path, {"config": {}}, [])
        write_end(tmp_path, {}, {}, [lost])
        return [record()]

    monkeypatch.setattr(cli.driver, "run", run)
    files = ["--anno", "anno.json", "--gen", "gen.json", "--out", str(tmp_path)]
    shown = CliRunner().invoke(cli.app, ["run", *files]).output
    assert "gpu 3 (NVIDIA H100, GPU-1234, of node7) was taken out of use: \\x1b[2J12 numbers are wrong" in shown
    write_end(tmp_path, {}, {}, [])
    assert read_out_of_use(tmp_path) == []
