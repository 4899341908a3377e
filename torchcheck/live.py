"""The machine that we run on, as a `Host`: every operation of `torchcheck.host`, answered by the operating system."""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torchcheck import processes
from torchcheck.host import READ_LIMIT, Answer, Host, Ran

PACKAGE = Path(__file__).parent
MARK = "\x1etorchcheck "
"""What a script of ours writes before its answer, so that whatever else was printed is told apart from it."""
PCI_IDS: tuple[Path, ...] = ()
if sys.platform != "win32":
    PCI_IDS = tuple(map(Path, ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids")))
WINDOWS_ENVIRONMENT = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
SYSTEMS = {"win32": "windows", "darwin": "macos"}
PROCESSOR_FEATURES = {"sse4_1": 37, "sse4_2": 38, "avx": 39, "avx2": 40, "avx512f": 41, "asimd": 19}
"""What Windows can be asked for: PF_*_INSTRUCTIONS_AVAILABLE of winnt.h."""
_NO_ANSWER = (OSError, ValueError)  # ValueError: a NUL in a path


class Live(Host):
    """Ask this machine. Nothing is changed, nothing raises: what cannot be answered is None."""

    def ask(self, operation: str, *arguments: Any) -> Answer:
        """Answer one question; see `torchcheck.host` for the operations."""
        try:
            return OPERATIONS[operation](*arguments)
        except _NO_ANSWER:
            return None


def machine() -> dict[str, Any]:
    """Give what Python knows of the platform without starting anything.

    `os` (windows, linux, macos), `release` (of the kernel), `version` (of Windows: "10.0.26100"), `machine` (as the
    operating system names it), `processors` (logical ones that this process may use), `executable`, `prefix` and
    `base_prefix` (of the interpreter that runs torchcheck), `cwd`, `home`, `temp`.
    """
    release, version, family = _kernel()
    return {
        "os": system_of(sys.platform),
        "release": release,
        "version": version,
        "machine": family,
        "processors": _processors(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "cwd": _place(Path.cwd),
        "home": _place(Path.home),
        "temp": _place(tempfile.gettempdir),
    }


def system_of(platform: str) -> str:
    """Name a system as facts do, from what `sys.platform` says."""
    return SYSTEMS.get(platform, "linux")


def resources() -> dict[str, Any]:
    """Give `total`, `available`, `swap` (bytes), `cores_physical`, `cores_logical`, and on Windows `features`."""
    import psutil

    memory = psutil.virtual_memory()
    known: dict[str, Any] = {
        "total": memory.total,
        "available": memory.available,
        "swap": psutil.swap_memory().total,
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
    }
    if sys.platform == "win32":
        import ctypes

        known["features"] = features(ctypes.windll.kernel32.IsProcessorFeaturePresent)
    return known


def features(present: Callable[[int], object]) -> list[str]:
    """Name the instruction sets that Windows says are there."""
    return [name for name, number in PROCESSOR_FEATURES.items() if present(number)]


def _place(find: Callable[[], object]) -> str | None:
    """Give a folder, or None: a removed current folder, a user without an entry in passwd, a full temporary folder."""
    try:
        return str(find())
    except (OSError, RuntimeError):
        return None


def _processors() -> int | None:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _kernel() -> tuple[str, str, str]:
    """Give release, version and processor family; `platform` would ask WMI, which is slow and may hang."""
    if sys.platform == "win32":
        return windows(sys.getwindowsversion().platform_version, _registry(WINDOWS_ENVIRONMENT), os.environ)
    system = os.uname()
    return system.release, system.version, system.machine


def windows(
    version: tuple[int, ...], key: Mapping[str, Any] | None, environ: Mapping[str, str]
) -> tuple[str, str, str]:
    """Give release, version and processor family of a Windows.

    The registry holds the family of the machine; a process that Windows on Arm emulates has its own in the environment.
    """
    native = (key or {}).get("values", {}).get("PROCESSOR_ARCHITECTURE")
    return str(version[0]), ".".join(map(str, version)), native or environ.get("PROCESSOR_ARCHITECTURE", "")


def _read(path: str) -> str | None:
    # Only plain files, which /proc and /sys show too: opening a pipe would wait for its writer, a device may act.
    if not stat.S_ISREG(Path(path).stat().st_mode):
        return None
    with Path(path).open("rb") as file:
        return file.read(READ_LIMIT).decode("utf-8", "replace")


def _kind(path: str) -> str | None:
    mode = Path(path).stat().st_mode
    kinds: list[tuple[Callable[[int], bool], str]] = [
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "dir"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    ]
    return next((name for test, name in kinds if test(mode)), "other")


def _free(path: str) -> int | None:
    import shutil

    place = Path(path).absolute()
    existing = next((parent for parent in (place, *place.parents) if parent.exists()), None)
    return shutil.disk_usage(existing).free if existing else None


def _access(path: str, mode: str) -> bool:
    return os.access(path, sum({"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[letter] for letter in set(mode)))


def _which(name: str) -> str | None:
    """Look along the absolute folders of PATH; `shutil.which` would look into the current folder first on Windows."""
    here = _place(Path.cwd) or ""
    found = places(name, os.environ.get("PATH", ""), here, windows=sys.platform == "win32")
    return next((place for place in found if _is_program(Path(place))), None)


def places(name: str, path: str, here: str, *, windows: bool) -> list[str]:
    r"""Say where a PATH would have a program: in its absolute folders, but for the current one.

    On Windows a folder may stand in quotes, and one without a drive (`\tools`) is one of the current drive.
    """
    flavour: ModuleType = ntpath if windows else posixpath
    current = flavour.normcase(flavour.normpath(here))
    folders = [folder.strip('"') if windows else folder for folder in path.split(";" if windows else ":")]
    absolute = [f for f in folders if flavour.isabs(f) and (not windows or ntpath.splitdrive(f)[0])]
    others = [f for f in absolute if flavour.normcase(flavour.normpath(f)) != current]
    return [flavour.join(folder, name + suffix) for folder in others for suffix in ((".exe", "") if windows else ("",))]


def _is_program(place: Path) -> bool:
    try:
        return place.is_file() and os.access(place, os.X_OK)
    except OSError:  # an alias of the Microsoft Store, a share that is gone
        return False


def _version(path: str) -> str | None:
    """Read VS_FIXEDFILEINFO (signature 0xFEEF04BD) out of a binary; dwFileVersionMS/LS stand 8 bytes behind it."""
    import struct

    with Path(path).open("rb") as file:
        data = file.read(READ_LIMIT * 16)
    at = data.find(struct.pack("<I", 0xFEEF04BD))
    if at < 0 or len(data) < at + 16:
        return None
    high, low = struct.unpack_from("<II", data, at + 8)
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


def _pci_name(pci_id: str) -> str | None:
    """Look a device up in pci.ids: vendors stand at the margin, their devices behind one tab."""
    maker, _, device = pci_id.lower().partition(":")
    found = next((place for place in PCI_IDS if place.is_file()), None)
    data = b"\n" + found.read_bytes() if found else b""
    _, _, section = data.partition(f"\n{maker}  ".encode())
    section = re.split(rb"\n[0-9a-f]{4} ", section, maxsplit=1)[0]
    line = re.search(rf"\n\t{re.escape(device)}  (.+)".encode(), section)
    return line[1].decode("utf-8", "replace").strip() if line else None


def _registry(key: str) -> dict[str, Any] | None:
    if sys.platform == "win32":
        import winreg

        roots = {"HKLM": winreg.HKEY_LOCAL_MACHINE, "HKCU": winreg.HKEY_CURRENT_USER}
        root, _, rest = key.partition("\\")
        if root not in roots:
            return None
        with winreg.OpenKey(roots[root], rest, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as handle:
            keys, values, _ = winreg.QueryInfoKey(handle)
            named = [winreg.EnumValue(handle, number) for number in range(values)]
            return entry(named, [winreg.EnumKey(handle, number) for number in range(keys)])
    return None


def entry(named: Iterable[tuple[str, object, int]], keys: Iterable[str]) -> dict[str, Any]:
    """Describe a key of the registry: what `winreg` gives of its values (bytes as hexadecimal), and its sub-keys."""
    values = {name: value.hex() if isinstance(value, bytes) else value for name, value, _ in named}
    return {"values": values, "keys": sorted(keys)}


def _run(argv: list[str], timeout: float) -> dict[str, Any]:
    return vars(processes.run(argv, timeout=timeout, env=_environment()))


def _script(name: str, arguments: list[str], timeout: float) -> dict[str, Any]:
    argv = [sys.executable, "-I", str(_source(f"native/{name}")), *arguments]
    return answer(processes.run(argv, timeout=timeout, env=_environment()))


def _python(executable: str, script: str, arguments: list[str], timeout: float) -> dict[str, Any]:
    argv = [executable, str(_source(script)), *arguments]
    return answer(processes.run(argv, timeout=timeout, env=_environment()))


def _source(name: str) -> Path:
    folder, _, stem = name.partition("/")
    if folder not in {"native", "suite"} or not stem.isidentifier():
        raise ValueError(f"no script of ours: {name!r}")
    return PACKAGE / folder / f"{stem}.py"


def _environment() -> Mapping[str, str]:
    """Give children our environment, less what macOS's framework Python left for itself (it would mislead theirs)."""
    return {name: value for name, value in os.environ.items() if name != "__PYVENV_LAUNCHER__"}


def answer(ran: Ran) -> dict[str, Any]:
    """Pick a script's last answer out of what it printed, or say why there is none.

    An answer whose process did not end well has a member `ended` ("crash", "timeout" …) and how (`code`, `detail`).
    """
    died = ran.failure or ("crash" if ran.code is not None and _died(ran.code) else None)
    why = {"code": ran.code, "detail": (ran.err.strip() or ran.out.strip())[-2000:]}
    for text in reversed(ran.out.split(MARK)[1:]):
        try:
            known = dict(json.loads(text.splitlines()[0]))
        except (ValueError, TypeError, IndexError):  # cut off in the middle of a line
            continue
        return {**known, "ended": died, **why} if died else known
    return {"error": died or "garbage", **why}


def _died(code: int) -> bool:
    """Say whether an exit code is that of a signal, or of a Windows exception (0xC0000005 and its like)."""
    return code < 0 or code in {128 + number for number in (4, 6, 7, 8, 9, 11)} or code >= 0xC0000000


OPERATIONS: dict[str, Callable[..., Answer]] = {
    "env": os.environ.get,
    "environ": lambda: dict(os.environ),
    "read": _read,
    "list": lambda path: sorted(entry.name for entry in os.scandir(path)),
    "link": os.readlink,
    "kind": _kind,
    "access": _access,
    "free": _free,
    "run": _run,
    "script": _script,
    "python": _python,
    "which": _which,
    "version": _version,
    "pci_name": _pci_name,
    "registry": _registry,
    "machine": machine,
    "resources": resources,
}
