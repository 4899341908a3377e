"""Learning-rate schedulers: their rates, and what becomes of them when training stops, resumes or jumps."""

from . import formulas as formulas
from . import resumption as resumption
