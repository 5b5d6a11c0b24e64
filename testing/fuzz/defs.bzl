"""Tests that replay a fuzzer's corpus."""

load("@rules_cc//cc:defs.bzl", "cc_test")
load("//third_party/bazel:copts.bzl", "MKV_COPTS")

def fuzz_test(name, corpus, deps, mutations = 3000):
    """An ordinary test that runs x_fuzz.c over its corpus and over mutations of it.

    Args:
      name: x_fuzz, of the source x_fuzz.c
      corpus: label of the corpus, "//testing/fuzz:corpus_x"
      deps: what the fuzzer uses
      mutations: how many inputs to make from the corpus
    """
    cc_test(
        name = name,
        size = "small",
        srcs = [name + ".c"],
        args = [
            "--mutations",
            str(mutations),
            "$(rootpaths %s)" % corpus,
        ],
        copts = MKV_COPTS,
        data = [corpus],
        deps = deps + ["//testing/fuzz:replay"],
    )
