"""Install a plan with pip or uv, as a transaction: the target ends as it was or as planned."""

from torchcheck.install.transaction import Installed, apply, recover
from torchcheck.install.wanted import in_place

__all__ = ["Installed", "apply", "in_place", "recover"]
