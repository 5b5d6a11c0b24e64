# ./dev setup: Debian packages and the virtual environment.
# shellcheck shell=bash

# missing_packages FILE: prints "PACKAGE WHY" for each of its packages that is not installed.
missing_packages() {
    local package why
    while read -r package why; do
        case $package in '' | '#'*) continue ;; esac
        if [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) != ii* ]]; then
            printf '%s %s\n' "$package" "$why"
        fi
    done <"$1"
}

# setup_packages [FILE]
setup_packages() {
    local file=${1:-testing/dev/packages.txt} missing sudo=()
    command -v dpkg-query >/dev/null ||
        die "this is not Debian; install what $file names, by your system's names"
    missing=$(missing_packages "$file")
    [[ -n $missing ]] || return 0
    say "installing Debian packages:"
    sed 's/^\([^ ]*\) */   \1: /' <<<"$missing"
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || die "not root and no sudo: please install the packages above"
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq
    # shellcheck disable=SC2046
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends \
        $(cut -d' ' -f1 <<<"$missing") >/dev/null
    missing=$(missing_packages "$file")
    [[ -z $missing ]] || die "still missing: $missing"
}

# The tools of lint and of the wheel: small.
setup_tools() {
    venv_install testing/dev/requirements.txt
}

# sglang on the CPU, for the demo and the Python tests: about 1.6 GB, nearly all of it torch.
setup_sglang() {
    local files=()
    shopt -s nullglob
    files=(testing/sglang/requirements*.txt)
    shopt -u nullglob
    venv_install "${files[@]}"
}
