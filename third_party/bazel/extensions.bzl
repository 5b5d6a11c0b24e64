"""The module extension of MODULE.bazel. Not loaded by Bazel 4 and 5, which lack module_extension."""

load(":system.bzl", "system_repositories")

def _system_impl(_ctx):
    system_repositories()

system = module_extension(implementation = _system_impl)
