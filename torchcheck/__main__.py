"""`python -m torchcheck` is the command `torchcheck`, with nothing of the current folder on its import path."""

import os
import sys


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - nothing is imported yet
    except FileNotFoundError:  # a folder that was removed
        return ""


# `-m` puts the current folder first, where a `json.py` or `click.py` would be taken for the real one. The two modules
# above are loaded before that can happen.
if sys.path[:1] in ([""], [_here()]):
    del sys.path[0]

if __name__ == "__main__":
    from torchcheck.cli import main

    main()
