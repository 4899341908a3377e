"""What modules hold and hand on: hooks, state dicts, trees of parameters and buffers, copies, parametrisations."""

from . import dicts as dicts
from . import hooks as hooks
from . import parametrized as parametrized
from . import trees as trees
