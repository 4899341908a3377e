"""What to type: the usual steps of each code, made right for this system, shell and environment.

A step is a command to paste or an action. What stands behind a command in parentheses, after three blanks, becomes a
step of its own after it, "(on the host)": not every shell takes comments (zsh at its prompt does not), so a command
stands alone, and the first step is a command wherever there is one. Steps are templates with these placeholders:

    {py}           the target interpreter as a program to start, quoted for the shell
    {path}         the target interpreter as an argument of another program
    {pip}          how packages are installed into it: `python -m pip`, `uv pip`, `pipx runpip NAME`
    {install}      the torchcheck command that installs the right build
    {reinstall}    the same trio with pip, from the right index
    {torch}        the installed torch, as a requirement ("torch==2.9.1+cu128")
    {tag} {index}  the backend that is right here, and its index
    {from_index}   ` --index-url …` of that index; nothing where it cannot be told
    {pair NAME}    the companion NAME that belongs to the installed torch, as a requirement
    {set A=B}      set an environment variable;  {unset A}: remove it
    {rename PATH}  give a file of Python another name
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from torchcheck import shells
from torchcheck.doctor import codes
from torchcheck.doctor.evidence import Evidence, Finding
from torchcheck.shells import Shell

if TYPE_CHECKING:
    from torchcheck.doctor.advice import Advised

_PLACE = re.compile(r"\{(\w+)(?: ([^{}]+))?\}")
_REMARK = re.compile(r" {3}\((.+)\)$")
_UV = re.compile(r"^uv pip (\w+)")


class Remedies:
    """Steps for one machine."""

    def __init__(self, evidence: Evidence, shell: Shell | Literal[""] = "") -> None:
        """Take the machine; `shell` is "sh", "powershell" or "cmd", by default the usual one of the system."""
        self._evidence = evidence
        self._shell: Shell = shell or shells.usual(windows=evidence.windows)

    def steps(self, finding: Finding) -> tuple[str, ...]:
        """Give the steps of a finding, its own or those of its code, ready to paste."""
        usual = finding.fix or tuple(self._of_scope(step) for step in codes.explain(finding.code).fix)
        once: dict[str, tuple[str, ...]] = {}
        for parts in (self._parts(self.fill(step)) for step in usual if step):
            once.setdefault(parts[0], parts)
        return tuple(part for command, parts in once.items() if command for part in parts)

    def _parts(self, step: str) -> tuple[str, ...]:
        """Put what is said of a command behind it, as a step of its own."""
        remark = _REMARK.search(step)
        command = step[: remark.start()] if remark else step
        executable = self._evidence.facts.python.executable
        if executable:
            command = _UV.sub(lambda found: f"{found[0]} --python {self.path}", command)
        return (command, f"({remark[1]})") if remark else (command,)

    def fill(self, step: str) -> str:
        """Replace the placeholders of one step; a step with one that has no value here is dropped."""
        missing = False

        def value(match: re.Match[str]) -> str:
            nonlocal missing
            given = self._value(match[1], match[2] or "")
            missing = missing or given is None
            return given or ""

        text = _PLACE.sub(value, step.replace("{{", "\0").replace("}}", "\1"))
        return "" if missing else text.replace("\0", "{").replace("\1", "}")

    @cached_property
    def scopes(self) -> frozenset[str]:
        """The scopes that hold here: the system, the environment, and where the process lives."""
        evidence = self._evidence
        system = evidence.facts.system.os
        place = "wsl" if evidence.wsl else "container" if evidence.container else "bare"
        names = {"any", place, "conda" if evidence.conda else "pip"}
        if system:
            names |= {system, f"{place}-{system}", "unix" if system != "windows" else "windows"}
        return frozenset(names)

    def _of_scope(self, step: codes.Step) -> str:
        scope, text = step
        if scope in self.scopes:
            return text
        # Where the system is unknown, each system's step is given and named.
        name = scope.removeprefix("bare-")
        if self._evidence.facts.system.os or name not in NAMES:
            return ""
        if name == "windows":
            text = Remedies(self._evidence, "powershell").fill(text).replace("{", "{{").replace("}", "}}")
        return f"{NAMES[name]}: {text}" if text else ""

    def _value(self, name: str, argument: str) -> str | None:
        if name in {"set", "unset", "rename"}:
            return {"set": self._set, "unset": self._unset, "rename": self._rename}[name](argument)
        if name == "pair":
            from torchcheck.doctor.advice import companion

            return companion(self._evidence, argument)
        return self._plain(name)

    def _plain(self, name: str) -> str | None:
        evidence, build = self._evidence, self.advised if name in {"tag", "index", "from_index"} else None
        values: dict[str, Callable[[], str | None]] = {
            "py": lambda: self.python,
            "path": lambda: self.path,
            "pip": lambda: self.pip,
            "install": lambda: self.install,
            "reinstall": lambda: self.reinstall,
            "torch": lambda: f"torch=={evidence.torch_version}" if evidence.torch_version else "torch",
            "tag": lambda: build.tag if build else "auto",
            "index": lambda: build.index if build and build.index else "https://download.pytorch.org/whl/cpu",
            "from_index": lambda: (
                f" --index-url {found}" if (found := build.index if build else self.asked_index) else ""
            ),
            "installed_index": lambda: self.installed_index,
            "numpy": lambda: '"numpy<2"' if (0,) < evidence.release[:2] < (2, 3) else "numpy",
            "python": lambda: ".".join(map(str, evidence.python)) if evidence.python else "3",
            "triton": lambda: self._triton("triton=="),
            "triton_windows": lambda: self._triton("<"),
        }
        return values[name]() if name in values else None

    @cached_property
    def advised(self) -> Advised | None:
        """The build that is right for this machine, or None when that cannot be told."""
        from torchcheck.doctor.advice import advised

        return advised(self._evidence)

    @property
    def python(self) -> str:
        """The interpreter as a program to start."""
        return shells.call(self._executable, self._shell)

    @property
    def path(self) -> str:
        """The interpreter as an argument of another program."""
        return shells.quote(self._executable, self._shell)

    @property
    def _executable(self) -> str:
        return self._evidence.facts.python.executable or "python"

    @cached_property
    def pip(self) -> str:
        """The way to install packages into the target."""
        python = self._evidence.facts.python
        if python.environment == "pipx":
            name = re.split(r"[\\/]", (python.prefix or "NAME").rstrip("\\/"))[-1]
            return f"pipx runpip {name}"
        if python.pip is None:
            return "uv pip"
        return f"{self.python} -m pip"

    @property
    def install(self) -> str:
        """The torchcheck command that installs what is right here."""
        executable = self._evidence.facts.python.executable
        words = ["torchcheck install"]
        words += [f"--python {self.path}"] if executable else []
        if self.advised:
            words += [f"--backend {self.advised.tag}", f"--torch {self.advised.torch}"]
        return " ".join(words)

    @property
    def reinstall(self) -> str | None:
        """The same trio with pip."""
        if not self.advised:
            return None
        pins = " ".join(f'"{pin}"' for pin in self.advised.pins)
        index = f" --index-url {self.advised.index}" if self.advised.index else ""
        return f"{self.pip} install --force-reinstall {pins}{index}"

    @property
    def asked_index(self) -> str:
        """The index that pip is configured with, when it is one of PyTorch's."""
        url = str(self._evidence.facts.pip.index_url or "")
        return url if "/whl/" in url else ""

    @property
    def installed_index(self) -> str:
        """The index from which the installed torch came."""
        tag = self._evidence.tag
        return f"https://download.pytorch.org/whl/{tag}" if tag else "https://pypi.org/simple"

    def _triton(self, prefix: str) -> str:
        """Triton of the installed torch: its series on Linux, the bound above it for triton-windows."""
        series = next((s for release, s in TRITON.items() if release == self._evidence.release[:2]), None)
        if not series:
            return "triton" if prefix == "triton==" else ""
        major, minor = series
        return f'"triton=={major}.{minor}.*"' if prefix == "triton==" else f"<{major}.{minor + 1}"

    def _set(self, assignment: str) -> str:
        name, _, value = assignment.partition("=")
        if self._shell == "powershell":
            return f'$env:{name} = "{value}"'
        if self._shell == "cmd":
            return f"set {name}={value}"
        return f"export {name}={value}"

    def _rename(self, path: str) -> str:
        folder, name = re.fullmatch(r"(.*[\\/])?(.*)", path, re.DOTALL).groups("")  # type: ignore[union-attr]
        new = f"{name.removesuffix('.py')}_renamed.py"
        old = shells.quote(path, self._shell)
        verb = {"powershell": "Rename-Item -LiteralPath", "cmd": "ren"}.get(self._shell)
        return (
            f"{verb} {old} {shells.quote(new, self._shell)}"
            if verb
            else (f"mv {old} {shells.quote(folder + new, self._shell)}")
        )

    def _unset(self, name: str) -> str:
        return {"powershell": f"$env:{name} = $null", "cmd": f"set {name}="}.get(self._shell, f"unset {name}")


NAMES: Final = {"windows": "Windows", "linux": "Linux", "macos": "macOS", "unix": "Linux, macOS"}

# Triton that each torch requires on Linux (Requires-Dist of the PyPI wheels); triton-windows follows it.
TRITON: Final = {
    (2, 0): (2, 0), (2, 1): (2, 1), (2, 2): (2, 2), (2, 3): (2, 3), (2, 4): (3, 0), (2, 5): (3, 1),
    (2, 6): (3, 2), (2, 7): (3, 3), (2, 8): (3, 4), (2, 9): (3, 5), (2, 10): (3, 6), (2, 11): (3, 6),
    (2, 12): (3, 7), (2, 13): (3, 7), (2, 14): (3, 8), (2, 15): (3, 9),
}  # fmt: skip
