"""Install a plan with pip or uv, as a transaction: the target ends as it was or as planned."""

from torchcheck.install.transaction import Installed, apply, recover

__all__ = ["Installed", "apply", "recover"]
