# Shared by the scripts of ./dev: messages, Bazel, the virtual environment, results.
# shellcheck shell=bash
# Sourced with the repository's root as current directory.

MKV_ROOT=$PWD
MKV_VENV=${MKV_VENV:-$MKV_ROOT/.venv}

say() { printf '== %s\n' "$*"; }
die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# MKV_BAZEL_STARTUP: start-up options of your own, such as --output_user_root=DIR.
bz() {
    local startup=()
    read -ra startup <<<"${MKV_BAZEL_STARTUP:-}"
    bazel "${startup[@]}" "$@"
}

# Options of each bazel command: without a terminal no colours and no progress.
bz_options() {
    if [[ -t 1 && -z ${CI:-} ]]; then
        return
    fi
    echo --config=ci
}

# Results: one line "pass NAME", "fail NAME" or "skip NAME" each, in the file MKV_RESULTS.
result() {
    [[ -z ${MKV_RESULTS:-} ]] || printf '%s %s\n' "$1" "$2" >>"$MKV_RESULTS"
    printf '%s: %s\n' "${1^^}" "$2"
}

# check NAME COMMAND...: runs it and counts it; its output is shown. Never fails.
check() {
    local name=$1 started=$SECONDS
    shift
    say "$name"
    if "$@" </dev/null; then
        result pass "$name ($((SECONDS - started)) s)"
    else
        result fail "$name"
    fi
}

# Python of Debian where there is one, since the extension is built with its headers.
base_python() {
    if [[ -x /usr/bin/python3 ]]; then
        echo /usr/bin/python3
    else
        command -v python3
    fi
}

# venv_install FILE...: what the files name is in .venv; nothing happens when it was done before.
# A first line "# pip: OPTIONS" in a file gives pip these options.
venv_install() {
    local file stamp options
    if [[ ! -x $MKV_VENV/bin/python ]]; then
        say "making the virtual environment $MKV_VENV"
        "$(base_python)" -m venv "$MKV_VENV"
    fi
    for file in "$@"; do
        stamp=$MKV_VENV/.done-$(sha256sum <"$file" | cut -c1-16)
        [[ ! -e $stamp ]] || continue
        say "installing what $file names into $MKV_VENV"
        read -ra options <<<"$(sed -n '1s/^# pip: //p' "$file")"
        "$MKV_VENV/bin/python" -m pip install --disable-pip-version-check --no-input -qq \
            "${options[@]}" -r "$file"
        touch "$stamp"
    done
}
