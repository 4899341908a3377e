"""Every class of `torch.nn.modules.activation`: value, gradient, every spelling, every layout."""

from . import pointwise as pointwise
