#!/bin/bash
# fetch.sh: get the kernel source that the series is for and print the
# directory that holds it:
#
#   DIR/linux    the unpacked source; read-only by agreement
#   DIR/git      a bare git directory with it as one commit, refs/heads/base
#   DIR/version  7.3.y
#
# Without KERNEL= it is Debian's linux-source package, fetched by an apt with
# lists of its own, so that the machine's sources stay as they are; what is in
# the cache is taken without a look at the network, unless UPDATE=1.
# KERNEL=FILE takes a tarball, KERNEL=DIR a tree (of a git tree: its HEAD).

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

suite=trixie-backports
package=linux-source-$kernel_series
bases=$cache/base
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

newest_cached()
{
	local dir
	for dir in "$bases"/debian-*/; do
		[ ! -e "$dir/version" ] || echo "${dir%/}"
	done | sort -V | tail -n 1
}

# import KEY: makes $tmp/linux a base of that name and prints its directory.
import()
{
	local key=$1 version
	version=$(makefile_version "$tmp/linux")
	case $version in
	"$kernel_series" | "$kernel_series".*) ;;
	*) die "$from is Linux ${version:-of no version}, the series is for $kernel_series.y: give another KERNEL=" ;;
	esac
	mkdir "$tmp/base"
	labgit init -q --bare "$tmp/base/git"
	# Above bigFileThreshold git writes one pack instead of 100000 objects.
	GIT_DIR=$tmp/base/git GIT_WORK_TREE=$tmp/linux step 900 "$cache/log/import.log" \
		"putting Linux $version into git" \
		git -c core.bare=false -c core.autocrlf=false -c core.fileMode=true \
		-c core.bigFileThreshold=1 -c core.compression=1 add -A -f
	commit_base "$version"
	echo "$version" >"$tmp/base/version"
	mv "$tmp/linux" "$tmp/base/linux"
	rm -rf "${bases:?}/$key"
	mkdir -p "$bases"
	mv "$tmp/base" "$bases/$key"
	echo "$bases/$key"
}

# The same source gives the same commit on every machine.
commit_base()
{
	local tree commit
	tree=$(labgit --git-dir="$tmp/base/git" write-tree)
	commit=$(echo "Linux $1" |
		GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost \
		GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@localhost \
		GIT_AUTHOR_DATE='1767225600 +0000' GIT_COMMITTER_DATE='1767225600 +0000' \
		labgit --git-dir="$tmp/base/git" commit-tree "$tree")
	labgit --git-dir="$tmp/base/git" update-ref refs/heads/base "$commit"
	labgit --git-dir="$tmp/base/git" symbolic-ref HEAD refs/heads/base
}

unpack()
{
	mkdir "$tmp/linux"
	step 900 "$cache/log/unpack.log" "unpacking ${1##*/}" \
		tar -x -f "$1" -C "$tmp/linux" --strip-components=1 --no-same-owner
}

# An apt that knows one suite and leaves the machine's own state alone.
apt()
{
	local tool=$1 state=$cache/apt
	shift
	"$tool" -q -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$state/lists" -o Dir::Cache="$state" \
		-o Dir::Cache::archives="$state/archives" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 -o Debug::NoLocking=1 \
		-o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
		-o APT::Update::Error-Mode=any "$@"
}

# Where this machine gets its Debian packages from is where the source is.
mirror()
{
	local codename
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null)
	# ORIGIN is known only where apt has lists already.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(SITE) $(ORIGIN) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
		awk -v codename="$codename" '$1 !~ /security/ &&
			($2 == "Debian" || ($2 ~ /ORIGIN/ && $3 == codename)) { print $1; exit }'
}

