# ./dev setup: Debian packages and the virtual environment.
# shellcheck shell=bash

# Prints "PACKAGE WHY" for each package that is not installed.
missing_packages() {
    local package why
    while read -r package why; do
        case $package in '' | '#'*) continue ;; esac
        if [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) != ii* ]]; then
            printf '%s %s\n' "$package" "$why"
        fi
    done <testing/dev/packages.txt
}

setup_packages() {
    local missing sudo=()
    command -v dpkg-query >/dev/null ||
        die "this is not Debian; install what testing/dev/packages.txt names, by your system's names"
    missing=$(missing_packages)
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
    [[ -z $(missing_packages) ]] || die "still missing: $(missing_packages)"
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
