"""Sources that attack whoever reads them: each is a bad source, and the reader goes on."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from actors.messages import Job, Status
from actors.model_config import ModelConfig
from harness import driver
from harness.config import Config
from harness.modelfile import ModelFileError, Problem, ReaderError, reader
from harness.modelfile.answer import BadAnswer, answer, checked
from harness.modelfile.follow import ends_the_process
from harness.modelfile.reader import Reader, facts_of, read_sources
from harness.modelfile.source import ReadingLimits, read_source
from harness.planning import FileReader
from tests.harness.test_driver import planned, run_again, source

UNKNOWN = ModelConfig(None, None, None, None)
HONEST = b"def load_pipe(): pass\n"
LIMITS = ReadingLimits(cpu_s=2, wall_s=60, memory_bytes=1 << 29)
# A server whose forks do what a source bids them, as if its bytes had taken them over.
OBEYS = """
import sys; sys.path.append(sys.argv[1])
from harness.modelfile import server
import os, time
read, start = server.answer, server.Server._start
def answer(source, path):
    exec(source[4:].partition(b"\\n")[0] if source.startswith(b"#DO ") else b"")
    return said.pop() if said else read(source, path)
def start_or_end(self, number, path, source):
    if source.startswith(b"#END"):
        os._exit(9)
    start(self, number, path, source)
said = []
server.answer, server.Server._start = answer, start_or_end
server.main()
"""


@pytest.fixture
def obeying(monkeypatch):
    """A reader whose forks run a source that begins with #DO, and whose server ends at one that begins with #END."""
    monkeypatch.setattr(reader, "BOOT", OBEYS)
    made = Reader(LIMITS)
    yield made
    made.end()


@pytest.fixture(scope="module")
def strict():
    """A reader with little time and memory for each file."""
    made = Reader(LIMITS)
    yield made
    made.end()


def facts(of: Reader, source: bytes, name: str = "/folder/model.py"):
    (found,) = of.read([(Path(name), source)])
    return found


DIGITS = "f" * 5000
GIANT_NUMBERS = {
    "called": f"(0x{DIGITS})()",
    "with an attribute": f"f(0x{DIGITS}).g()",
    "in an argument": f"os._exit(-0x{DIGITS})",
    "in a formatted text": f"x = f'{{0x{DIGITS}}}'\nx()",
    "added up": f"x = 0x{DIGITS} + 1\nstr(x)\nint(x)()",
    "as steps": f"p(num_inference_steps=0x{DIGITS})",
    "in a pattern": f"match x:\n  case 0x{DIGITS}:\n    pass",
    "a megabyte of it": "x = 0x" + "f" * 900_000 + "\nx.y()",
}
ALL_OPEN = {
    **GIANT_NUMBERS,
    "nested loops": "".join(" " * depth + "for x in y:\n" for depth in range(90)) + " " * 90 + "z = 1",
    "nested while": "".join(" " * depth + "while x(y):\n" for depth in range(90)) + " " * 90 + "z = f(z)",
    "nested comprehensions": "x = " + "[" * 60 + "1" + " for a in b]" * 60,
    "many comprehensions": "x = " + " + ".join(["[a for a in b]"] * 900),
    "many parameters": "def f(" + ", ".join(f"a{n}" for n in range(30_000)) + "): pass\n" + "f()\n" * 9000,
    "many targets": "def f():\n  " + "a, " * 60_000 + "b = x\n" + "f()\n" * 9000,
    "a long text in parts": f"x = '{'a' * 4000}'\n" + "y = f'" + "{x}" * 3000 + "'\n",
    "a large honest file": "setting_of_the_pipeline = compute(argument, keyword=12345)\n" * 8_000,
}
TOO_DEEP = {
    "brackets": "x = " + "(" * 100_000,
    "signs": "x = " + "-" * 200_000 + "1",
    "attributes": "x = a" + ".b" * 100_000,
    "calls": "x" + "()" * 100_000,
    "formatted texts": "x = " + "f'{" * 60 + "}'" * 60,
}
NO_SOURCE = {
    **TOO_DEEP,
    "null bytes": "x = 1\0\n",
    "nothing but null bytes": "\0" * 500_000,
    "half of a pair": "x = '\ud800'",
    "half of a pair in a name": "x\udfff = 1",
    "half of a pair in bytes": "pipe = b'\udbff'",
    "a huge line": "x = " + "a" * 500_000 + " b",
    "a huge line without an end": "x = '" + "a" * 900_000,
    "digits": "x = " + "9" * 5000,
    "an unknown codec": "# coding: no-such-codec",
}


