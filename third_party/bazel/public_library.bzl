"""What of a cc_library leaves the repository: its public headers and its code, nothing else.

A cc_library hands the headers of all its dependencies on to whoever depends on it, so a
consumer of the client could include "core/worker.h". public_library hands on the link half
of a library and only the headers that it names. combined_object makes one object of it.
"""

def _headers(ctx):
    """Links the headers into a directory of their own, and returns files and directory."""
    root = ctx.label.name + "_include"
    files = []
    for header in ctx.files.hdrs:
        path = header.short_path
        if ctx.attr.strip_prefix not in path:
            fail("%s does not lie under %s" % (path, ctx.attr.strip_prefix))
        out = ctx.actions.declare_file(root + "/" + path.split(ctx.attr.strip_prefix + "/", 1)[1])
        ctx.actions.symlink(output = out, target_file = header)
        files.append(out)
    parts = [ctx.bin_dir.path, ctx.label.workspace_root, ctx.label.package, root]
    return files, "/".join([p for p in parts if p])

def _public_library_impl(ctx):
    files, directory = _headers(ctx)
    compilation = cc_common.create_compilation_context(
        headers = depset(files),
        system_includes = depset([directory]),
    )
    linking = ctx.attr.library[CcInfo].linking_context
    return [
        DefaultInfo(files = depset(transitive = [ctx.attr.library[DefaultInfo].files])),
        CcInfo(compilation_context = compilation, linking_context = linking),
        coverage_common.instrumented_files_info(ctx, dependency_attributes = ["library"]),
    ]

public_library = rule(
    implementation = _public_library_impl,
    attrs = {
        "hdrs": attr.label_list(allow_files = [".h"], mandatory = True),
        "library": attr.label(providers = [CcInfo], mandatory = True),
        "strip_prefix": attr.string(mandatory = True, doc = "the path up to the include directory"),
    },
)

def _archives(linking):
    """The static libraries of a linking context, position-independent where there is a choice."""
    found = []
    for linker_input in linking.linker_inputs.to_list():
        for library in linker_input.libraries:
            archive = library.pic_static_library or library.static_library
            if archive:
                found.append(archive)
    return found

# One relocatable object, in which only what matches mkv_* but not mkv__* stays global.
_COMBINE = """set -eu
out=$1; shift
ld -r -o "$out" --whole-archive "$@"
objcopy --wildcard --keep-global-symbol='!mkv__*' --keep-global-symbol='mkv_*' "$out"
"""

def _combined_object_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".pic.o")
    archives = _archives(ctx.attr.library[CcInfo].linking_context)
    ctx.actions.run_shell(
        outputs = [out],
        inputs = archives,
        command = _COMBINE,
        arguments = [out.path] + [a.path for a in archives],
        mnemonic = "CombineArchives",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

combined_object = rule(
    implementation = _combined_object_impl,
    attrs = {
        "library": attr.label(providers = [CcInfo], mandatory = True),
    },
)
