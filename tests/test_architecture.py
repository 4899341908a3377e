"""Who may import what, held by reading the sources."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "torchcheck"
STDLIB = sys.stdlib_module_names | {"__future__"}

DOORS = {
    f"torchcheck.{name}" for name in ("host", "live", "processes", "install", "wheels.offers", "verify.runner", "cli")
}
DECIDES = DOORS | {"os", "subprocess", "socket", "urllib.request", "ctypes", "psutil", "time"}
# fmt: off
PURE_WHEELS = [
    "builds", "candidates", "catalog", "explain", "gpu_models", "gpus", "listing", "lock", "machine", "notes", "plan",
    "refuse", "request", "rules",
]
# fmt: on
# A folder or module, and what nothing in it may import, anywhere in its source.
FORBIDDEN: dict[str, set[str]] = {
    "suite": {"click", "rich", "psutil", "packaging", "numpy"},
    "suite/oracles": {"torch"},
    "native": {"torchcheck", "torch"},
    "probes": {"os", "subprocess", "ctypes", "platform", "socket"},
    **{f"wheels/{name}.py": DECIDES for name in PURE_WHEELS},
    "doctor": DECIDES,
    "report": DECIDES,
    "verify/outcome.py": DECIDES,
    "verify/fleet.py": DECIDES,
    "verify/places.py": DECIDES,
    "facts.py": {"torchcheck"},
    "errors.py": {"torchcheck"},
    "verify/runner.py": {"click", "torch", "torchcheck.probes", "torchcheck.doctor"},
}
# The same for what stands at the top level, so that it is paid by everybody who imports the module.
FORBIDDEN_ON_TOP: dict[str, set[str]] = {
    "cli": {
        "torch",
        "psutil",
        "packaging",
        "rich",
        "asyncio",
        "importlib.metadata",
        "subprocess",
    },
    "suite": {"torch"},
    "": {"pynvml", "torchvision", "torchaudio"},
}


def sources(place: str) -> list[Path]:
    path = PACKAGE / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@cache
def imports(path: Path, *, top: bool = False) -> frozenset[str]:
    """Absolute names of all modules that a source imports, and of what it takes from them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ("torchcheck", *path.relative_to(PACKAGE).parent.parts)
    names: set[str] = set()
    for node in _statements(tree) if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parts, *filter(None, [node.module])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run at import: the top level, less what stands under `if TYPE_CHECKING`."""
    found: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found += (
            [node] if not isinstance(node, ast.If | ast.Try) else [s for s in ast.walk(node) if isinstance(s, ast.stmt)]
        )
    return found


def touches(name: str, forbidden: set[str]) -> bool:
    return any(name == word or name.startswith(word + ".") for word in forbidden)


@pytest.mark.parametrize("place", FORBIDDEN)
def test_nothing_forbidden_is_imported(place: str) -> None:
    bad = {f"{p.name}: {name}" for p in sources(place) for name in imports(p) if touches(name, FORBIDDEN[place])}
    assert not bad


@pytest.mark.parametrize("place", FORBIDDEN_ON_TOP)
def test_nothing_heavy_is_imported_on_top(place: str) -> None:
    heavy = FORBIDDEN_ON_TOP[place]
    bad = {f"{p.name}: {name}" for p in sources(place) for name in imports(p, top=True) if touches(name, heavy)}
    assert not bad


def test_the_island_imports_only_itself_the_standard_library_and_torch() -> None:
    # NumPy for the bridge to it, Triton because torch.compile cannot do without: each looked for by name.
    guests = {"torch", "torchvision", "torchaudio", "mpmath", "numpy", "triton"}
    for path in sources("suite"):
        outside = {
            n for n in imports(path) if not touches(n, {"torchcheck.suite"}) and n.split(".")[0] not in STDLIB | guests
        }
        assert not outside, f"{path.name}: {outside}"


@pytest.mark.parametrize("place", ["suite", "native"])
def test_no_file_of_the_island_is_called_like_a_module_of_the_standard_library(place: str) -> None:
    assert not {p.name for p in sources(place) if p.stem in sys.stdlib_module_names}


@pytest.mark.parametrize("place", ["suite", "native"])
def test_what_runs_in_the_target_reads_with_the_grammar_of_python_3_9(place: str) -> None:
    for path in sources(place):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


def test_nothing_starts_a_shell_and_nothing_is_swallowed() -> None:
    for path in sources(""):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path}:{node.value.lineno} passes shell=")
            if isinstance(node, ast.ExceptHandler) and all(isinstance(s, ast.Pass) for s in node.body):
                raise AssertionError(f"{path}:{node.lineno} swallows an exception")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.system", "os.popen"}:
                raise AssertionError(f"{path}:{node.lineno} starts a shell")