@pytest.mark.parametrize("source", ALL_OPEN.values(), ids=ALL_OPEN)
def test_a_source_that_is_large_or_odd_leaves_its_facts_open(source):
    assert read_sources([(Path("/m.py"), f"pipe = 1\n{source}\n".encode())]) == [UNKNOWN]


@pytest.mark.parametrize("source", NO_SOURCE.values(), ids=NO_SOURCE)
def test_what_no_python_can_parse_is_said_in_a_line(strict, source):
    error = facts(strict, source.encode(errors="surrogatepass"))
    assert isinstance(error, ModelFileError)
    assert error.kind in (Problem.SYNTAX, Problem.TOO_MUCH)
    assert str(error).startswith("/folder/model.py:")
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize("codec", ["utf-8", "latin-1", "cp1252", "shift_jis", "utf-7", "koi8-r", "big5"])
def test_a_fork_that_can_open_no_file_knows_every_codec_and_name(codec):
    text = f"# coding: {codec}\nfrom diffusers import APipeline\npipe = APipeline.from_pretrained('\\N{{BULLET}}')"
    assert read_sources([(Path("/m.py"), text.encode())])[0].model_id == "•"


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("__import__('ctypes').string_at(0)", "SIGSEGV"),
        ("os.kill(0, 9)", "SIGKILL"),
        ("os.abort()", "SIG"),
        ("os._exit(0)", "no answer that can be used"),
        ("os._exit(3)", "broke off"),
        ("while True: pass", "2 s of the CPU"),
        ("x = bytearray(1 << 30)", "512 MiB"),
        ("said.append(b'[' * 30_000)", "no answer that can be used"),
        ("said.append(b'x' * 40_000)", "more than 32,768 bytes"),
        ("said.append(bytes(range(256)))", "no answer that can be used"),
        ("os.write(0, b'{}')", "no answer that can be used"),
    ],
)
def test_whatever_becomes_of_a_fork_is_the_files_own_affair(obeying, deed, said):
    hostile, honest = obeying.read([(Path("/bad.py"), b"#DO " + deed.encode()), (Path("/good.py"), HONEST)])
    assert hostile.kind is Problem.TOO_MUCH
    assert str(hostile).startswith("/bad.py: ")
    assert said in str(hostile)
    assert "make it shorter" in str(hostile)
    assert honest == UNKNOWN


def test_a_fork_that_hangs_ends_at_its_wall_time(monkeypatch):
    monkeypatch.setattr(reader, "BOOT", OBEYS)
    hasty = Reader(ReadingLimits(wall_s=1))
    assert "more than 1 s" in str(facts(hasty, b"#DO time.sleep(600)"))
    hasty.end()


@pytest.mark.parametrize(
    "deed",
    [
        "open('/etc/passwd')",
        "open('/tmp/reader-was-here', 'w')",
        "os.open('.', 0)",
        "os.pipe()",
        "os.dup(0)",
        "os.kill(os.getppid(), 9)",
        "__import__('socket').socket()",
        "os.setuid(0) if os.getuid() else os.chown('/tmp', 0, 0)",
    ],
)
def test_a_fork_can_open_nothing_and_signal_nobody(obeying, deed):
    # What raises ends the fork with a code, what works lets it answer.
    assert "broke off" in str(facts(obeying, b"#DO " + deed.encode()))
    assert not Path("/tmp/reader-was-here").exists()


def test_a_fork_has_no_descriptor_but_its_own(obeying):
    open_ones = b"[fd for fd in range(300) if os.path.exists(fd)]"
    assert "broke off" in str(facts(obeying, b"#DO assert " + open_ones + b" != [0, 1, 2]"))


def test_a_file_that_ends_the_server_costs_no_other_file_its_facts(obeying):
    sources = [HONEST, HONEST, b"#END", HONEST, b"#END", HONEST]
    found = obeying.read([(Path(f"/{number}.py"), one) for number, one in enumerate(sources)])
    assert [one == UNKNOWN for one in found] == [True, True, False, True, False, True]
    assert found[2].kind is Problem.TOO_MUCH
    assert str(found[2]).startswith("/2.py: ended the process")


