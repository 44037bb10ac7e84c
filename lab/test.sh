#!/bin/bash
# test.sh [STEP...]: run the steps (all of them, or those named), each of which
# prints lines "ok - NAME", "not ok - NAME" or "skip - NAME", and close with
# "N passed, N failed, N skipped". Other lines are details and pass through.
#
# ARCH=arm64 has all of them run for arm64; without it arm64 has what needs no
# more than one kernel and an initramfs.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name, seconds at most, command. In this order: what is quick comes first.
steps=(
	"lab         900 lab/tests/lab.sh"
	"roundtrip   600 lab/tests/roundtrip.sh"
	"checkpatch  600 lab/tests/checkpatch.sh"
	"vma         600 lab/tests/vma.sh"
	"model       300 lab/model/run.sh"
	"compare      60 lab/tests/selftests.sh"
	"stat        120 lab/tests/stat.sh"
	"kernels    3600 lab/tests/kernels.sh"
	"static      300 lab/tests/static.sh kernel-doc size maintainer"
	"switch      300 lab/tests/switch.sh"
	"kunit       300 lab/kunit.sh"
	"quick      1800 lab/quick.sh"
	"movable     300 lab/quick.sh -n movable -t 240 -c movablecore=768M -O -t -O hwpoison_offline -O -t -O pin_contended"
	"stress      600 lab/quick.sh -n stress -P anon_vma_lazy_stress -O -t -O 60"
	"selftests  3600 lab/selftests.sh"
)
[ "${ARCH:-x86_64}" != x86_64 ] || steps+=(
	"arm64-kernel 3600 env ARCH=arm64 lab/tests/kernels.sh CONFIG=debug"
	"arm64-kunit   600 lab/kunit.sh -a arm64 -n kunit-arm64 -t 500"
	"arm64-quick  3600 lab/quick.sh -a arm64 -n quick-arm64 -t 3000"
)

cd "$top"
mkdir -p "$build/log"
tally=$(mktemp)
trap 'rm -f "$tally"' EXIT
for wanted; do
	grep -q "^$wanted " <<<"$(printf '%s\n' "${steps[@]}")" ||
		die "no step $wanted; there are: $(printf '%s\n' "${steps[@]}" | cut -d' ' -f1 | xargs)"
done
for step in "${steps[@]}"; do
	read -r name limit command <<<"$step"
	[ $# -eq 0 ] || [[ " $* " = *" $name "* ]] || continue
	echo "# $name"
	log=$build/log/test-$name.log
	rc=0
	# shellcheck disable=SC2086
	timeout -k 20 "$limit" $command </dev/null 2>&1 | tee "$log" || rc=${PIPESTATUS[0]}
	if [ "$rc" -eq 124 ]; then
		echo "not ok - $name: no end after $limit s" | tee -a "$log"
	elif [ "$rc" -ne 0 ] && ! grep -q '^not ok - ' "$log"; then
		echo "not ok - $name: exit status $rc" | tee -a "$log"
	elif ! grep -qE '^(ok|not ok|skip) - ' "$log"; then
		echo "not ok - $name: ran nothing" | tee -a "$log"
	fi
	cat "$log" >>"$tally"
done
count() { grep -c "^$1 - " "$tally" || :; }
failed=$(count "not ok")
if [ "$failed" -gt 0 ]; then
	echo "# failed:"
	grep '^not ok - ' "$tally" | sed 's/^/# /'
fi
echo "$(count ok) passed, $failed failed, $(count skip) skipped"
[ "$failed" -eq 0 ]
