# ruff: noqa: ANN001, ANN201, PTH100, PTH112, PTH113, PTH116, PTH118, PTH120, PTH123, PTH208
# (annotations would be a syntax error where this must still answer; pathlib is slow to import)
"""Tell what the interpreter that runs this is, where it installs to, and what is installed there.

Started by path in the target interpreter; prints one JSON object behind a mark. Nothing but the standard library, and
nothing that is slow to import: distributions are read from their folders. Written so that every Python from 2.7 on can
run it, since the answer to one that is too old must be better than a syntax error. Types stand in comments for that.
"""

import json
import os
import struct
import sys

sys.path[:1] = [] if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)) else sys.path[:1]

import sysconfig  # noqa: E402 (only now is this folder out of the way)

MARK = "\x1etorchcheck "
FAMILY = ("torch", "torchvision", "torchaudio")
VERSION_LINES = ("__version__", "cuda", "hip", "rocm", "xpu", "git_version", "debug")


def read(path, limit=1 << 20):
    # type: (str, int) -> str | None
    """Text of a file, or None."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except (IOError, OSError):
        return None


def folders():
    # type: () -> list[str]
    """Folders of sys.path that exist, in order, each once (lib64 is often a link to lib)."""
    seen = set()
    order = []
    for entry in sys.path:
        real = os.path.realpath(entry)
        if os.path.isdir(entry) and real not in seen:
            seen.add(real)
            order.append(entry)
    return order


def names_in(folder):
    # type: (str) -> list[str]
    """Sorted names in a folder; none when it may not be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def header(text, name):
    # type: (str, str) -> str
    """Value of one header of core metadata."""
    for line in text.splitlines():
        if not line.strip():
            break
        if line.lower().startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    return ""


def canonical(name):
    # type: (str) -> str
    """Spell a distribution's name as PEP 503 does."""
    for mark in "_.":
        name = name.replace(mark, "-")
    while "--" in name:
        name = name.replace("--", "-")
    return name.lower()


def distribution(folder, entry):
    # type: (str, str) -> dict[str, str] | None
    """Describe one installed distribution by its .dist-info or .egg-info; None when that is broken."""
    place = os.path.join(folder, entry)
    text = read(os.path.join(place, "METADATA")) or read(os.path.join(place, "PKG-INFO"))
    if text is None and os.path.isfile(place):
        text = read(place)
    stem = entry.rsplit(".", 1)[0].split("-")
    name = header(text or "", "name") or (stem[0] if len(stem) > 1 else "")
    version = header(text or "", "version") or (stem[1] if len(stem) > 1 else "")
    if not name or not version:
        return None
    found = {"name": canonical(name), "version": version, "path": place}
    inside = names_in(place) if os.path.isdir(place) else []
    if "INSTALLER" in inside:
        found["installer"] = (read(os.path.join(place, "INSTALLER")) or "").strip()
    if "direct_url.json" in inside:
        found["direct_url"] = read(os.path.join(place, "direct_url.json")) or ""
    return found


def distributions():
    # type: () -> tuple[list[dict[str, str]], list[str]]
    """Give all distributions in the order of sys.path, and what is left of broken ones."""
    found = []
    broken = []
    for folder in folders():
        for entry in names_in(folder):
            if entry.startswith("~"):
                broken.append(os.path.join(folder, entry))
            elif entry.endswith((".dist-info", ".egg-info")):
                known = distribution(folder, entry)
                if known:
                    found.append(known)
                else:
                    broken.append(os.path.join(folder, entry))
    return found, broken


def assigned(line):
    # type: (str) -> list[str]
    """Split "name: Optional[str] = 'value'" into name and value text, or give []."""
    left, equals, right = line.partition("=")
    name = left.split(":", 1)[0].strip()
    return [name, right.strip()] if equals and name in VERSION_LINES else []


def family():
    # type: () -> list[dict[str, object]]
    """Read version.py of every copy of torch, torchvision and torchaudio on sys.path, without importing one."""
    copies = []  # type: list[dict[str, object]]
    for folder in folders():
        for name in FAMILY:
            place = os.path.join(folder, name)
            if not os.path.isdir(place) and not os.path.isfile(place + ".py"):
                continue
            lines = (read(os.path.join(place, "version.py")) or "").splitlines()
            pairs = [pair for pair in map(assigned, lines) if pair]
            values = {key: value.strip("'\"") for key, value in pairs if value != "None" and value[:1] in "'\""}
            copies.append({"name": name, "path": place, "values": values, "stated": sorted(key for key, _ in pairs)})
    return copies


