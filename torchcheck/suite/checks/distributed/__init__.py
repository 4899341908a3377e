"""What only many ranks can prove; run by `verify --nproc`, torchrun or srun, and by no other run."""

from . import accelerators as accelerators
from . import alike as alike
from . import collectives as collectives
from . import data_parallel as data_parallel
from . import fidelity as fidelity
from . import functional as functional
from . import groups as groups
from . import messages as messages
from . import parallel as parallel
from . import sharded as sharded
from . import sharing as sharing
