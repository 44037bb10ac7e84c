#!/bin/bash
# kernels.sh [SETTINGS...]: the kernels of ARCH= build, without a warning, and
# vm_area_struct is of upstream's size in each of them (kernel.sh compares). SETTINGS
# are variables for kernel.sh. Default: a small one with the option and one without
# it, and that of CONFIG=debug, which the other tests run on.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# build_one SETTING...
build_one()
{
	local name=${ARCH:-x86_64} setting log
	for setting; do
		case $setting in
		LAZY=n) name+=-off ;;
		CONFIG=?*) name+=-${setting#*=} ;;
		esac
	done
	log=$build/log/$name.log
	if ! env "$@" "$lab/kernel.sh" >"$build/log/test-build.out" 2>&1; then
		tail -n 20 "$build/log/test-build.out" | sed 's/^/# /'
		echo "not ok - kernel $name builds"
	elif grep -E 'warning: |WARNING: ' "$log" | sed 's/^/# /' | grep .; then
		echo "not ok - kernel $name builds without a warning"
	else
		echo "ok - kernel $name builds, vm_area_struct as large as upstream's"
	fi
}

mkdir -p "$build/log"
[ $# -gt 0 ] || set -- "CONFIG=small" "CONFIG=small LAZY=n" "CONFIG=debug"
for settings; do
	# shellcheck disable=SC2086 # several
	build_one $settings
done
