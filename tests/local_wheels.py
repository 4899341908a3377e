"""Small real wheels, named, labelled and laid out like those of PyTorch: they install, import and depend on each other.

`torch`, `torchvision` and `torchaudio` know their build (`torch/version.py`), and companions refuse a torch that they
were not built for, as the real ones do.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import platform
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ARCHITECTURES: dict[str, dict[str, set[int]]] = {
    "12.6": {"x86_64": {50, 60, 70, 75, 80, 86, 90}, "aarch64": {80, 90}},
    "13.0": {"x86_64": {75, 80, 86, 90, 100, 120}, "aarch64": {80, 90, 100, 110, 120}},
    "13.2": {"x86_64": {75, 80, 86, 90, 100, 120}, "aarch64": {80, 90, 100, 110, 120}},
}


def python_tag() -> str:
    """Give the tag of the interpreter that runs the tests: `cp311`."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def platform_tag() -> str:
    """Give the platform tag that PyTorch's wheels have for this machine."""
    machine = platform.machine().lower()
    if sys.platform == "win32":
        return "win_arm64" if machine == "arm64" else "win_amd64"
    if sys.platform == "darwin":
        return f"macosx_11_0_{machine}"
    return f"manylinux_2_28_{machine}"


def native_tag(python: str | None = None, platform: str | None = None) -> str:
    """Give the whole tag of a compiled wheel: `cp311-cp311-manylinux_2_28_x86_64`."""
    python = python or python_tag()
    return f"{python.removesuffix('t')}-{python}-{platform or platform_tag()}"


@dataclass(frozen=True)
class Wheel:
    """One wheel in memory; `metadata` is what an index serves beside it (PEP 658), normally the wheel's own."""

    name: str
    version: str
    tag: str
    data: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    requires_python: str = ""

    @property
    def filename(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tag}.whl"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def make_wheel(
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    requires_python: str = "",
    files: Mapping[str, str | bytes] | None = None,
    inside: Mapping[str, str] | None = None,
) -> Wheel:
    """Build one wheel; `inside` overrides Name or Version in the METADATA within, so that the wheel lies."""
    said = {"Name": name, "Version": version, **(inside or {})}
    lines = ["Metadata-Version: 2.1", *(f"{key}: {value}" for key, value in said.items())]
    lines += [f"Requires-Python: {requires_python}"] * bool(requires_python)
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    metadata = ("\n".join(lines) + "\n").encode()
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    pure = str(tag.endswith("none-any")).lower()
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in (files or {}).items()}
    contents |= {f"{folder}/METADATA": metadata, f"{folder}/WHEEL": wheel.encode()}
    contents[f"{folder}/RECORD"] = _record(contents, f"{folder}/RECORD")
    return Wheel(name, version, tag, _zip(contents), metadata, requires_python)


def _record(contents: Mapping[str, bytes], itself: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for path, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(data)])
    writer.writerow([itself, "", ""])
    return text.getvalue().encode()


def _zip(contents: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data)
    return raw.getvalue()


def torch_wheel(
    version: str,
    *,
    python: str | None = None,
    platform: str | None = None,
    build: str | None = None,
    requires: Iterable[str] = ("sympy>=1.13",),
    requires_python: str = ">=3.10",
    architectures: Mapping[str, Mapping[str, set[int]]] | None = None,
    broken: str = "",
    bulk: int = 0,
) -> Wheel:
    """Make a torch such as `2.15.0+cu130`; `build` is the label that `torch.__version__` adds (PyPI's wheels hide it).

    `broken` is an expression that its import raises; `bulk` adds that many small files and 2 KB each of noise.
    """
    label = build if build is not None else version.partition("+")[2]
    full = f"{version.partition('+')[0]}+{label}" if label else version
    cuda = f"{label[2:-1]}.{label[-1]}" if label.startswith("cu") else None
    hip = label[4:] if label.startswith("rocm") else None
    files: dict[str, str | bytes] = {
        "torch/__init__.py": (f"raise {broken}\n" if broken else "")
        + "import sympy\nfrom torch.version import __version__\nfrom torch import cuda, version\n"
        + "\ndef ones(n):\n    return [1.0] * n\n",
        "torch/version.py": "from typing import Optional\n\n"
        f"__version__ = {full!r}\ndebug = False\ncuda: Optional[str] = {cuda!r}\n"
        f"git_version = '{'0' * 40}'\nhip: Optional[str] = {hip!r}\nxpu: Optional[str] = None\n",
        "torch/cuda/__init__.py": _cuda_module(architectures),
        "torch/lib/libtorch_python.so": b"\x7fELF not really",
    }
    files |= {f"torch/_bulk/part{i:04}.py": f"# {i}\nDATA = {i * 7919 % 10007!r}\n" + "#" * 2000 for i in range(bulk)}
    return make_wheel(
        "torch",
        version,
        tag=native_tag(python, platform),
        requires=requires,
        requires_python=requires_python,
        files=files,
    )


