"""The repositories that memkv needs in WORKSPACE mode. A consumer calls memkv_dependencies() too.

With bzlmod (MODULE.bazel, Bazel 7 and later) extensions.bzl is used instead.
"""

load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")
load(":stand_in.bzl", "stand_in")
load(":system.bzl", "system_repositories")

def _major():
    """Bazel's major version; 0 for a build without one, as Debian's bazel-bootstrap 4.2.3 is."""
    v = getattr(native, "bazel_version", "")
    return int(v.split(".")[0]) if v and v[0].isdigit() else 0

def _stand_ins():
    # Rules that Bazel still has inside: the load() statements of the BUILD
    # files get them back under the names that later versions need.
    if _major() < 8:
        maybe(
            stand_in,
            name = "rules_python",
            files = {Label("//third_party/stand_ins:rules_python.bzl.in"): "python/defs.bzl"},
        )
        maybe(
            stand_in,
            name = "rules_shell",
            files = {Label("//third_party/stand_ins:rules_shell.bzl.in"): "shell/sh_test.bzl"},
        )

    # Repositories that Bazel 4 and 5 would download: rules_cc and rules_java
    # to analyse any C target, remote_coverage_tools to analyse any test.
    if _major() < 6:
        maybe(
            stand_in,
            name = "rules_cc",
            files = {Label("//third_party/stand_ins:rules_cc.bzl.in"): "cc/defs.bzl"},
        )
        maybe(
            stand_in,
            name = "rules_java",
            files = {Label("//third_party/stand_ins:rules_java.bzl.in"): "java/defs.bzl"},
        )
        maybe(
            stand_in,
            name = "remote_coverage_tools",
            build = "\n".join([
                "package(default_visibility = [\"//visibility:public\"])",
                "filegroup(name = \"lcov_merger\", srcs = [\"lcov_merger.py\"])",
                "filegroup(name = \"coverage_report_generator\", srcs = [\"lcov_merger.py\"])",
                "",
            ]),
            files = {Label("//third_party/stand_ins:lcov_merger.py"): "lcov_merger.py"},
        )

def memkv_dependencies():
    """Declares everything memkv needs; a repository declared before this call wins."""
    _stand_ins()
    system_repositories(skip = native.existing_rules().keys())
