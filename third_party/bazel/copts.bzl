"""Compiler options of memkv's own code: the language, nothing else.

Warnings, sanitizers and optimisation stand in .bazelrc, so that whoever builds
memkv as a dependency decides on them alone.
"""

MKV_COPTS = [
    "-std=gnu17",
    "-D_GNU_SOURCE",
]
