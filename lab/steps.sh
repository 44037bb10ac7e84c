#!/bin/bash
# steps.sh: build and boot the kernel after each patch of the series, with the
# option on (as far as that step has it) and off. What was good is remembered
# in the cache by tree and configuration, so that only changed steps cost time.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

config=${CONFIG:-}
good=$cache/steps
mkdir -p "$good" "$build/log"
# A build directory of its own, for its own kernel tree.
export LAB_BUILD=$build/steps
linux=$LAB_BUILD/linux
rm -rf "$linux/.git/lab-inputs"
[ ! -d "$linux" ] || labgit -C "$linux" checkout -q -f -B lazy refs/lab/assembled
"$lab/assemble.sh"
lock "$LAB_BUILD/steps.lock"
"$lab/initramfs.sh" -o "$LAB_BUILD/initramfs.cpio"

bad=0
for commit in $(labgit -C "$linux" rev-list --reverse base..lazy); do
	subject=$(labgit -C "$linux" log -1 --format=%s "$commit")
	tree=$(labgit -C "$linux" rev-parse "$commit^{tree}")
	for lazy in auto n; do
		key=$tree-$(cat "$lab"/config/* | sha256sum | cut -c1-8)-$lazy-$config
		title="step $subject, $([ $lazy = n ] && echo off || echo on)${config:+, $config}"
		if [ ! -e "$good/$key" ]; then
			labgit -C "$linux" checkout -q --detach "$commit"
			if ! kernel=$(CONFIG=$config LAZY=$lazy "$lab/kernel.sh" 2>"$LAB_BUILD/out"); then
				sed 's/^/# /' "$LAB_BUILD/out"
				echo "not ok - $title: builds"
				bad=1
				continue
			fi
			if ! "$lab/boot.sh" -q -i "$LAB_BUILD/initramfs.cpio" -l "$LAB_BUILD/console" \
				"$kernel" -- true >"$LAB_BUILD/out" 2>&1; then
				sed 's/^/# /' "$LAB_BUILD/out"
				echo "not ok - $title: boots"
				bad=1
				continue
			fi
			touch "$good/$key"
		fi
		echo "ok - $title"
	done
done
exit $bad
