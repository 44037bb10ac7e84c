# shellcheck shell=bash
# Shared by the lab's scripts: paths, one-line errors, progress, locks.

# Whoever sources this uses them.
# shellcheck disable=SC2034
{
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$lab")
build=${LAB_BUILD:-$top/build}
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anon-vma-lazy}
# The kernel series that the patches are for.
kernel_series=7.3
}

# Nothing of a calling git hook or rebase may reach the lab's own git commands.
# shellcheck disable=SC2046
unset $(git rev-parse --local-env-vars 2>/dev/null) 2>/dev/null || :

# One line that says what to do, and out.
die()
{
	echo "$*" >&2
	exit 1
}

# Progress.
say()
{
	echo "$*" >&2
}

# set_arch ARCH: the architecture to build for, and what depends on it.
# shellcheck disable=SC2034
set_arch()
{
	arch=$1
	case $arch in
	x86_64) srcarch=x86 target=bzImage debarch=amd64 cross=x86_64-linux-gnu- ;;
	arm64) srcarch=arm64 target=Image debarch=arm64 cross=aarch64-linux-gnu- ;;
	*) die "${0##*/}: architecture '$arch': x86_64 and arm64 are known" ;;
	esac
	# Tables of x86_64 go to README.md: those of others lie aside.
	results=$build/results
	[ "$arch" = x86_64 ] || results+=/$arch
	native=
	if [ "$arch" = "$(uname -m | sed s/aarch64/arm64/)" ]; then
		native=1 cross=
	fi
}

# git without the user's settings: signing, hooks and diff options would
# change what the lab writes.
labgit()
{
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -c core.hooksPath=/dev/null \
		-c core.autocrlf=false -c core.quotePath=false -c advice.detachedHead=false "$@"
}

need_tools()
{
	local tool
	for tool; do
		command -v "$tool" >/dev/null ||
			die "$tool is missing: run 'make deps' (or install it)"
	done
}

# need_space DIR GIB: DIR need not exist yet.
need_space()
{
	local dir=$1 have
	while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
	have=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge $(($2 * 1024 * 1024)) ] ||
		die "too little disk: $1 needs $2 GiB, $((have / 1024)) MiB are free"
}

# lock FILE: held until this process ends; waits for another one's.
lock()
{
	mkdir -p "$(dirname "$1")"
	exec {lab_lock}>"$1"
	flock -n "$lab_lock" || {
		say "waiting for another run that holds $1"
		flock -w 3600 "$lab_lock" || die "gave up waiting for $1"
	}
}

# step SECONDS LOG TITLE COMMAND...: runs a long command with its output in
# LOG, a sign of life every 20 s, and a time-out. With soft=1 failing is said
# by the caller.
step()
{
	local limit=$1 log=$2 title=$3 pid start=$SECONDS rc=0 n=0
	shift 3
	mkdir -p "$(dirname "$log")"
	say "$title (log: $log)"
	timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# shellcheck disable=SC2064
	trap "kill $pid 2>/dev/null; exit 130" INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		[ $((++n % 100)) -ne 0 ] ||
			say "  $((SECONDS - start)) s: $(tail -n 1 "$log" | tr -d '\r' | cut -c1-80)"
	done
	wait "$pid" || rc=$?
	trap - INT TERM HUP
	[ "$rc" -ne 0 ] || return 0
	[ -z "${soft-}" ] || return "$rc"
	tail -n 30 "$log" >&2
	[ "$rc" -ne 124 ] || die "$title: no end after $limit s; see $log"
	die "$title: failed; see $log"
}

