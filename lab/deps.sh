#!/bin/bash
# deps.sh [-n] [-s]: install the Debian packages that the lab needs, or, when not
# root, print the one line that does. -n: only say what is missing. -s: also what
# lab/tests/static.sh runs.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages=(
	# source and kernel
	git make gcc libc6-dev flex bison bc perl xz-utils lz4 libelf-dev ccache cpio
	debian-archive-keyring
	# arm64
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm
	# guests and images
	qemu-system-x86 busybox-static mmdebstrap e2fsprogs
	# tools/testing/vma, kselftests
	liburcu-dev libcap-dev libnuma-dev
	# the model
	spin
)

say_only=
while getopts ns option; do
	case $option in
	n) say_only=1 ;;
	s)
		packages+=(sparse coccinelle python3-sphinx)
		# What is called clang may be too old for a kernel.
		command -v clang-{17..30} >/dev/null ||
			mapfile -t -O "${#packages[@]}" packages < <(apt-cache pkgnames clang- |
				grep -E '^clang-[0-9]+$' | sort -V | tail -n 1)
		;;
	*) die "usage: deps.sh [-n] [-s]" ;;
	esac
done

command -v dpkg-query >/dev/null || {
	say "no dpkg here: see lab/deps.sh for what the lab needs (Debian's names)"
	exit 0
}
missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
		missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
line="apt-get install --no-install-recommends -y ${missing[*]}"
if [ -n "$say_only" ] || [ "$(id -u)" -ne 0 ]; then
	die "Debian packages are missing: $line"
fi

# The lists may be absent or old: then, and only then, fetch them.
export DEBIAN_FRONTEND=noninteractive
log=$build/log/deps.log
install=(apt-get -q -o DPkg::Lock::Timeout=300 install --no-install-recommends -y "${missing[@]}")
soft=1 step 900 "$log" "installing ${missing[*]}" "${install[@]}" || {
	soft=1 step 300 "$log" "updating apt's lists" apt-get -q -o APT::Update::Error-Mode=any update ||
		die "apt cannot fetch its lists: no network? See $log"
	step 900 "$log" "installing ${missing[*]}" "${install[@]}"
}
