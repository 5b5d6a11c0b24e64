"""pkg_config_library: a repository with one cc_library for an installed library."""

def _run(ctx, args):
    r = ctx.execute(args)
    if r.return_code != 0:
        fail("%s: %s failed: %s" % (ctx.name, " ".join([str(a) for a in args]), r.stderr))
    return [x for x in r.stdout.strip().split(" ") if x]

def _is_builtin_dir(d):
    """/usr/include and Debian's /usr/include/<multiarch> are searched anyway."""
    d = d.rstrip("/")
    return d == "/usr/include" or (d.startswith("/usr/include/") and d.endswith("-linux-gnu"))

def _pkg_config_library_impl(ctx):
    pkg_config = ctx.os.environ.get("PKG_CONFIG") or ctx.which("pkg-config")
    if not pkg_config:
        fail("pkg-config was not found on PATH; apt-get install pkg-config")
    found = ctx.execute([pkg_config, "--exists"] + ctx.attr.packages)
    if found.return_code != 0:
        fail("no pkg-config file for %s; on Debian: apt-get install %s" %
             (", ".join(ctx.attr.packages), ctx.attr.apt))
    cflags = _run(ctx, [pkg_config, "--cflags"] + ctx.attr.packages)
    libs = [] if ctx.attr.headers_only else _run(ctx, [pkg_config, "--libs"] + ctx.attr.packages)

    # Directories that the compiler searches anyway stay out. Any other one is
    # linked into the repository, so that the sandbox and the inclusion check
    # know it.
    includes = []
    defines = []
    for i, f in enumerate(cflags):
        if f.startswith("-I") and _is_builtin_dir(f[2:]):
            pass
        elif f.startswith("-I"):
            d = "include%d" % i
            ctx.symlink(f[2:], d)
            includes.append(d)
        elif f.startswith("-D"):
            defines.append(f[2:])
    build = _BUILD
    for k, v in {
        "%{name}": ctx.attr.library,
        "%{hdrs}": repr(["%s/**/*.h" % d for d in includes]),
        "%{includes}": repr(includes),
        "%{defines}": repr(defines),
        "%{linkopts}": repr(libs),
    }.items():
        build = build.replace(k, v)
    ctx.file("BUILD", build, executable = False)

_BUILD = """load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "%{name}",
    hdrs = glob(%{hdrs}, allow_empty = True),
    defines = %{defines},
    includes = %{includes},
    linkopts = %{linkopts},
    visibility = ["//visibility:public"],
)
"""

pkg_config_library = repository_rule(
    implementation = _pkg_config_library_impl,
    attrs = {
        "packages": attr.string_list(mandatory = True),
        "apt": attr.string(doc = "the Debian package, for the error message"),
        "headers_only": attr.bool(doc = "nothing is linked"),
        "library": attr.string(mandatory = True, doc = "the name of the cc_library"),
    },
    configure = True,
    local = True,
    environ = ["PATH", "PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"],
)
