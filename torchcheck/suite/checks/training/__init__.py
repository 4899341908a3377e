"""Training as a whole: what depth does to gradients, regularisation, convergence, precision, data and randomness."""

from . import amp as amp
from . import combined as combined
from . import compiled as compiled
from . import convergence as convergence
from . import data as data
from . import depth as depth
from . import distributed as distributed
from . import draws as draws
from . import dropout as dropout
from . import initialisation as initialisation
from . import randomness as randomness
from . import reproducibility as reproducibility
from . import samplers as samplers
from . import scaling as scaling
