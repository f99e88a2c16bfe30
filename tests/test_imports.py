"""The one-way order of the packages: a module may import its own level and those below it, never one above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "lauragpt"
# From the ground up. What stands in one row is of one level.
LEVELS = (
    ("errors", "tasks", "files"),
    ("containers", "mixing", "samples"),
    ("decoders",),
    (
        "audio", "spoken", "text", "subtitles", "result", "features", "streaming", "sequence", "source_filter", "ctc", "ctc_units",
        "checkpoint", "adapters", "stored_weights", "__init__",
    ),
    ("codec",),
    ("model",),
    ("engine",),
    ("data", "evaluate"),
    ("doctor",),
    ("train", "mapping"),
    ("claims",),
    ("serve", "cli"),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def part_of(module: str) -> str:
    """`lauragpt.engine.runtime` -> `engine`; `lauragpt` itself -> `__init__`."""
    return [*module.split("."), "__init__"][1]


def imports(path: Path) -> set[str]:
    """The parts of lauragpt that a file imports, also within functions and for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {part_of(alias.name) for alias in node.names if alias.name.split(".")[0] == "lauragpt"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: say the whole name"
            if node.module == "lauragpt":
                found |= {alias.name if alias.name in LEVEL else "__init__" for alias in node.names}
            elif node.module.startswith("lauragpt."):
                found.add(part_of(node.module))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    assert own in LEVEL, f"{own} has no level yet: give it one above"
    allowed = {"engine"} if path == ROOT / "__init__.py" else set()  # the front door opens `Laura` when it is asked for
    wrong = {part for part in imports(path) - allowed if LEVEL[part] > LEVEL[own]}
    assert not wrong, f"{own} imports {', '.join(sorted(wrong))}, which stand above it"


def test_data_does_not_know_evaluation():
    assert not any("evaluate" in imports(path) for path in FILES if path.parent.name == "data")