# sources.list lines of Debian's own archives, from this machine's apt. Before
# the first "apt-get update" no origin is known; the path tells then. The
# kernel's source is a backport to trixie, so that is the release.
debian_sources()
{
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option=

	[ ! -r "$keyring" ] || option="[signed-by=$keyring] "
	if [ -n "${DEBIAN_MIRROR-}" ]; then
		echo "deb $option$DEBIAN_MIRROR ${DEBIAN_SUITE:-trixie} main"
		return
	fi
	# shellcheck disable=SC2016 # the fields are apt's
	{
		apt-get indextargets 'Created-By: Packages' --format \
			'$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)'
		apt-get indextargets --no-release-info 'Created-By: Packages' \
			--format '? $(REPO_URI) $(RELEASE) $(COMPONENT)'
	} 2>/dev/null |
		awk -v option="$option" -v suite="${DEBIAN_SUITE:-trixie}" '
			$1 == "Debian" { known = 1 }
			$4 != "main" || $3 ~ /backports|proposed/ { next }
			$1 == "?" && (known || $2 !~ /\/debian(-security)?\/$/) { next }
			$1 != "?" && $1 != "Debian" { next }
			# The first mirror serves every suite.
			suite { $3 = suite }
			{ line = "deb " option $2 " " $3 " main" }
			!seen[line]++ { print line }
			suite { exit }'
}

# debian_extract DIR PACKAGE...: unpacks the packages of $debarch, and those that
# they depend on, in DIR/tar. Runs nothing of theirs. Whoever is not root gets a
# namespace of his own.
debian_extract()
{
	local dir=$1 mode=root list
	shift
	[ "$(id -u)" -eq 0 ] || mode=unshare
	list=$(debian_sources)
	[ -n "$list" ] ||
		die "apt knows no Debian archive here: run 'apt-get update', or set DEBIAN_MIRROR=URL and DEBIAN_SUITE=NAME"
	chmod 755 "$dir"
	echo "$list" >"$dir/sources.list"
	soft=1 step 900 "$build/log/extract-$debarch.log" "fetching packages for $debarch" \
		mmdebstrap --mode=$mode --variant=extract --architectures="$debarch" --format=tar \
		--include="$(IFS=,; echo "$*")" \
		--aptopt='Acquire::Retries "3"' --aptopt='Acquire::http::Timeout "60"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$(awk 'NR == 1 { print $(NF - 1) }' <<<"$list")" "$dir/tar" "$dir/sources.list" || {
			grep -E '^[EW]:|error' "$build/log/extract-$debarch.log" | tail -n 3 >&2 || :
			die "mmdebstrap failed, see $build/log/extract-$debarch.log (no network? apt's sources?)"
		}
}

# The paths that a patch's "Adds:" header lines name.
patch_adds()
{
	awk '/^$/ { exit }
	     /^[^ \t]/ { on = sub(/^Adds:/, "") }
	     on { for (i = 1; i <= NF; i++) print $i }' "$1"
}

# What the series is made of: names and hashes.
series_files()
{
	local patch file
	for patch in "$top"/patches/[0-9]*.patch; do
		[ -e "$patch" ] || continue
		echo "${patch##*/} $(sha256sum <"$patch")"
		while read -r file; do
			[ -x "$top/$file" ] && echo x
			echo "$file $(sha256sum <"$top/$file" 2>&1)"
		done < <(patch_adds "$patch")
	done
}

# Changes when a patch or a new file does.
series_hash()
{
	series_files | sha256sum | cut -d' ' -f1
}

# diffs PATCH...: what they change in code: no message, no document, no Kconfig, no
# line that is comment only.
diffs()
{
	awk 'FNR == 1 { on = 0 }
	     /^diff --git / { on = $3 !~ /^a\/(Documentation|tools|MAINTAINERS|.*Kconfig)/
			      file = $3 "\n"
			      next }
	     on && /^[-+][^-+]/ && !/^.[ \t]*(\/\*|\*([ \/]|$))/ { printf "%s%s\n", file, $0; file = "" }' "$@"
}

# code FILE: without comments, if the compiler knows what they are.
code()
{
	case $1 in
	*.[ch]) gcc -x c -fpreprocessed -dD -E -P "$1" ;;
	*) cat "$1" ;;
	esac
}

# Changes when the kernel's code in the series does: what the patches say, and the new
# files but tests and tools.
code_hash()
{
	local file
	{
		diffs "$top"/patches/[0-9]*.patch
		while read -r file; do
			echo "$file $(code "$top/$file" | sha256sum)"
		done < <(for patch in "$top"/patches/[0-9]*.patch; do patch_adds "$patch"; done |
			grep -vE '^(Documentation|mm/tests|tools)/')
	} | sha256sum | cut -c1-12
}
