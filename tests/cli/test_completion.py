"""`pairlock completion`: what shells complete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairlock.cli.completion import completion
from pairlock.cli.outcomes import USAGE
from tests.cli.parts import COMMAND, TIMEOUT, Cli, end_of, environment, examples_of, in_terminal, run_example

BIN = Path(sys.executable).parent
COMPLETE = """
source <(pairlock completion bash)
COMP_WORDS=({line})
COMP_CWORD={at}
_pairlock_completion pairlock
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("shell", "said"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef pairlock"), ("fish", "complete --no-files")],
)
def test_each_shell_has_its_script(cli: Cli, shell: str, said: str) -> None:
    assert said in cli("completion", shell).out
    assert said in cli("completion", shell, "--json").json["script"]


def test_other_shells_are_refused(cli: Cli) -> None:
    assert cli("completion", "tcsh").code == USAGE


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("pairlock dev", ["devices"]),
        ("pairlock devices re", ["rename", "revoke", "revoke-all"]),
        ("pairlock window --h", ["--help"]),
        ("pairlock audit --type win", ["window_opened", "window_closed"]),
        ("pairlock completion b", ["bash"]),
    ],
)
def test_bash_completes_commands_options_and_choices(tmp_path: Path, line: str, completed: list[str]) -> None:
    script = COMPLETE.format(line=line, at=len(line.split()) - 1)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment({"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (completed, "")


def test_it_works_in_a_terminal(tmp_path: Path) -> None:
    with in_terminal("completion", "bash", cwd=tmp_path, command=COMMAND) as child:
        ended = end_of(child)
    assert (ended.code, "_pairlock_completion()" in ended.out) == (0, True)


@pytest.mark.parametrize("example", examples_of(completion))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    ended = run_example(example, tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert "pairlock" in (tmp_path / example.split(" > ")[1]).read_text()