def damaged(found):
    # type: (list[dict[str, str]]) -> dict[str, list[str]]
    """Compare sizes in RECORD of the torch family with the files: {name: [path]} of what is missing or differs."""
    import csv

    bad = {}  # type: dict[str, list[str]]
    for known in found:
        record = read(os.path.join(known["path"], "RECORD"), 64 << 20)
        if known["name"] not in FAMILY or record is None:
            continue
        root = os.path.dirname(known["path"])
        rows = [row for row in csv.reader(record.splitlines()) if len(row) == 3 and row[2].isdigit()]
        wrong = [row[0] for row in rows if size(os.path.join(root, row[0])) != int(row[2])]
        if wrong:
            bad.setdefault(known["name"], []).extend(wrong[:20])
    return bad


def size(path):
    # type: (str) -> int
    """Size of a file, -1 when it is not there."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def writable(folder):
    # type: (str) -> bool
    """Say whether a folder (or its nearest existing parent) may be written."""
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    # os.access knows only the read-only attribute of Windows, not its access rights.
    return os.access(folder, os.W_OK) if os.name != "nt" else may_create(folder)


def may_create(folder):
    # type: (str) -> bool
    """Say whether a file can be made in a folder, by making one that vanishes."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (IOError, OSError):
        return False


def libc():
    # type: () -> str | None
    """Name the C library that this interpreter was linked with: "glibc 2.36", "musl", or None."""
    soabi = "%s %s" % (sysconfig.get_config_var("SOABI"), sysconfig.get_config_var("HOST_GNU_TYPE"))
    if "musl" in soabi:
        return "musl"
    if sys.platform == "win32":
        return None
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None


def version():
    # type: () -> str
    """Write the version as `python --version` does: 3.15.0rc1."""
    tail = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(sys.version_info[3], "")
    return "%d.%d.%d" % sys.version_info[:3] + (tail + str(sys.version_info[4]) if tail else "")


def machine():
    # type: () -> str
    """Name the processor family; on Windows `platform` would ask WMI, which is slow and may hang."""
    if sys.platform == "win32":
        return processor(dict(os.environ))
    return os.uname()[4]


def processor(environ):
    # type: (dict[str, str]) -> str
    """Name the processor family of a Windows; a 32-bit process has that of the machine in a variable of its own."""
    return environ.get("PROCESSOR_ARCHITEW6432") or environ.get("PROCESSOR_ARCHITECTURE", "")


def macos():
    # type: () -> str | None
    """Version of macOS as this build is told it."""
    if sys.platform != "darwin":
        return None
    import platform

    return platform.mac_ver()[0] or None


def describe(check_files):
    # type: (bool) -> dict[str, object]
    """Collect everything."""
    found, broken = distributions()
    paths = {key: value for key, value in sysconfig.get_paths().items() if isinstance(value, str)}
    base = getattr(sys, "base_prefix", sys.prefix)
    home = os.path.dirname(os.path.abspath(sys.executable or ""))
    answer = {
        "version": version(),
        "build": " ".join(sys.version.split()),
        "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
        "bits": struct.calcsize("P") * 8,
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": base,
        "path": [entry for entry in sys.path if entry],
        "paths": paths,
        "platform": sysconfig.get_platform(),
        "machine": machine(),
        "system": sys.platform,
        "macos": macos(),
        "libc": libc(),
        "soabi": sysconfig.get_config_var("SOABI"),
        "pyvenv": read(os.path.join(sys.prefix, "pyvenv.cfg")),
        "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
        "marks": [name for name in ("pipx_metadata.json", "uv-receipt.toml") if name in names_in(sys.prefix)],
        "embedded": [name for name in names_in(home) if name.endswith("._pth")],
        "managed": sys.prefix == base and os.path.isfile(os.path.join(paths["stdlib"], "EXTERNALLY-MANAGED")),
        "writable": writable(paths["purelib"]),
        "user_site": getattr(sys.modules.get("site"), "ENABLE_USER_SITE", None),
        # PyPy's is a folder.
        "ssl": any(name == "_ssl" or name.startswith("_ssl.") for entry in sys.path for name in names_in(entry))
        or "_ssl" in sys.builtin_module_names,
        "distributions": found,
        "broken": broken,
        "family": family(),
    }
    if check_files:
        answer["damaged"] = damaged(found)
    return answer


if __name__ == "__main__":
    # Old Pythons make bytes of an encoded name; ASCII JSON passes every console.
    sys.stdout.write("\n" + MARK + json.dumps(describe("--files" in sys.argv[1:])) + "\n")
    sys.stdout.flush()
