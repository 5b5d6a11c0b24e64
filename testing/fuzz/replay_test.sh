#!/bin/sh
# replay_test.sh BROKEN_FUZZ: what a fuzzer finds is told, kept, and found again from the same seed.
set -eu
broken=$PWD/$1
export TEST_UNDECLARED_OUTPUTS_DIR="${TEST_TMPDIR:?}"
cd "$TEST_TMPDIR"

fail() {
    echo "$*" >&2
    exit 1
}

printf harmless >good
printf 'boom!' >bad
printf 'coom' >near

"$broken" good near >out 2>&1 || fail "harmless files fail: $(cat out)"
grep -q '^2 files and 0 mutations of seed 1$' out || fail "does not say what it did: $(cat out)"

if "$broken" good bad >out 2>&1; then
    fail "a failing file passes"
fi
grep -q '^bad: the fuzzer' out || fail "does not name the file: $(cat out)"
grep -q 'input of 5 bytes: boom!' out || fail "does not show the input: $(cat out)"
cmp -s bad failing-input || fail "does not keep the input"

if "$broken" --mutations 200000 --seed 7 near >first 2>&1; then
    fail "no mutation of 'coom' was 'boom'"
fi
grep -q '^mutation [0-9]* of seed 7: the fuzzer' first || fail "no number: $(cat first)"
"$broken" failing-input >/dev/null 2>&1 && fail "what was kept does not fail again"
"$broken" --mutations 200000 --seed 7 near >second 2>&1 && fail "the same seed passes"
cmp -s first second || fail "the same seed finds another input"

if "$broken" nowhere >out 2>&1 || "$broken" >out 2>&1; then
    fail "nothing to run passes"
fi
