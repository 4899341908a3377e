"""`python -m torchcheck` is the command `torchcheck`."""

from torchcheck.cli import main

if __name__ == "__main__":
    main()
