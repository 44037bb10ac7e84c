#!/bin/bash
# image.sh: make an ext4 image of an ordinary Debian system from packages and
# print its path.
#
# Nothing of ours is in it: what the lab needs in the guest, guest-init.sh puts
# into /run at boot. Kept in the cache under a name made from this file and
# from apt's sources, so that a second call returns at once.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What runs on many a server: all of priority "important" (systemd, udev, cron,
# logrotate, ...) and these.
packages=(systemd-sysv udev dbus libpam-systemd openssh-server rsyslog cron
	at)
# Jobs that start by the clock or wait for a network that there is not.
masked=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
	e2scrub_all.timer fstrim.timer logrotate.timer man-db.timer
	systemd-tmpfiles-clean.timer e2scrub_reap.service
	networking.service systemd-timesyncd.service
	systemd-networkd-wait-online.service systemd-firstboot.service)

# What report.sh runs. It starts the servers itself.
report=(chromium-headless-shell redis-server postgresql gcc libc6-dev make)
report_masked=(redis-server.service postgresql.service)

usage()
{
	cat <<'USAGE'
usage: image.sh [-a ARCH] [-r]

Makes an ext4 image of a Debian system and prints its path. The mirror is that
of this machine's apt, the release trixie: the kernel's source is a backport to
it.

  -a ARCH   x86_64, arm64; default: ARCH= in the environment, or x86_64
  -r        with the programs that report.sh runs
  -h        this text

DEBIAN_MIRROR and DEBIAN_SUITE in the environment override these.
USAGE
}

arch=${ARCH:-x86_64} name='' size=1500M
while getopts a:rh opt; do
	case $opt in
	a) arch=$OPTARG ;;
	r)
		name=report- size=4G
		packages+=("${report[@]}")
		masked+=("${report_masked[@]}")
		;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
set_arch "$arch"

PATH=$PATH:/usr/sbin:/sbin
need_tools mmdebstrap mke2fs

list=$(debian_sources)
[ -n "$list" ] ||
	die "apt knows no Debian archive here: run 'apt-get update', or set DEBIAN_MIRROR=URL and DEBIAN_SUITE=NAME"
suite=$(awk 'NR == 1 { print $(NF - 1) }' <<<"$list")

key=$({ cat "${BASH_SOURCE[0]}"; echo "$list $arch"; } | sha256sum | cut -c -16)
image=$cache/image-$name$arch-$key.ext4
mkdir -p "$cache" "$build/log"

lock "$cache/image.lock"
if [ -s "$image" ]; then
	echo "$image"
	exit 0
fi

need_space "$cache" 5

log=$build/log/image-$name$arch.log
tmp=$(mktemp -d "$cache/image.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mode=root
wrap=()
if [ "$(id -u)" -ne 0 ]; then
	mode=unshare
	wrap=(mmdebstrap --unshare-helper)
fi

start=$SECONDS
echo "$list" >"$tmp/sources.list"
chmod 755 "$tmp"
# shellcheck disable=SC2016 # $1 is the hook's
soft=1 step 1200 "$log" "making a Debian $suite image for $arch" \
	mmdebstrap --mode=$mode --variant=important \
	--architectures="$(dpkg --print-architecture)" --format=tar \
	--include="$(IFS=,; echo "${packages[*]}")" \
	--aptopt='Acquire::Retries "3"' \
	--aptopt='Acquire::http::Timeout "60"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='force-unsafe-io' \
	--customize-hook="systemctl --root \"\$1\" mask ${masked[*]}" \
	--customize-hook='echo lab >"$1/etc/hostname"' \
	--customize-hook='echo "127.0.0.1 localhost lab" >"$1/etc/hosts"' \
	--customize-hook='echo "/dev/vda / ext4 noatime 0 0" >"$1/etc/fstab"' \
	--customize-hook='echo 00000000000000000000000000000001 >"$1/etc/machine-id"' \
	"$suite" "$tmp/tar" "$tmp/sources.list" || {
		grep -E '^[EW]:|error' "$log" | tail -n 3 >&2 || :
		die "mmdebstrap failed, see $log (no network? apt's sources?)"
	}

mkdir -m 1777 "$tmp/work"
if [ -z "$native" ]; then
	mkdir "$tmp/$arch"
	tar -xOf "$tmp/tar" ./var/lib/dpkg/status | sed -n 's/^Package: //p' >"$tmp/packages"
	mapfile -t packages <"$tmp/packages"
	debian_extract "$tmp/$arch" "${packages[@]}"
fi

# mke2fs of Debian 12 fills an image from a folder, not yet from a tar. Without
# root this happens in a user namespace, where our own folder is someone else's
# and there are no device nodes; devtmpfs has them.
# shellcheck disable=SC2016 # the inner shell's
timeout 600 "${wrap[@]}" sh -ec '
	trap "rm -rf \"\$1/work/root\"" EXIT
	mkdir "$1/work/root"
	cd "$1/work/root"
	tar -xf "$1/tar" --exclude="./dev/*"
	if [ -e "$1/$2/tar" ]; then
		rm -rf usr/lib/*-linux-gnu usr/lib64 etc/ld.so.cache
		tar -xf "$1/$2/tar" --exclude="./dev/*" --exclude="./etc/*" --exclude="./var/*"
	fi
	mke2fs -q -t ext4 -F -d "$1/work/root" "$1/work/image" "$3"
' sh "$tmp" "$arch" "$size" >>"$log" 2>&1 </dev/null || die "could not make the file system, see $log"

# Images of other keys are out of date.
rm -f "$cache/image-$name$arch"-*.ext4
mv "$tmp/work/image" "$image"
say "image.sh: made in $((SECONDS - start)) s"
echo "$image"