def _cuda_module(architectures: Mapping[str, Mapping[str, set[int]]] | None) -> str:
    """Write the module as torch does from 2.13 on: CUDA version → machine → compute capabilities in its kernels."""
    body = "def is_available() -> bool:\n    return False\n"
    if architectures is None:
        return body
    rows = "".join(
        f"    {cuda!r}: {{\n" + "".join(f"        {arch!r}: {codes!r},\n" for arch, codes in table.items()) + "    },\n"
        for cuda, table in architectures.items()
    )
    return f"PYTORCH_RELEASES_CODE_CC: dict[str, dict[str, set[int]]] = {{\n{rows}}}\n\n\n{body}"


def companion_wheel(
    name: str,
    version: str,
    *,
    torch: str | None,
    python: str | None = None,
    platform: str | None = None,
    tag: str | None = None,
    broken: str = "",
    bulk: int = 0,
) -> Wheel:
    """Make a torchvision or torchaudio that requires `torch` (None: no requirement) and refuses another build."""
    label = version.partition("+")[2]
    check = (
        "import torch\n"
        f"_label = {label!r}\n"
        "_theirs = torch.__version__.partition('+')[2]\n"
        "if _label and _theirs and _label != _theirs:\n"
        f"    raise RuntimeError(f'{name} was built with {{_label}}, torch with {{_theirs}}')\n"
    )
    files = {
        f"{name}/__init__.py": (f"raise {broken}\n" if broken else "") + check + f"__version__ = {version!r}\n",
        f"{name}/ops.py": "def nms(boxes):\n    return boxes\n",
    }
    files |= {f"{name}/_bulk/part{i:04}.py": f"DATA = {i}\n" + "#" * 2000 for i in range(bulk)}
    return make_wheel(
        name,
        version,
        tag=tag or native_tag(python, platform),
        requires=[f"torch=={torch}"] if torch else (),
        files=files,
    )


def sympy_wheels() -> list[Wheel]:
    """Make two versions of a dependency of torch, and one of its own dependency."""
    return [
        make_wheel("sympy", "1.13.3", requires=["mpmath<1.4,>=1.1"], files={"sympy/__init__.py": "import mpmath\n"}),
        make_wheel("sympy", "1.14.0", requires=["mpmath<1.4,>=1.1"], files={"sympy/__init__.py": "import mpmath\n"}),
        make_wheel("mpmath", "1.3.0", files={"mpmath/__init__.py": "__version__ = '1.3.0'\n"}),
    ]


def trio(
    torch: str,
    torchvision: str,
    torchaudio: str | None,
    backend: str,
    *,
    python: str | None = None,
    platform: str | None = None,
    bulk: int = 0,
    broken: str = "",
) -> list[Wheel]:
    """Make one release for one backend, as `/whl/BACKEND` serves it."""
    where: dict[str, str | None] = {"python": python, "platform": platform}
    wheels = [
        torch_wheel(f"{torch}+{backend}", architectures=ARCHITECTURES, bulk=bulk, broken=broken, **where),
        companion_wheel("torchvision", f"{torchvision}+{backend}", torch=torch, bulk=bulk // 4, **where),
    ]
    if torchaudio:
        wheels.append(companion_wheel("torchaudio", f"{torchaudio}+{backend}", torch=None, bulk=bulk // 8, **where))
    return wheels
