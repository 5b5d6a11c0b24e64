"""stand_in: a small repository written from files of this one."""

def _stand_in_impl(ctx):
    ctx.file("BUILD", ctx.attr.build, executable = False)
    for label, dest in ctx.attr.files.items():
        ctx.template(dest, label, executable = dest.endswith(".py"))
        if "/" in dest:
            ctx.file(dest.rsplit("/", 1)[0] + "/BUILD", "", executable = False)

stand_in = repository_rule(
    implementation = _stand_in_impl,
    attrs = {
        "build": attr.string(),
        "files": attr.label_keyed_string_dict(allow_files = True, mandatory = True),
    },
)
