#!/bin/bash
# test.sh [STEP...]: run the steps (all of them, or those named), each of which
# prints lines "ok - NAME", "not ok - NAME" or "skip - NAME", and close with
# "N passed, N failed, N skipped". Other lines are details and pass through.
#
# Hardly a step keeps two cores busy, so there are two lanes. The one beside helps
# the other when its own steps are done; what it says is printed in the end.
# ARCH=arm64 has all of them run for arm64; without it arm64 has what needs no more
# than one kernel and an initramfs.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name, seconds at most, command
steps=(
	"kernels    3600 lab/tests/kernels.sh"
	"static      300 lab/tests/static.sh kernel-doc size maintainer"
	"switch      300 lab/tests/switch.sh"
	"kunit       300 lab/kunit.sh"
	"quick      1800 lab/quick.sh"
	"selftests  3600 lab/selftests.sh -o"
	"movable     300 lab/quick.sh -n movable -t 240 -c movablecore=768M -O -t -O hwpoison_offline -O -t -O pin_contended"
	"stress      600 lab/quick.sh -n stress -P anon_vma_lazy_stress -O -t -O 60 -O -o"
)
beside=(
	"lab         900 lab/tests/lab.sh"
	"roundtrip   600 lab/tests/roundtrip.sh"
	"checkpatch  600 lab/tests/checkpatch.sh"
	"vma         600 lab/tests/vma.sh"
	"model       300 lab/model/run.sh"
	"compare      60 lab/tests/selftests.sh"
	"stat        120 lab/tests/stat.sh"
)
[ "${ARCH:-x86_64}" != x86_64 ] || beside+=(
	"arm64-kernel 3600 env ARCH=arm64 lab/tests/kernels.sh CONFIG=debug"
	"arm64-kunit   600 lab/kunit.sh -a arm64 -n kunit-arm64 -t 500"
	"arm64-quick  3600 lab/quick.sh -a arm64 -n quick-arm64 -t 3000 -O -V -O anon_off -O -V -O file_off -O -V -O off"
)

cd "$top"
names=$(printf '%s\n' "${beside[@]}" "${steps[@]}" | cut -d' ' -f1 | xargs)
for wanted; do
	[[ " $names " = *" $wanted "* ]] || die "no step $wanted; there are: $names"
done
wanted=" $* "
mkdir -p "$build/log"
tmp=$(mktemp -d)
lanes=()
# Traps do not wait for it, as both lanes are in the background. timeout passes it on.
# shellcheck disable=SC2317 # the trap calls it
finish()
{
	local lane
	for lane in "${lanes[@]}"; do
		# shellcheck disable=SC2046
		kill "$lane" $(pgrep -P "$lane") 2>/dev/null || :
	done
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# run STEP...: those that are wanted. What they print counts once they are done.
run()
{
	local step name limit command log rc
	for step; do
		read -r name limit command <<<"$step"
		[[ $wanted = "  " || $wanted = *" $name "* ]] || continue
		# Is the other lane at it, or was?
		mkdir "$tmp/$name" 2>/dev/null || continue
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
		cp "$log" "$tmp/$name.log"
	done
}

{
	run "${beside[@]}"
	until [ -e "$tmp/ready" ]; do sleep 1; done
	run "${steps[@]}"
} >"$tmp/beside" 2>&1 &
lanes+=($!)
# The kernels are what all of the others need.
{
	run "${steps[0]}"
	: >"$tmp/ready"
	run "${steps[@]}"
} &
lanes+=($!)
wait "${lanes[1]}"
tail -n +1 -f --pid="${lanes[0]}" "$tmp/beside" &
wait "${lanes[0]}" $!
lanes=()

count() { cat "$tmp"/*.log | grep -c "^$1 - " || :; }
failed=$(count "not ok")
if [ "$failed" -gt 0 ]; then
	echo "# failed:"
	grep -h '^not ok - ' "$tmp"/*.log | sed 's/^/# /'
fi
echo "$(count ok) passed, $failed failed, $(count skip) skipped"
[ "$failed" -eq 0 ]
