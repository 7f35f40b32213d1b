"""What the commands do around the functions that they call."""

from typer.testing import CliRunner

from actors.messages import Status
from harness import cli
from harness.config import ConfigError
from harness.judge import judged
from tests.harness.record_samples import STRICT, unmeasured


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
