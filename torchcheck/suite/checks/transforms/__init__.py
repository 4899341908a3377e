"""Transforms of functions: torch.func, forward mode and autograd.functional, in their options, nested and in modes."""

from . import batches as batches
from . import directions as directions
from . import slopes as slopes
from . import stateless as stateless
