"""List the PCI devices that are present, as Windows' configuration manager knows them; one JSON object behind a mark.

The registry alone also lists cards that were taken out long ago. In a process of its own, like every native library.
"""

from __future__ import annotations

import ctypes
import json
import sys

MARK = "\x1etorchcheck "
ENUMERATOR_AND_PRESENT = 0x1 | 0x100
"""CM_GETIDLIST_FILTER_ENUMERATOR | CM_GETIDLIST_FILTER_PRESENT of cfgmgr32.h."""


def present() -> dict[str, object]:
    r"""Give instance identifiers such as PCI\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\4&1FC990D7&0&0008."""
    if sys.platform != "win32":
        return {"error": "missing", "detail": "this is not Windows"}
    manager = ctypes.WinDLL("cfgmgr32")
    size = ctypes.c_ulong()
    code = manager.CM_Get_Device_ID_List_SizeW(ctypes.byref(size), "PCI", ENUMERATOR_AND_PRESENT)
    if code:
        return {"error": "failed", "detail": f"CM_Get_Device_ID_List_SizeW gave {code}"}
    names = (ctypes.c_wchar * size.value)()
    code = manager.CM_Get_Device_ID_ListW("PCI", names, size, ENUMERATOR_AND_PRESENT)
    if code:
        return {"error": "failed", "detail": f"CM_Get_Device_ID_ListW gave {code}"}
    return {"present": identifiers("".join(names))}


def identifiers(text: str) -> list[str]:
    """Take a list apart as Windows writes it (REG_MULTI_SZ): each ends with a NUL, the list with one more."""
    return [name for name in text.split("\0") if name]


if __name__ == "__main__":
    sys.stdout.write("\n" + MARK + json.dumps(present()) + "\n")
