"""One-shot scripts that ask a driver library or another interpreter, each in a process of its own."""
