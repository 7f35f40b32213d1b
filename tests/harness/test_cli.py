"""What the commands do around the functions that they call."""

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
