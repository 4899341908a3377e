"""The island: the checks that run in the target interpreter, where only the standard library and torch exist."""
