"""Training as a whole: what depth does to gradients, regularisation, convergence, precision, data and randomness."""

from . import dropout as dropout
from . import randomness as randomness
