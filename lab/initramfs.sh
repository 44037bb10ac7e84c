#!/bin/bash
# initramfs.sh: a small initramfs from a static busybox, guest-init.sh and the
# programs given, which must be linked statically. boot.sh boots it.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: initramfs.sh [-a ARCH] [-o FILE] [PROGRAM...]

  -a ARCH      x86_64, arm64; default: ARCH= in the environment, or x86_64. If
               that is not the machine's, Debian's busybox-static is fetched.
  -o FILE      default build/initramfs.cpio
  -h           this text

PROGRAMs (static binaries, scripts) lie in /lab/bin in the guest.
USAGE
}

out=$build/initramfs.cpio arch=${ARCH:-x86_64}
while getopts a:o:h opt; do
	case $opt in
	a) arch=$OPTARG ;;
	o) out=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
set_arch "$arch"

is_dynamic()
{
	LC_ALL=C readelf -lW "$1" 2>/dev/null | grep -q INTERP
}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/initramfs.XXXXXX")
trap 'rm -rf "$tmp" "$tmp.deb"' EXIT

if [ -n "$native" ]; then
	busybox=$(command -v busybox) ||
		die "initramfs.sh: no busybox: apt-get install busybox-static"
	! is_dynamic "$busybox" ||
		die "initramfs.sh: $busybox needs shared libraries: apt-get install busybox-static"
else
	busybox=$cache/busybox-$arch
	if [ ! -s "$busybox" ]; then
		need_tools mmdebstrap
		mkdir "$tmp.deb"
		debian_extract "$tmp.deb" busybox-static
		tar -xOf "$tmp.deb/tar" ./usr/bin/busybox >"$busybox.$$" && [ -s "$busybox.$$" ] ||
			die "initramfs.sh: there is no /usr/bin/busybox in Debian's busybox-static any more"
		mv "$busybox.$$" "$busybox"
	fi
fi

mkdir -p "$tmp/bin" "$tmp/lab/bin"
cp -L "$busybox" "$tmp/bin/busybox"
ln -s busybox "$tmp/bin/sh"
cp "$lab/guest-init.sh" "$tmp/init"
for f; do
	[ -r "$f" ] || die "initramfs.sh: no such program: $f"
	! is_dynamic "$f" || die "initramfs.sh: $f is linked dynamically: link it with -static"
	cp -L "$f" "$tmp/lab/bin/"
done
chmod -R u+w,a+rX "$tmp"
chmod +x "$tmp/init" "$tmp/bin/busybox"

# Not compressed: unpacking takes longer under emulation than reading.
mkdir -p "$(dirname "$out")"
(cd "$tmp" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$out.$$"
mv "$out.$$" "$out"