fetch_debian()
{
	local state=$cache/apt site version sum size deb log=$cache/log/apt.log dir
	need_tools apt-get apt-cache dpkg-deb
	need_space "$cache" 4
	site=$(mirror)
	[ -n "$site" ] || die "apt knows no Debian mirror here: run 'apt-get update', or give KERNEL=tarball"
	[ -r "$keyring" ] || die "$keyring is missing: install debian-archive-keyring, or give KERNEL=tarball"
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	echo "deb [signed-by=$keyring] $site $suite main" >"$state/sources.list"
	export -f apt
	export cache
	soft=1 step 300 "$log" "asking Debian for $package" bash -c 'apt apt-get update' || {
		dir=$(newest_cached)
		[ -z "$dir" ] || die "no network: leave out UPDATE=1 to go on with $(<"$dir/version")"
		die "no network, and no kernel source in $cache: try again, or give KERNEL=tarball"
	}
	read -r version sum size deb < <(apt apt-cache show "$package" 2>/dev/null |
		awk '/^Version:/ { v = $2 } /^SHA256:/ { s = $2 } /^Size:/ { n = $2 } /^Filename:/ { f = $2 }
		     /^$/ { exit } END { print v, s, n, f }') || :
	[ -n "${deb-}" ] || die "Debian's $suite has no $package: give KERNEL=tarball"

	dir=$bases/debian-$version
	if [ -e "$dir/version" ]; then
		echo "$dir"
		return
	fi
	# shellcheck disable=SC2016
	soft=1 step 1800 "$log" "fetching $package $version ($((size / 1000000)) MB)" \
		bash -c 'cd "$1" && apt apt-get download "$2"' - "$tmp" "$package=$version" ||
		die "cannot fetch $package $version ($(tail -n 1 "$log")): try again; log: $log"
	# apt writes the colon of an epoch and the like in its own way.
	deb=$(find "$tmp" -maxdepth 1 -name '*.deb' | head -n 1)
	if [ -z "$deb" ] || [ "$(sha256sum <"$deb" | cut -d' ' -f1)" != "$sum" ]; then
		die "$package $version arrived damaged (not the SHA256 that Debian signed): try again"
	fi
	mkdir "$tmp/deb"
	step 300 "$cache/log/unpack.log" "opening $package" dpkg-deb -x "$deb" "$tmp/deb"
	rm -f "$deb"
	unpack "$tmp/deb/usr/src/linux-source-$kernel_series.tar.xz"
	rm -rf "$tmp/deb"
	from="$package $version"
	import "debian-$version"
}

fetch_tarball()
{
	local key
	key=tar-$(sha256sum <"$1" | cut -c1-16)
	if [ -e "$bases/$key/version" ]; then
		echo "$bases/$key"
		return
	fi
	need_space "$cache" 4
	soft=1 unpack "$1" || die "$1 is no complete tarball: fetch it again"
	from=$1
	import "$key"
}

fetch_tree()
{
	local key tree
	[ -e "$1/Makefile" ] || die "$1 is no kernel tree: it has no Makefile"
	if tree=$(git -C "$1" rev-parse -q --verify 'HEAD^{tree}' 2>/dev/null) &&
	   [ -z "$(git -C "$1" rev-parse --show-prefix)" ]; then
		key=git-${tree:0:16}
	else
		# No git: whether it changed can only be told by reading it all.
		tree=
		key=tree-$(cd "$1" && find . -type f ! -path './.git/*' -printf '%P %s %T@\n' |
			LC_ALL=C sort | sha256sum | cut -c1-16)
	fi
	if [ -e "$bases/$key/version" ]; then
		echo "$bases/$key"
		return
	fi
	need_space "$cache" 4
	mkdir "$tmp/linux"
	if [ -n "$tree" ]; then
		git -C "$1" archive HEAD >"$tmp/tree.tar"
	else
		tar -c -C "$1" --exclude=./.git . >"$tmp/tree.tar"
	fi
	tar -x -f "$tmp/tree.tar" -C "$tmp/linux" --no-same-owner
	rm "$tmp/tree.tar"
	from=$1
	import "$key"
}

makefile_version()
{
	awk -F' *= *' '/^VERSION/ { v = $2 } /^PATCHLEVEL/ { p = $2 } /^SUBLEVEL/ { s = $2 }
		/^EXTRAVERSION/ { e = $2; exit }
		END { if (v != "") print v "." p (s == "" || s == 0 ? "" : "." s) e }' "$1/Makefile" 2>/dev/null || :
}

need_tools git tar xz sha256sum flock timeout
# The fast path: nothing to wait for, nothing to lock.
if [ -z "${KERNEL-}" ] && [ -z "${UPDATE-}" ]; then
	dir=$(newest_cached)
	if [ -n "$dir" ]; then
		echo "$dir"
		exit
	fi
fi

mkdir -p "$cache" 2>/dev/null || die "cannot write to $cache: set XDG_CACHE_HOME to a directory of yours"
lock "$cache/fetch.lock"
# What a killed run left behind: with the lock held nobody uses it.
rm -rf "$cache"/tmp.*
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
if [ -z "${KERNEL-}" ]; then
	fetch_debian
elif [ -d "$KERNEL" ]; then
	fetch_tree "$KERNEL"
elif [ -f "$KERNEL" ]; then
	fetch_tarball "$KERNEL"
else
	die "KERNEL=$KERNEL: no such file or directory"
fi
