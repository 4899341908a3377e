"""Every class of `torch.optim`: its steps, its options, its implementations, and what a training loop asks of it."""

from . import attendance as attendance
from . import containers as containers
from . import exact as exact
from . import formulas as formulas
from . import joint as joint
from . import lifecycle as lifecycle
from . import listing as listing
from . import memory as memory
