#!/bin/sh
# demo-guest.sh WORKLOAD: what demo.sh runs in the guest. Tab-separated lines:
# the state of the switch and slabsnap's snapshots.
set -eu

printf 'switch\t%s\n' "$(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo none)"
printf 'kernel\t%s\n' "$(uname -r)"

case $1 in
boot)
	# boot.sh has waited for multi-user.target and 30 s more.
	failed=$(systemctl --failed --no-legend --plain | awk '{ print $1 }')
	[ -z "$failed" ] || { echo "failed units: $failed" >&2; exit 1; }
	# This shell has forked; it is no part of the system that is measured.
	exec slabsnap --label boot
	;;
apps)
	# shellcheck disable=SC2016 # the shell that apps starts expands it
	apps --mremap --snapshot 'slabsnap --label gaps-$APPS_PHASE'
	# shellcheck disable=SC2016
	apps --mremap --adjacent --snapshot 'slabsnap --label adjacent-$APPS_PHASE'
	;;
esac
