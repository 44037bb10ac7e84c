#!/bin/bash
# The kernels build, without a warning, and vm_area_struct is of upstream's
# size in each of them (kernel.sh compares).

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

build_one()
{
	local name=$1 log
	shift
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
build_one x86_64 ARCH=x86_64
build_one x86_64-off ARCH=x86_64 LAZY=n
build_one x86_64-debug ARCH=x86_64 CONFIG=debug
