"""The checks, one module a topic; each function decorated with `check` is one."""
