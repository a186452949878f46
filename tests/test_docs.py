"""What the documents say of the code is what the code says."""

import re
from pathlib import Path

import pytest

from pairlock._core.states import TRANSITIONS
from pairlock.errors import wire_errors

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_diagram_of_states_shows_every_transition_and_no_other() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert sorted(drawn) == sorted((was.value, to.value, event.value) for (was, event), to in TRANSITIONS.items())


def test_the_http_page_names_only_errors_that_exist_with_their_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", (ROOT / "docs/http.md").read_text(), re.MULTILINE)
    assert rows
    for code, status in rows:
        assert wire_errors()[code].status == int(status), code


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_readme_shows_fewer_than_25_lines_to_mount_and_guard_an_app() -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n")
    block = next(block for block in blocks if "protect(" in block).split("```")[0]
    assert len([line for line in block.splitlines() if line.strip()]) < 25
