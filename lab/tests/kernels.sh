#!/bin/bash
# kernels.sh [SETTING...]: the kernels of ARCH= build, without a warning, and
# vm_area_struct is of upstream's size in each of them (kernel.sh compares). SETTING
# is a variable for kernel.sh; default: none, LAZY=n and CONFIG=debug, one each.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# build_one SETTING
build_one()
{
	local name=${ARCH:-x86_64} log
	case $1 in
	LAZY=n) name+=-off ;;
	CONFIG=?*) name+=-${1#*=} ;;
	esac
	log=$build/log/$name.log
	if ! env "$1" "$lab/kernel.sh" >"$build/log/test-build.out" 2>&1; then
		tail -n 20 "$build/log/test-build.out" | sed 's/^/# /'
		echo "not ok - kernel $name builds"
	elif grep -E 'warning: |WARNING: ' "$log" | sed 's/^/# /' | grep .; then
		echo "not ok - kernel $name builds without a warning"
	else
		echo "ok - kernel $name builds, vm_area_struct as large as upstream's"
	fi
}

mkdir -p "$build/log"
[ $# -gt 0 ] || set -- CONFIG= LAZY=n CONFIG=debug
for setting; do
	build_one "$setting"
done
