#!/bin/bash
# steps.sh [-q]: build and boot the kernel after each patch of the series, with
# the option on (as far as that step has it) and off; with -q run the quick suite
# on it, too. What was good is remembered in the cache by tree and configuration,
# so that only changed steps cost time. Closes with a table: for each step "ok", what
# is not, or "none", where the option is not to be had yet.

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

# try TITLE: builds, boots and tests what is checked out. Says what is wrong.
try()
{
	local title=$1 said=$LAB_BUILD/out
	what=builds
	kernel=$(CONFIG=$config LAZY=$lazy "$lab/kernel.sh" 2>"$said") &&
		what=boots &&
		"$lab/boot.sh" -q -i "$LAB_BUILD/initramfs.cpio" -l "$LAB_BUILD/console" \
			"$kernel" -- true >"$said" 2>&1 &&
		what="passes the quick suite" &&
		{ [ -z "$quick" ] || "$lab/quick.sh" -T "$linux" "$kernel" >"$said" 2>&1; } &&
		return
	grep -v '^ok\|^skip' "$said" | sed 's/^/# /'
	echo "not ok - $title: $what"
	bad=1
	return 1
}

bad=0
table=$LAB_BUILD/steps.tsv
printf 'step\ton\toff\n' >"$table"
for commit in $(labgit -C "$linux" rev-list --reverse base..lazy); do
	subject=$(labgit -C "$linux" log -1 --format=%s "$commit")
	tree=$(labgit -C "$linux" rev-parse "$commit^{tree}")
	row=$subject
	for lazy in auto n; do
		key=$good/$tree-$fragments-$lazy-$config$quick
		title="step $subject, $([ $lazy = n ] && echo off || echo on)${config:+, $config}"
		if [ ! -s "$key" ]; then
			labgit -C "$linux" checkout -q --detach "$commit"
			if ! try "$title"; then
				row+=$'\t'"not: $what"
				continue
			fi
			result=ok
			# Where the option is not to be had yet, off is all there is.
			if [ $lazy = auto ] &&
			   ! grep -qx CONFIG_ANON_VMA_LAZY=y "$(dirname "$kernel")/.config"; then
				result=none
				echo ok >"${key/-auto-/-n-}"
			fi
			echo $result >"$key"
		fi
		result=$(cat "$key")
		row+=$'\t'$result
		[ "$result" = none ] || echo "ok - $title"
	done
	echo "$row" >>"$table"
done
column -t -s $'\t' "$table" | sed 's/^/# /'
exit $bad
