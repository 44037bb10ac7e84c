#!/bin/sh
# demo-guest.sh WORKLOAD: what demo.sh runs in the guest. Prints lines of words:
# the state of the switch, then snapshots of anon_vma_stat, each with a label.
set -eu

printf 'switch\t%s\n' "$(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo none)"
printf 'kernel\t%s\n' "$(uname -r)"

case $1 in
boot)
	# boot.sh has waited for multi-user.target and 30 s more.
	failed=$(systemctl --failed --no-legend --plain | awk '{ print $1 }')
	[ -z "$failed" ] || { echo "failed units: $failed" >&2; exit 1; }
	# This shell has forked; it is no part of the system that is measured.
	printf 'label\tboot\n'
	exec anon_vma_stat save /proc/self/fd/1
	;;
apps)
	# shellcheck disable=SC2016 # the shell that apps starts expands it
	apps --mremap --snapshot 'echo label gaps-$APPS_PHASE; anon_vma_stat save /proc/self/fd/1'
	# shellcheck disable=SC2016
	apps --mremap --adjacent --snapshot 'echo label adjacent-$APPS_PHASE; anon_vma_stat save /proc/self/fd/1'
	;;
esac
