"""Runs the code in README.md and docs/, each document in a folder of its own."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

HERE = Path.cwd()


def move_away(namespace: dict[str, Any]) -> None:
    namespace["folder"] = TemporaryDirectory()
    os.chdir(namespace["folder"].name)
    os.environ["OPERATOR_TOKEN"] = "the-operator-token-of-the-readme"


def move_back(namespace: dict[str, Any]) -> None:
    os.chdir(HERE)
    namespace["folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=move_away,
    teardown=move_back,
).pytest()