def test_a_server_that_somebody_kills_is_started_again(obeying):
    assert facts(obeying, HONEST) == UNKNOWN
    obeying.process.kill()
    assert facts(obeying, HONEST) == UNKNOWN
    killer = threading.Timer(0.5, lambda: obeying.process.kill())
    killer.start()
    assert facts(obeying, b"#DO time.sleep(1)\n" + HONEST) == UNKNOWN, "it is read once more, alone"


def test_a_machine_that_cannot_start_the_server_says_so(monkeypatch):
    monkeypatch.setattr(reader, "BOOT", "raise SystemExit('there is no harness')")
    with pytest.raises(ReaderError, match="there is no harness"):
        facts(Reader(), HONEST)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ReaderError, match="cannot start"):
        facts(Reader(), HONEST)
    with pytest.raises(ReaderError, match="unavailable"):
        facts_of(Path("/m.py"), {"ended": "no process", "why": "temporarily unavailable"}, b"", LIMITS)


def test_answers_come_in_the_order_of_the_files(obeying):
    obeying.places = 3
    pauses = [0.4, 0, 0.2, 0, 0.1, 0]
    made = [f"#DO time.sleep({pause})\nfrom diffusers import X{n}Pipeline" for n, pause in enumerate(pauses)]
    files = [(Path(f"/{n}.py"), f"{one}\npipe = X{n}Pipeline()".encode()) for n, one in enumerate(made)]
    assert [one.pipeline_class for one in obeying.read(files)] == [f"X{n}Pipeline" for n in range(6)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_and_its_forks_end_with_the_driver(number):
    program = (
        "from pathlib import Path; from harness.modelfile import reader\n"
        f"reader.BOOT = {OBEYS!r}\n"
        "reader._reader._serving(); print(reader._reader.process.pid, flush=True)\n"
        "reader.read_sources([(Path('/m.py'), b'#DO time.sleep(600)')])"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root)
    server = psutil.Process(int(process.stdout.readline()))
    deadline = time.monotonic() + 20
    while not server.children() and time.monotonic() < deadline:
        time.sleep(0.02)
    below = [server, *server.children()]
    assert len(below) == 2
    os.kill(process.pid, number)
    process.wait()
    process.stdout.close()
    assert psutil.wait_procs(below, timeout=20)[1] == []


GOOD = json.loads(answer(HONEST, "/m.py"))["config"]


@pytest.mark.parametrize(
    "claimed",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"1" * 5000,
        b"[" * 20_000,
        {"config": None},
        {"config": {}},
        {"config": {**GOOD, "more": 1}},
        {"config": {**GOOD, "pipeline_class": 1}},
        {"config": {**GOOD, "pipeline_class": ""}},
        {"config": {**GOOD, "pipeline_class": "X" * 300}},
        {"config": {**GOOD, "scheduler_class": "\x1b[2J"}},
        {"config": {**GOOD, "model_id": "a\nb"}},
        {"config": {**GOOD, "model_id": "a\u202eb"}},
        {"config": {**GOOD, "model_id": "\ud800"}},
        {"config": {**GOOD, "model_id": "a\u3164b"}},
        {"config": {**GOOD, "model_id": ["a"]}},
        {"config": {**GOOD, "num_inference_steps": True}},
        {"config": {**GOOD, "num_inference_steps": 1.0}},
        {"config": {**GOOD, "num_inference_steps": 10**20}},
        {"config": {**GOOD, "methods": ["no such method"]}},
        {"config": {**GOOD, "methods": ["tome", "tome"]}},
        {"config": {**GOOD, "methods": [["tome"]]}},
        {"config": {**GOOD, "methods": "tome"}},
        {"problem": "unreadable", "line": 1, "text": ""},
        {"problem": [], "line": 1, "text": ""},
        {"problem": "syntax", "line": "1", "text": ""},
        {"problem": "syntax", "line": -1, "text": ""},
        {"problem": "syntax", "line": 1, "text": None},
    ],
)
def test_an_answer_is_a_claim(claimed):
    said = claimed if isinstance(claimed, bytes) else json.dumps(claimed).encode()
    with pytest.raises(BadAnswer):
        checked(said, Path("/m.py"))


