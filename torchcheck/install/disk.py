"""What a full disk looks like, and what is said of it."""

from __future__ import annotations

import errno

from torchcheck.errors import InstallError

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def disk_error(error: OSError) -> InstallError:
    """Make the error for a disk that filled up before the target was changed."""
    hint = "Free some space, or install into another disk: torchcheck install --venv DIR"
    return InstallError(f"The target's disk cannot take it: {error}. Nothing was changed.", hint, code="disk-full")
