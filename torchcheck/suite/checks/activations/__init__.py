"""Every class of `torch.nn.modules.activation`: value, gradient, every spelling, every layout."""

from . import joint as joint
from . import layouts as layouts
from . import multihead as multihead
from . import pointwise as pointwise
from . import rowwise as rowwise
from . import spellings as spellings
