"""Joining the annotation file and the generated file, and what is said where they are wrong."""

import json
from pathlib import Path

import pytest

from harness.tasks import Difficulty, Pair, TaskError, Unpaired, load_pairs


class Files:
    """An annotation file, a generated file and the model files that they name, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.tasks = folder / "tasks"
        self.candidates = folder / "candidates"
        self.tasks.mkdir()
        self.candidates.mkdir()
        (self.tasks / "reference.py").touch()
        (self.tasks / "baseline.py").touch()
        self.anno = self.tasks / "anno.json"
        self.gen = self.candidates / "gen.json"
        self.write([task(7)], [candidate(7)])

    def write(self, anno=None, gen=None):
        if anno is not None:
            self.anno.write_text(json.dumps(anno), encoding="utf-8")
        if gen is not None:
            self.gen.write_text(json.dumps(gen), encoding="utf-8")

    def load(self, anno=None, gen=None, keys=None):
        self.write(anno, gen)
        return load_pairs(self.anno, self.gen, keys)

    def problems(self, anno=None, gen=None, keys=None):
        with pytest.raises(TaskError) as caught:
            self.load(anno, gen, keys)
        return str(caught.value).splitlines()

    def problem(self, anno=None, gen=None, keys=None):
        (line,) = self.problems(anno, gen, keys)
        return line


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def task(prompt_id, **changed):
    entry = {
        "prompt_id": prompt_id,
        "prompt_context": "Make it at least 1.8x faster.",
        "difficulty": "easy",
        "gt_file": "reference.py",
        "baseline_file": "baseline.py",
    }
    return entry | changed


def candidate(prompt_id, **changed):
    return {"prompt_id": prompt_id, "gen_file": f"{prompt_id}.py"} | changed


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


def test_a_pair_has_the_task_and_the_candidate(files):
    (pair,) = files.load([task(7, difficulty="hard", level=4)], [candidate(7)])
    assert pair.task.prompt_id == "7"
    assert pair.task.context == "Make it at least 1.8x faster."
    assert pair.task.difficulty is Difficulty.HARD
    assert pair.task.level == 4
    assert pair.task.requirement.speedup == 1.8
    assert pair.task.reference_file == files.tasks / "reference.py"
    assert pair.task.baseline_file == files.tasks / "baseline.py"
    assert pair.candidate_file == files.candidates / "7.py"


def test_pairs_come_in_the_order_of_the_annotation_file(files):
    pairs = files.load([task(9), task(2), task("b")], [candidate("b"), candidate(2), candidate(9)])
    assert [pair.task.prompt_id for pair in pairs] == ["9", "2", "b"]
    assert [pair.candidate_file.name for pair in pairs] == ["9.py", "2.py", "b.py"]


def test_a_number_and_a_text_are_the_same_id(files):
    pairs = files.load([task(7), task("8")], [candidate("7"), candidate(8)])
    assert [pair.task.prompt_id for pair in pairs] == ["7", "8"]
    assert all(isinstance(pair, Pair) for pair in pairs)


def test_ids_without_a_partner_are_kept_tasks_at_their_place_and_candidates_at_the_end(files):
    pairs = files.load([task(1), task(2), task(3)], [candidate(4), candidate(2)])
    assert pairs == [
        Unpaired("1", pairs[0].task, None),
        Pair(pairs[1].task, files.candidates / "2.py"),
        Unpaired("3", pairs[2].task, None),
        Unpaired("4", None, files.candidates / "4.py"),
    ]
    assert [pair.task.prompt_id for pair in pairs[:3]] == ["1", "2", "3"]


def test_a_candidate_file_need_not_exist(files):
    pairs = files.load(gen=[candidate(7, gen_file="never/written.py")])
    assert not pairs[0].candidate_file.exists()


def test_paths_may_be_absolute(files, tmp_path):
    (tmp_path / "elsewhere.py").touch()
    absolute = str(tmp_path / "elsewhere.py")
    pairs = files.load([task(7, gt_file=absolute)], [candidate(7, gen_file=absolute)])
    assert pairs[0].task.reference_file == pairs[0].candidate_file == tmp_path / "elsewhere.py"


def test_paths_are_absolute_even_where_the_json_file_is_named_relatively(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = load_pairs(Path("tasks/anno.json"), Path("candidates/gen.json"))
    assert pairs[0].task.baseline_file == files.tasks / "baseline.py"
    assert pairs[0].candidate_file == files.candidates / "7.py"


def test_fields_override_the_text(files):
    pairs = files.load([task(7, req_speedup=2, req_latency_s=0.5, max_quality_loss=0)])
    requirement = pairs[0].task.requirement
    assert (requirement.speedup, requirement.latency_s, requirement.max_quality_loss) == (2.0, 0.5, 0.0)


def test_null_is_as_good_as_no_key_where_it_is_optional(files):
    pairs = files.load([task(7, req_speedup=None, level=None)])
    assert (pairs[0].task.requirement.speedup, pairs[0].task.level) == (1.8, None)


def test_a_byte_order_mark_does_no_harm(files):
    files.anno.write_text(json.dumps([task(7, prompt_context="加速 2 倍")], ensure_ascii=False), encoding="utf-8-sig")
    pairs = files.load()
    assert pairs[0].task.requirement.speedup == 2.0


def test_keys_can_have_other_names(files):
    keys = {"prompt_id": "id", "gt_file": "ground_truth", "gen_file": "code"}
    anno = [without(without(task(7), "prompt_id"), "gt_file") | {"id": 7, "ground_truth": "reference.py"}]
    pairs = files.load(anno, [{"id": "7", "code": "x.py"}], keys)
    assert pairs[0].task.reference_file.name == "reference.py"
    assert pairs[0].candidate_file.name == "x.py"


def test_a_key_that_has_another_name_is_unknown_under_its_own(files):
    lines = files.problems([task(7)], [{"id": 7, "gen_file": "x.py"}], {"prompt_id": "id"})
    assert any("'prompt_id' is no known key" in line for line in lines)
    assert any("'id' is missing" in line for line in lines)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"promptid": "id"}, ["task_keys", "'promptid'", "did you mean 'prompt_id'"]),
        ({"gt_file": "baseline_file"}, ["task_keys", "'gt_file'", "'baseline_file'"]),
        ({"prompt_id": "x", "gen_file": "x"}, ["task_keys", "'prompt_id'", "'gen_file'", "'x'"]),
    ],
)
def test_a_wrong_mapping_of_keys_is_said(files, keys, said):
    line = files.problem(keys=keys)
    assert all(part in line for part in said), line


def test_one_name_may_stand_for_keys_of_different_files(files):
    anno = [without(task(7), "gt_file") | {"file": "reference.py"}]
    pairs = files.load(anno, [{"prompt_id": 7, "file": "x.py"}], {"gt_file": "file", "gen_file": "file"})
    assert pairs[0].candidate_file.name == "x.py"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dificulty": "easy"}, ["'dificulty' is no known key", "did you mean 'difficulty'"]),
        ({"qqqqqq": 1}, ["'qqqqqq' is no known key", "prompt_context"]),
        ({"difficulty": "Hard"}, ["'difficulty'", '"Hard"', "easy, medium, hard"]),
        ({"difficulty": ["easy"]}, ["'difficulty'", "easy, medium, hard"]),
        ({"difficulty": None}, ["'difficulty'", "null"]),
        ({"level": 0}, ["'level' is 0", "1 to 5"]),
        ({"level": 6}, ["'level' is 6"]),
        ({"level": 2.0}, ["'level' is 2.0"]),
        ({"level": True}, ["'level' is true"]),
        ({"level": "3"}, ["'level'", '"3"']),
        ({"prompt_context": 5}, ["'prompt_context' is 5", "text"]),
        ({"prompt_context": "\ud800"}, ["'prompt_context'"]),
        ({"req_speedup": "1.8x"}, ["'req_speedup'", '"1.8x"', "above 0"]),
        ({"req_speedup": True}, ["'req_speedup' is true"]),
        ({"req_speedup": 0}, ["'req_speedup' is 0"]),
        ({"req_speedup": -1.5}, ["'req_speedup' is -1.5"]),
        ({"req_speedup": float("nan")}, ["'req_speedup' is NaN"]),
        ({"req_latency_s": float("inf")}, ["'req_latency_s' is Infinity"]),
        ({"req_latency_s": 10**400}, ["'req_latency_s' is 1000"]),
        ({"max_quality_loss": 5}, ["'max_quality_loss' is 5", "0.05"]),
        ({"max_quality_loss": 1}, ["'max_quality_loss' is 1"]),
        ({"max_quality_loss": -0.01}, ["'max_quality_loss' is -0.01"]),
        ({"max_quality_loss": False}, ["'max_quality_loss' is false"]),
        ({"gt_file": "none.py"}, ["'gt_file'", '"none.py"', "there is no file", "tasks/none.py"]),
        ({"baseline_file": "none.py"}, ["'baseline_file'", "there is no file"]),
        ({"baseline_file": "."}, ["'baseline_file'", "there is no file"]),
        ({"baseline_file": ""}, ["'baseline_file'", "path"]),
        ({"baseline_file": None}, ["'baseline_file' is null"]),
        ({"baseline_file": "x" * 5000}, ["'baseline_file'"]),
        ({"gt_file": "a\0b"}, ["'gt_file'", "path"]),
    ],
)
def test_what_is_wrong_in_an_entry_is_said_with_file_entry_and_key(files, changed, said):
    line = files.problem([task(1), task(7, **changed)])
    where = f"{files.anno}: entry 2 of 2 (prompt_id 7): "
    assert line.startswith(where)
    assert all(part in line for part in said), line


@pytest.mark.parametrize("key", ["prompt_context", "difficulty", "gt_file", "baseline_file"])
def test_a_missing_key_is_said(files, key):
    assert files.problem([without(task(7), key)]) == f"{files.anno}: entry 1 of 1 (prompt_id 7): '{key}' is missing"


@pytest.mark.parametrize("prompt_id", [None, True, 7.0, "", "  ", [7], {"a": 1}, "a\nb", "\ud800"])
def test_an_id_is_a_whole_number_or_a_name(files, prompt_id):
    line = files.problem([task(7), task(prompt_id)])
    assert line.startswith(f"{files.anno}: entry 2 of 2: 'prompt_id' is ")


@pytest.mark.parametrize("gen_file", [None, 3, "", "a\0b", "\ud800.py"])
def test_a_candidate_file_must_be_a_path(files, gen_file):
    line = files.problem(gen=[candidate(7, gen_file=gen_file)])
    assert line.startswith(f"{files.gen}: entry 1 of 1 (prompt_id 7): 'gen_file' is ")


def test_an_id_that_is_there_twice_is_said_with_both_entries(files):
    line = files.problem([task(7), task(8), task("7")])
    assert line.startswith(f"{files.anno}: entry 3 of 3 (prompt_id 7): ")
    assert "entry 1" in line
    line = files.problem([task(7)], [candidate(7), candidate(7)])
    assert line.startswith(f"{files.gen}: entry 2 of 2 (prompt_id 7): ")


def test_a_key_that_is_there_twice_is_said(files):
    files.gen.write_text('[{"prompt_id": 7, "gen_file": "a.py", "gen_file": "b.py"}]')
    assert "'gen_file' is there twice" in files.problem()


@pytest.mark.parametrize("entry", [5, "a.py", None, ["a.py"]])
def test_an_entry_is_an_object(files, entry):
    line = files.problem(gen=[candidate(7), entry])
    assert line.startswith(f"{files.gen}: entry 2 of 2: is {json.dumps(entry)}; write an object")
    assert "prompt_id, gen_file" in line


@pytest.mark.parametrize("content", [{}, {"prompt_id": 7}, "text", 5, None])
def test_a_file_is_a_list(files, content):
    files.gen.write_text(json.dumps(content))
    assert files.problem() == f"{files.gen}: is {json.dumps(content)}; write a list of entries, [{{...}}, ...]"


def test_a_list_has_entries(files):
    assert files.problem(gen=[]).startswith(f"{files.gen}: has no entries")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "line 1, column 1"),
        (b'[\n  {"prompt_id": 7,}\n]', "line 2, column"),
        (b'{"prompt_id": 7, "gen_file": "a.py"}\n{"prompt_id": 8, "gen_file": "b.py"}', "line 2, column 1"),
        (b"def load_pipe():", "line 1, column 1"),
        (b'[\n"\xff"]', "line 2 is not UTF-8"),
        ("[]".encode("utf-16"), "line 1 is not UTF-8"),
        (b"[" * 200_000, "is no JSON that can be read"),
        (b"[" + b"1" * 10_000 + b"]", "is no JSON that can be read"),
    ],
)
def test_a_file_that_is_no_json_is_said_with_the_place(files, content, where):
    files.gen.write_bytes(content)
    line = files.problem()
    assert line.startswith(f"{files.gen}: ")
    assert where in line


def test_a_file_that_cannot_be_read_is_said(files):
    files.gen.unlink()
    assert "No such file" in files.problem()
    files.gen.mkdir()
    assert "Is a directory" in files.problem()


def test_all_problems_of_both_files_come_at_once(files):
    lines = files.problems(
        [task(1, level=9, colour="red"), without(task(2), "difficulty"), task(3)],
        [candidate(1), candidate(1), {"prompt_id": 3}],
    )
    assert len(lines) == 5
    assert [line.split(":")[0] for line in lines] == [str(files.anno)] * 3 + [str(files.gen)] * 2


def test_the_problems_of_a_file_that_is_wrong_throughout_are_cut_short(files):
    lines = files.problems([task(number, colour="red") for number in range(400)])
    assert len(lines) < 100
    assert lines[-1] == f"... and {400 - (len(lines) - 1)} more problems"
