"""What only many ranks can prove; run by `verify --nproc`, torchrun or srun, and by no other run."""

from . import alike as alike
from . import collectives as collectives
from . import messages as messages
from . import parallel as parallel
from . import sharing as sharing
