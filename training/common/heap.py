"""The heap of a process that trains without a GPU."""

UNBROKEN = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"}
"""The environment in which glibc's heap joins all that is freed.

Torch asks for aligned memory, and glibc cuts a tensor's place to its size. The cuttings go to small objects that live until the backward pass, and
a tensor of the same size does not fit between them again: a step of the starter model takes up to half more memory. Without lists of small free
pieces, they are joined with the place at once. The variable counts only at the start of a process.
"""
