"""What memkv takes from the machine: libraries (through pkg-config) and Python."""

load(":local_python.bzl", "local_python")
load(":pkg_config.bzl", "pkg_config_library")

# name of the repository and of its cc_library: (pkg-config packages, Debian package)
LIBRARIES = {
    "cmocka": (["cmocka"], "libcmocka-dev"),
    "jansson": (["jansson"], "libjansson-dev"),
    "libcrypto": (["libcrypto"], "libssl-dev"),
    "libibverbs": (["libibverbs"], "libibverbs-dev"),
    "libisal": (["libisal"], "libisal-dev"),
    "librdmacm": (["librdmacm"], "librdmacm-dev"),
    # One library for the flavours in use: bp for the caller's threads, qsbr for our workers,
    # cds for the hash table and the queues.
    "liburcu": (["liburcu-bp", "liburcu-qsbr", "liburcu-cds"], "liburcu-dev"),
    "libyaml": (["yaml-0.1"], "libyaml-dev"),
    "popt": (["popt"], "libpopt-dev"),
}

# Found at run time, so that the same program runs where they are not installed.
HEADERS_ONLY = ["libibverbs", "librdmacm"]

def system_repositories(skip = []):
    """Declares the repositories of this machine.

    Args:
      skip: names that are declared already
    """
    for name, (packages, apt) in LIBRARIES.items():
        if name not in skip:
            pkg_config_library(
                name = name,
                apt = apt,
                headers_only = name in HEADERS_ONLY,
                library = name,
                packages = packages,
            )
    if "memkv_python" not in skip:
        local_python(name = "memkv_python")