def test_what_the_parser_quotes_of_a_source_steers_nothing():
    said = json.dumps({"problem": "syntax", "line": 3, "text": "\x1b[2J\u202e\n" * 900})
    error = checked(said.encode(), Path("/m.py"))
    assert str(error).startswith("/m.py:3: \\x1b[2J\\u202e\\n")
    assert str(error).isprintable()


def test_a_class_with_a_name_that_is_none_is_not_known():
    name = b"X" * 5000 + b"Pipeline"
    (found,) = read_sources([(Path("/m.py"), b"class " + name + b": pass\npipe = " + name + b"()")])
    assert found == UNKNOWN


@pytest.mark.parametrize("call", ["exit", "quit", "os._exit", "os.abort", "sys.exit", "a.sys.exit", "os.exit", "f()"])
def test_what_ends_a_program_is_known_by_its_name(call):
    ends = call not in ("a.sys.exit", "os.exit", "f()")
    assert ends_the_process(ast.parse(f"{call}()").body[0].value.func) is ends


# Runs


def test_a_file_is_opened_once_and_what_was_parsed_is_what_is_sent(tmp_path):
    path = tmp_path / "candidate.py"
    path.write_text(source())
    files = FileReader(Config())
    files.prefetch([path])
    path.write_text("x = 1")
    file, known = files.read(path)
    assert file.source == source().encode()
    assert known.sha256 == file.sha256


def test_a_file_that_cannot_be_read_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "bad.py").write_text("(")
    files = FileReader(Config())
    files.prefetch([tmp_path / "bad.py"])
    monkeypatch.setattr("harness.planning.read_source", None)
    for _ in range(2):
        with pytest.raises(ModelFileError, match=r"bad\.py:1"):
            files.read(tmp_path / "bad.py")


@pytest.mark.parametrize("name", ["candidate", "reference"])
def test_a_reader_that_dies_is_the_end_of_one_pair(tmp_path, monkeypatch, obeying, name):
    monkeypatch.setattr(reader, "_reader", obeying)
    killing = "#DO os.kill(0, 9)"
    sources = {"candidate": source(), name: killing}
    plan, _ = planned(tmp_path, **sources)
    assert plan.next.status is (Status.BAD_SOURCE if name == "candidate" else Status.BASELINE_FAILED)
    assert "SIGKILL" in plan.next.detail


def test_a_run_has_a_record_of_every_pair_and_one_bad_source(tmp_path):
    planned(tmp_path, source(steps=10))
    (tmp_path / "hostile.py").write_text("(" * 100_000)
    task = json.loads((tmp_path / "anno.json").read_text())[0]
    (tmp_path / "anno.json").write_text(json.dumps([task, {**task, "prompt_id": 8}, {**task, "prompt_id": 9}]))
    files = {7: "candidate.py", 8: "hostile.py", 9: "candidate.py"}
    gen = [{"prompt_id": number, "gen_file": file} for number, file in files.items()]
    (tmp_path / "gen.json").write_text(json.dumps(gen))
    records = driver.run(tmp_path / "anno.json", tmp_path / "gen.json", tmp_path / "out", Config())
    assert [record.status for record in records] == ["config_mismatch", "bad_source", "config_mismatch"]
    assert "hostile.py" in records[1].detail


def test_a_number_of_five_thousand_digits_does_not_end_the_run(tmp_path):
    plan, _ = planned(tmp_path, source() + f"\n(0x{DIGITS})()\n")
    assert isinstance(plan.next, Job)
    plan, _ = planned(tmp_path, source(steps=10) + f"\n(0x{DIGITS})()\n")
    assert plan.next.status is Status.CONFIG_MISMATCH, "all that it states is known"
    assert run_again(tmp_path).status is Status.CONFIG_MISMATCH


@pytest.mark.parametrize("path", ["/proc/kmsg", "/dev/zero", "/dev/null", "/proc"])
def test_a_path_that_is_no_script_is_refused_and_not_waited_for(tmp_path, path):
    link = tmp_path / "link.py"
    link.symlink_to(path)
    with pytest.raises(ModelFileError, match=r"link\.py: "):
        read_source(link)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ModelFileError, match="is not a file"):
        read_source(tmp_path / "pipe.py")
