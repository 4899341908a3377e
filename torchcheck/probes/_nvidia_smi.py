"""What nvidia-smi says, for machines where NVML cannot be asked directly."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torchcheck.facts import UNKNOWN, Gpu
from torchcheck.host import Host
from torchcheck.wheels import gpus

FIELDS = ("name", "pci.device_id", "memory.total", "driver_version", "compute_cap")
"""`compute_cap` last: drivers before 510 do not know it and refuse the whole question."""
LONGEST = 2000
"""Characters of a line that are read."""
PLACES = (
    "/usr/bin/nvidia-smi",
    "/usr/lib/wsl/lib/nvidia-smi",
    "/usr/local/nvidia/bin/nvidia-smi",
    "/run/current-system/sw/bin/nvidia-smi",
)
WINDOWS_PLACES = (r"System32\nvidia-smi.exe", r"..\Program Files\NVIDIA Corporation\NVSMI\nvidia-smi.exe")


@dataclass(frozen=True)
class Smi:
    """Its answer; `error` is what it said instead of one."""

    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    error: str | None


def ask(host: Host) -> Smi | None:
    """Run nvidia-smi by a trusted absolute path, else by PATH (never the current folder); None when there is none."""
    program = find(host)
    if program is None:
        return None
    header = host.run([program], timeout=20)
    if header.failure == "missing":
        return None
    version, cuda = banner(header.out)
    if not header.ok or version is None:
        return Smi(
            version, cuda, (), complaint(header.out, header.err) or f"nvidia-smi: {header.failure or header.code}"
        )
    for fields in (FIELDS, FIELDS[:-1]):
        ran = host.run([program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], timeout=20)
        if ran.ok:
            return Smi(version, cuda, tuple(rows(ran.out)), None)
    return Smi(version, cuda, (), None)


def find(host: Host) -> str | None:
    """Name the program to run."""
    if host.machine().get("os") == "windows":
        root = host.env("SystemRoot") or r"C:\Windows"
        places = tuple(f"{root}\\{place}" for place in WINDOWS_PLACES)
    else:
        places = PLACES
    return next((place for place in places if host.kind(place) == "file"), None) or host.which("nvidia-smi")


def banner(text: str) -> tuple[str | None, str | None]:
    """Read "Driver Version: 581.57  CUDA Version: 13.0" out of the table's head; R610 calls them KMD and CUDA UMD."""
    driver = re.search(r"(?:Driver|KMD) Version\s*:\s*(\d+(?:\.\d+)+)", text)
    cuda = re.search(r"CUDA(?: UMD)? Version\s*:\s*(\d+\.\d+)", text)
    return driver[1] if driver else None, cuda[1] if cuda else None


def rows(text: str) -> Iterator[Gpu]:
    """Read the lines of --query-gpu; what it does not know stands as "[N/A]" or "[Not Supported]"."""
    for line in text[: 1 << 20].splitlines():
        row = next(csv.reader([line[:LONGEST]], skipinitialspace=True), [])
        if len(row) < 4 or not row[0].strip():
            continue
        name = row[0].strip()
        number = re.fullmatch(r"0x([0-9A-Fa-f]{4})10DE", row[1].strip(), re.IGNORECASE)
        pci_id = f"10de:{number[1].lower()}" if number else None
        told = row[4].strip() if len(row) > 4 and re.fullmatch(r"\d+\.\d", row[4].strip()) else None
        capability = told or gpus.compute_capability(pci_id, name) or UNKNOWN
        memory = int(row[2]) << 20 if row[2].strip().isascii() and row[2].strip().isdigit() else UNKNOWN
        yield Gpu("nvidia", name, pci_id or UNKNOWN, memory, capability, None)


def complaint(out: str, err: str) -> str | None:
    """Give what it said in place of a table, on one line."""
    text = " ".join((out.strip() or err.strip()).split())
    return text[:500] or None
