"""Which architecture a GPU has, told by its PCI identifier or else by its model name (pure look-ups, no driver asked).

The identifier decides where there is one: a name may be a marketing name that two chips share. What no table knows is
None, never a guess. Every function takes what `facts.Gpu` holds, unknown values included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torchcheck.facts import Text
from torchcheck.wheels import gpu_models

_PCI_ID = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})", re.IGNORECASE)
_CHIP = re.compile(r"\b((?:G[FKMPVAHB]|TU|AD)\d{2,3}B?)[A-Z]*\b")
_MARKS = re.compile(r"\((?:R|TM|C)\)|[®™]", re.IGNORECASE)

VENDORS = {0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel", 0x106B: "apple", 0x1414: "microsoft"}
"""PCI vendor identifier to the vendor as facts name it."""


def vendor(pci_id: Text) -> str | None:
    """Name the maker of a PCI device ("10de:2684" gives "nvidia"), or None for one that makes no GPU known here."""
    return VENDORS.get(_numbers(pci_id)[0])


def chip(pci_id: Text) -> str | None:
    """Name the chip of an NVIDIA or AMD device ("10de:2684" gives "AD102", "1002:73df" gives "Navi 22")."""
    maker, device = _numbers(pci_id)
    table = {0x10DE: gpu_models.NVIDIA_IDS, 0x1002: gpu_models.AMD_IDS}.get(maker, ())
    return next((name for first, last, name in table if first <= device <= last), None)


def compute_capability(pci_id: Text, name: Text) -> str | None:
    """Give the CUDA compute capability ("8.9") of an NVIDIA GPU, or None when it is none or not known.

    Names as drivers, Windows and the PCI ID database write them are understood: "NVIDIA GeForce RTX 4090",
    "Tesla V100-SXM2-16GB", "GRID T4-8Q", "AD102 [GeForce RTX 4090]".
    """
    if (maker := vendor(pci_id)) and maker != "nvidia":
        return None
    by_id = gpu_models.CHIP_CAPABILITY.get(chip(pci_id) or "")
    return by_id or _capability_of_chip_name(name) or _first_match(gpu_models.NVIDIA_NAMES, name)


def architecture(capability: Text) -> str | None:
    """Name the architecture of a compute capability: "8.6" gives "Ampere"."""
    if not capability:
        return None
    keys = (capability, capability.split(".", maxsplit=1)[0])
    return next((name for key, name in gpu_models.ARCHITECTURES if key in keys), None)


def last_driver(capability: Text) -> int | None:
    """Give the last branch of NVIDIA's driver that serves a compute capability: 580 for "6.1", None for "8.9"."""
    return gpu_models.LAST_DRIVERS.get(architecture(capability) or "")


def gfx(pci_id: Text, name: Text) -> str | None:
    """Give the gfx target ("gfx1100") of an AMD GPU, or None when it is none or not known."""
    maker, device = _numbers(pci_id)
    if maker and maker != 0x1002:
        return None
    by_id = gpu_models.CHIP_GFX.get(chip(pci_id) or "")
    accelerators = gpu_models.AMD_GFX_IDS if maker else ()
    by_id = by_id or next((target for first, last, target in accelerators if first <= device <= last), None)
    return by_id or _gfx_of_chip_name(name) or _first_match(gpu_models.AMD_NAMES, name)


def xpu_capable(pci_id: Text, name: Text) -> bool | None:
    """Say whether PyTorch's XPU build serves an Intel GPU; None when neither identifier nor name tells."""
    maker, device = _numbers(pci_id)
    if maker:
        return maker == 0x8086 and any(first <= device <= last for first, last in gpu_models.INTEL_XPU_IDS)
    return _first_match(gpu_models.INTEL_NAMES, name)


def integrated(pci_id: Text, name: Text) -> bool | None:
    """Say whether a GPU shares memory and package with the processor; None when this is not known."""
    maker, device = _numbers(pci_id)
    if maker == 0x8086:
        return not any(first <= device <= last for first, last in gpu_models.INTEL_DISCRETE_IDS)
    if maker == 0x1002 and (known := chip(pci_id)):
        return known in gpu_models.AMD_INTEGRATED
    if maker == 0x10DE:
        return chip(pci_id) in {"GB10B", "GB20B"}
    return _integrated_by_name(_plain(name))


def _integrated_by_name(name: str) -> bool | None:
    if re.search(
        r"\bUHD\b|\bHD GRAPHICS|\bIRIS (XE|PLUS|PRO)? ?GRAPHICS|\bARC (GRAPHICS|1[34]0[VT])|\bGB10\b|\bAPPLE M", name
    ):
        return True
    if re.search(r"\bRADEON( RX)?( VEGA( \d+)?)? GRAPHICS|\b[678][468]0M\b|\b890M\b|\b80[4-6]0S\b|\b610M\b", name):
        return True
    discrete = r"\bGEFORCE|\bQUADRO|\bTESLA|\bRTX|\bGTX|\bRADEON (RX|PRO|VII)|\bINSTINCT|\bARC (A|B|PRO)"
    return False if re.search(discrete, name) else None


def _numbers(pci_id: Text) -> tuple[int, int]:
    found = _PCI_ID.search(pci_id) if pci_id else None
    return (int(found[1], 16), int(found[2], 16)) if found else (0, 0)


def _plain(name: Text) -> str:
    """Upper case without trade marks, one space between words."""
    return " ".join(_MARKS.sub(" ", name or "").upper().replace("_", " ").split())


def _first_match(rules: Iterable[tuple[str, gpu_models.Verdict]], name: Text) -> gpu_models.Verdict | None:
    text = _plain(name)
    return next((verdict for pattern, verdict in rules if re.search(pattern, text)), None) if text else None


def _capability_of_chip_name(name: Text) -> str | None:
    """Read the chip out of a name like "TU117GLM [Quadro T1000 Mobile]"; GB200 and GH200 are products, not chips."""
    for found in _CHIP.findall(_plain(name)):
        known = gpu_models.CHIP_CAPABILITY.get(found) or gpu_models.CHIP_CAPABILITY.get(found.rstrip("B"))
        if known:
            return known
    return None


def _gfx_of_chip_name(name: Text) -> str | None:
    """Read the chip at the head of a name like "Navi 22 [Radeon RX 6700 XT]"; a "Radeon Pro Vega 20" is a Vega 12."""
    text = _plain(name).removeprefix("ADVANCED MICRO DEVICES, INC. ").removeprefix("[AMD/ATI] ")
    return next((target for word, target in gpu_models.CHIP_GFX.items() if text.startswith(word.upper())), None)
