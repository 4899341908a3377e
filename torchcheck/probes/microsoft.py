"""Adapters that stand for no hardware: WSL's and Hyper-V's, and those that Windows shows where there is no driver."""

from __future__ import annotations

from typing import Any

from torchcheck.facts import Gpu
from torchcheck.probes import Asked
from torchcheck.probes._adapters import adapters

NAMES = {"1414:008e": "Microsoft Corporation Basic Render Driver", "1414:008c": "Microsoft Basic Display Adapter"}


def probe(asked: Asked) -> dict[str, Any]:
    """List the virtual adapters."""
    found = adapters(asked.host, "microsoft")
    return {"gpus": tuple(Gpu("microsoft", _name(one), one.pci_id, None, None, None) for one in found)}


def _name(one: Any) -> str:
    return NAMES.get(one.pci_id) or one.title()
