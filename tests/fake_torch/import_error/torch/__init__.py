"""It cannot be imported: a library of its own is not there."""

raise ImportError("libtorch_cpu.so: cannot open shared object file: No such file or directory")
