"""A run that is submitted as a job to a Ray cluster, by the script that users call."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from harness.result_set import ResultSet
from tests.actors.model_files import HONEST

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster():
    """The address of a cluster of one node, started as an administrator would, and ended by its process group."""
    dashboard = free_port()
    # Short: the path of a Unix socket ends at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
        ports = [
            f"--port={free_port()}",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={free_port()}",
        ]
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        head = subprocess.Popen(
            [*command, *ports, f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}"],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(dashboard, head)
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            head.terminate()
            try:
                head.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)


def wait_for(port: int, head: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert head.poll() is None, "ray start ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the dashboard does not answer")


def submit(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ROOT / "run_cluster.sh", *map(str, arguments)],
        env={**os.environ, "PYTHON": sys.executable, "RAY": str(BIN / "ray"), **environment},
        capture_output=True,
        text=True,
        timeout=800,
    )


def test_a_submitted_run_leaves_its_result_set(cluster, tmp_path):
    baseline, fails = tmp_path / "baseline.py", tmp_path / "fails.py"
    baseline.write_text(HONEST)
    fails.write_text(f"{HONEST}\nraise RuntimeError('no luck')\n")
    task = {"prompt_context": "", "difficulty": "easy", "gt_file": str(baseline), "baseline_file": str(baseline)}
    tasks = [{"prompt_id": n, **task} for n in (1, 2)]
    candidates = [{"prompt_id": n, "gen_file": str(file)} for n, file in ((1, baseline), (2, fails))]
    (tmp_path / "anno.json").write_text(json.dumps(tasks))
    (tmp_path / "gen.json").write_text(json.dumps(candidates))
    overrides = [
        "evaluation.prompts=2",
        "evaluation.batch_size=1",
        "evaluation.max_warmup_batches=2",
        "sandbox.tiers=[bwrap,process]",
        "sandbox.preimports=[torch]",
    ]
    done = submit(
        *("--anno", tmp_path / "anno.json", "--gen", tmp_path / "gen.json", "--out", tmp_path / "out"),
        *("--config", "configs/quickstart.yaml"),
        *(part for override in overrides for part in ("--set", override)),
        RAY_ADDRESS=cluster,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = {record.prompt_id: str(record.status) for record in ResultSet.load(tmp_path / "out")}
    assert statuses == {"1": "measured", "2": "load_error"}


@pytest.mark.parametrize(
    ("given", "configs"),
    [
        (["--config", "my.yaml"], ["--config my.yaml"]),
        (["--config=my.yaml"], ["--config=my.yaml"]),
        ([], ["--config configs/cluster.yaml"]),
    ],
)
def test_the_script_adds_a_configuration_where_none_is_given(given, configs):
    done = submit("--out=/shared/x", *given, RAY="echo")
    assert re.findall(r"--config\S* ?\S+", done.stdout) == configs


def test_a_folder_that_would_be_thrown_away_is_refused():
    done = submit("--anno", "a.json", "--gen", "g.json", "--out", "results/x")
    assert done.returncode == 2
    assert "absolute" in done.stderr


def test_without_arguments_the_script_explains_itself():
    done = submit()
    assert done.returncode == 2
    assert "RAY_ADDRESS=" in done.stdout
