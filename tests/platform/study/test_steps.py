"""Steps are real commands: what is finished is skipped, what changed is done again, what fails ends the study."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.study.steps import Step, StudyError, run_steps

PYTHON = (sys.executable, "-c")
APPEND = "import os, sys; open(sys.argv[1], 'a').write(os.environ['WORD']); print('wrote', os.environ['WORD'])"


def step(name: str, file: Path, word: str, **depends: str) -> Step:
    return Step(name, PYTHON, (APPEND, str(file)), {"WORD": word}, depends)


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    file, said = tmp_path / "written", []
    steps = [step("one", file, "a"), step("two", file, "b")]
    run_steps(steps, tmp_path / "work", said.append)
    assert file.read_text() == "ab"
    assert (tmp_path / "work/logs/two.log").read_text() == "wrote b\n"
    run_steps(steps, tmp_path / "work", said.append)
    assert file.read_text() == "ab"
    assert said[-2:] == ["[1/2] one: done before", "[2/2] two: done before"]
    assert len(said) == 2 * 2 + 2
    run_steps([], tmp_path / "work", said.append)


@pytest.mark.parametrize("changed", ["argument", "environment", "dependency"])
def test_a_step_that_changed_is_done_again(tmp_path: Path, changed: str) -> None:
    file, other = tmp_path / "written", tmp_path / "other"
    run_steps([step("one", file, "a", model="1"), step("two", file, "b")], tmp_path, print)
    new = {
        "argument": step("one", other, "c", model="1"),
        "environment": step("one", file, "c", model="1"),
        "dependency": step("one", file, "a", model="2"),
    }[changed]
    run_steps([new, step("two", file, "b")], tmp_path, print)
    assert file.read_text() + (other.read_text() if other.exists() else "") == "ab" + new.environment["WORD"]


def test_another_way_to_start_the_program_changes_nothing(tmp_path: Path) -> None:
    run_steps([step("one", tmp_path / "written", "a")], tmp_path, print)
    nowhere = Step("one", ("/no/such/program",), (APPEND, str(tmp_path / "written")), {"WORD": "a"})
    run_steps([nowhere], tmp_path, print)
    assert (tmp_path / "written").read_text() == "a"


def test_a_failure_ends_the_study_with_the_end_of_its_log(tmp_path: Path) -> None:
    file = tmp_path / "written"
    fails = "import sys; [print('line', n) for n in range(30)]; sys.exit('no space left')"
    steps = [step("one", file, "a"), Step("broken", PYTHON, (fails,)), step("three", file, "c")]
    with pytest.raises(StudyError) as error:
        run_steps(steps, tmp_path, print)
    said = str(error.value)
    assert said.startswith(f"broken failed with exit code 1; its log {tmp_path}/logs/broken.log ends:\n")
    assert said.endswith("line 29\n  no space left")
    assert "line 10" not in said
    assert file.read_text() == "a"
    mended = Step("broken", PYTHON, ("print('mended')",))
    run_steps([steps[0], mended, steps[2]], tmp_path, print)
    assert file.read_text() == "ac"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="one: /no/such/program cannot be started"):
        run_steps([Step("one", ("/no/such/program",), ())], tmp_path, print)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identity": "another"}'])
def test_a_mark_that_says_nothing_marks_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "done/one.json").write_text(content)
    run_steps([step("one", tmp_path / "written", "a")], tmp_path, print)
    assert (tmp_path / "written").read_text() == "a"


def test_a_name_becomes_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not allowed"):
        Step("../one", PYTHON, ())


STUDY = """
import sys
from pathlib import Path
from hydrapicker.study.steps import Step, run_steps
folder = Path(sys.argv[1])
wait = '''
import os, sys, time
from pathlib import Path
Path("pid").write_text(str(os.getpid()))
time.sleep(0 if Path("go").exists() else 600)
'''
run_steps([Step("first", (sys.executable, "-c"), ("",)), Step("waits", (sys.executable, "-c"), (wait,))], folder, print)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_its_command_along_and_goes_on_later(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-u", "-c", STUDY, str(tmp_path)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as study:
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        study.send_signal(number)
        assert study.wait(timeout=60) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert {path.name for path in (tmp_path / "done").iterdir()} == {"first.json"}
    (tmp_path / "go").touch()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "[1/2] first: done before" in again.stdout
    assert "[2/2] waits: done in" in again.stdout
