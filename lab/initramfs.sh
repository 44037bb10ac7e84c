#!/bin/bash
# initramfs.sh: a small initramfs from a static busybox, guest-init.sh and the
# programs given, which must be linked statically. boot.sh boots it.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: initramfs.sh [-o FILE] [-b BUSYBOX] [PROGRAM...]

  -o FILE      default build/initramfs.cpio
  -b BUSYBOX   a static busybox for the guest's architecture,
               default: the machine's own
  -h           this text

PROGRAMs (static binaries, scripts) lie in /lab/bin in the guest.
USAGE
}

out=$build/initramfs.cpio
busybox=$(command -v busybox || :)
while getopts o:b:h opt; do
	case $opt in
	o) out=$OPTARG ;;
	b) busybox=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))

is_dynamic()
{
	LC_ALL=C readelf -lW "$1" 2>/dev/null | grep -q INTERP
}

[ -n "$busybox" ] || die "initramfs.sh: no busybox: apt-get install busybox-static"
! is_dynamic "$busybox" ||
	die "initramfs.sh: $busybox needs shared libraries: apt-get install busybox-static"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/initramfs.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
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
