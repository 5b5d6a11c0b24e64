# ./dev vm: a guest with real verbs devices (Soft-RoCE), under QEMU in emulation.
# shellcheck shell=bash
#
# The guest sees this machine's files, and writes none of them: its root is this machine's, read-only,
# under an overlay in memory. What leaves it: the console, the exit status, and what a command writes
# into the directory that MKV_VM_OUT names.

MKV_VM_MODULES="crc32_generic virtio_pci 9pnet_virtio 9p overlay virtio_net veth rdma_rxe ib_uverbs rdma_ucm sch_netem sch_ingress cls_u32 act_gact"

vm_usage() {
    cat <<'EOF'
Usage: ./dev vm [COMMAND [ARG...]]

Boots a kernel with Soft-RoCE under QEMU (some seconds), runs COMMAND in it as root in this folder, or
a shell where there is none, and ends with its exit status. The guest sees this machine's files and
changes none of them.

  rxe0 (10.0.0.1)  ----  rxe2 (10.0.0.2)      clients have the left ends,
  rxe1 (10.0.1.1)  ----  rxe3 (10.0.1.2)      servers the right ones

  ./dev vm
  # export MEMKV_AUTH_KEY=$(out/bin/memkv keygen) PATH=$PWD/out/bin:$PATH
  # MEMKV_RDMA_DEVICES=rxe2,rxe3 memkv serve --listen 10.0.0.2:9900 --memory 256M &
  # export MEMKV_SERVERS=10.0.0.2 MEMKV_RDMA_DEVICES=rxe0
  # memkv put greeting - -v <<<hello
  # memkv doctor

Environment: MKV_VM_OUT (the folder that the guest may write to), MKV_VM_CPUS (2), MKV_VM_MEMORY
(3072, MiB), MKV_VM_TIMEOUT (900, seconds).
EOF
}

vm_kernel_package() {
    apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | sed -n 1p
}

# The kernel is unpacked, not installed. Prints the directory that has it.
vm_unpack_kernel() {
    local package dir
    package=$(vm_kernel_package)
    [[ -n $package ]] || {
        apt-get update -qq
        package=$(vm_kernel_package)
    }
    [[ -n $package ]] || die "apt knows no package linux-image-amd64"
    dir=$MKV_ROOT/out/vm/$package
    if [[ ! -e $dir/unpacked ]]; then
        rm -rf "$dir"
        mkdir -p "$dir/deb" "$dir/tree"
        (cd "$dir/deb" && apt-get download -qq "$package" 2>/dev/null) || die "$package cannot be had"
        dpkg -x "$dir"/deb/*.deb "$dir/tree"
        rm -rf "$dir/deb"
        depmod -b "$dir/tree" "$(ls "$dir/tree/lib/modules")"
        touch "$dir/unpacked"
    fi
    echo "$dir"
}

# vm_initramfs DIR: busybox, the modules in the order of their needs, and init.
vm_initramfs() {
    local dir=$1 version module work=$1/initramfs
    version=$(ls "$dir/tree/lib/modules")
    rm -rf "$work"
    mkdir -p "$work/bin" "$work/modules" "$work/proc" "$work/sys" "$work/dev" "$work/host" \
        "$work/memory" "$work/all"
    cp "$(command -v busybox)" "$work/bin/busybox"
    cp testing/vm/init "$work/init"
    for module in $MKV_VM_MODULES; do
        modprobe -d "$dir/tree" -S "$version" -D "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' >"$dir/modules"
    while read -r module; do
        cp "$module" "$work/modules/"
        basename "$module"
    done <"$dir/modules" >"$work/modules/order"
    (cd "$work" && find . | cpio --quiet -o -H newc | gzip -1) >"$dir/initramfs.gz"
}

# The guest is told how fast its clock is: what it would measure itself, on a busy machine, may be wrong.
vm_khz() { # DIR
    gcc -O2 -o "$1/tsc" testing/vm/tsc.c && "$1/tsc"
}

# vm_run [COMMAND [ARG...]]: boots, runs it, and returns its exit status; without one a shell.
vm_run() {
    local dir share status khz
    dir=$(vm_unpack_kernel)
    vm_initramfs "$dir"
    khz=$(vm_khz "$dir") || die "the time-stamp counter cannot be measured"
    share=${MKV_VM_OUT:-$(mktemp -d)}
    mkdir -p "$share"
    rm -f "$share/.status"
    {
        printf 'cd %q\n' "$PWD"
        printf 'export PATH=%q TERM=%q\n' "$PATH" "${TERM:-dumb}"
        if [[ $# != 0 ]]; then
            printf '%q ' "$@"
        else
            printf 'exec setsid --ctty bash -i'
        fi
        echo
    } >"$share/.command"
    timeout --foreground "${MKV_VM_TIMEOUT:-900}" qemu-system-x86_64 -M q35 -cpu max -smp "${MKV_VM_CPUS:-2}" \
        -m "${MKV_VM_MEMORY:-3072}" -nographic -no-reboot -kernel "$dir"/tree/boot/vmlinuz-* \
        -initrd "$dir/initramfs.gz" -append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable tsc_early_khz=$khz mkv.guest=$MKV_ROOT/testing/vm/guest.sh" \
        -fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap" \
        -device virtio-9p-pci,fsdev=root,mount_tag=root \
        -fsdev "local,id=share,path=$share,security_model=none" \
        -device virtio-9p-pci,fsdev=share,mount_tag=share \
        -nic none -serial mon:stdio -display none -monitor none 2>&1 |
        tee "$dir/console" | vm_console "$#" || true
    status=$(cat "$share/.status" 2>/dev/null) || status=
    rm -f "$share/.command" "$share/.status"
    [[ -n ${MKV_VM_OUT:-} ]] || rm -rf "$share"
    if [[ -z $status ]]; then
        say "the guest ended without a word: it did not boot, or ran into its time limit; it said:"
        tail -n 30 "$dir/console"
        return 125
    fi
    return "$status"
}

# A terminal gets all; a file gets neither carriage returns nor what the firmware draws.
vm_console() {
    if [[ $1 == 0 ]]; then
        cat
    else
        sed -u -e 's/\r//g' -e '1,/== guest$/d'
    fi
}
