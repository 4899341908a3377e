"""Install the PyTorch that this machine can run, then prove that it trains correctly."""

__version__ = "0.1.0"
