#!/bin/bash
# steps.sh [-q]: build and boot the kernel after each patch of the series, with
# the option on (as far as that step has it) and off; with -q run the quick suite
# on it, too. What was good is remembered in the cache by tree and configuration,
# so that only changed steps cost time.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

quick=
case ${1-} in
'') ;;
-q) quick=-quick ;;
*) die "steps.sh: -q or nothing" ;;
esac
config=${CONFIG:-}
fragments=$(cat "$lab"/config/{common,"${ARCH:-x86_64}",lazy}.config ${config:+"$lab/config/$config.config"} |
	sha256sum | cut -c1-8)
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
		key=$tree-$fragments-$lazy-$config$quick
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
			if [ -n "$quick" ] && ! "$lab/quick.sh" -T "$linux" "$kernel" >"$LAB_BUILD/out" 2>&1; then
				grep -v '^ok\|^skip' "$LAB_BUILD/out" | sed 's/^/# /'
				echo "not ok - $title: passes the quick suite"
				bad=1
				continue
			fi
			touch "$good/$key"
			# Where the option is not to be had yet, off is the same.
			grep -qx CONFIG_ANON_VMA_LAZY=y "$(dirname "$kernel")/.config" ||
				touch "$good/${key/-auto-/-n-}"
		fi
		echo "ok - $title"
	done
done
exit $bad
