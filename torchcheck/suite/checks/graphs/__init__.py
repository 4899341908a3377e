"""The machinery of autograd: hooks, ways to ask, functions of one's own, what is saved, views and modes."""

from . import functions as functions
from . import hooks as hooks
from . import modes as modes
from . import pulls as pulls
from . import recomputed as recomputed
from . import saved as saved
from . import views as views
