#!/bin/bash
# kernel.sh: build a kernel and print where it is. Settings come as variables:
#
#   ARCH=x86_64     (the default)
#   CONFIG=debug    with lab/config/debug.config        build/x86_64-debug/
#   LAZY=n          with CONFIG_ANON_VMA_LAZY off       build/x86_64-off/
#   LAZY=auto       on if the tree knows it and lets it be switched on
#   BASE=1          the source without the series       build/x86_64-base/
#   PAGES=16k, 64k  arm64: with pages of that size      build/arm64-16k/
#
# build/linux is built as it is, unsaved work and all. The base depends on
# nothing in this checkout, so it is built in the cache, beside its source.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_arch "${ARCH:-x86_64}"
config=${CONFIG:-} lazy=${LAZY:-y} pages=${PAGES:-} jobs=${JOBS:-$(nproc)}
# They would reach the kernel's own Makefile.
unset ARCH CONFIG LAZY PAGES MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
fragments=("$lab/config/common.config" "$lab/config/$arch.config")
if [ -n "$pages" ]; then
	[ -e "$lab/config/$arch-$pages.config" ] ||
		die "PAGES=$pages: there is no lab/config/$arch-$pages.config"
	fragments+=("$lab/config/$arch-$pages.config")
fi
if [ -n "$config" ]; then
	[ -e "$lab/config/$config.config" ] || die "CONFIG=$config: there is no lab/config/$config.config"
	fragments+=("$lab/config/$config.config")
fi
case $lazy in
y | n | auto) ;;
*) die "LAZY=$lazy: y, n and auto are known" ;;
esac
need_tools make "${cross}gcc" ccache flex bison bc perl lz4

# The same object files for every clone and every user: the compiler's cache
# must not see where the tree lies, nor when and by whom it is built.
export CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=/ CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=4G \
	CCACHE_COMPILERCHECK=content CCACHE_COMPRESS=1
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026' KBUILD_BUILD_USER=lab \
	KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1 LC_ALL=C

base=$("$lab/fetch.sh")
variant=$arch${pages:+-$pages}${config:+-$config}
if [ -n "${BASE-}" ]; then
	tree=$base/linux out=$base/$variant name=$variant-base
else
	"$lab/assemble.sh" -k
	[ "$lazy" != n ] || variant+=-off
	tree=$build/linux out=$build/$variant name=$variant
fi

# LOCALVERSION= keeps git's opinion of the tree out of the version.
kmake=(make ARCH="$arch" CROSS_COMPILE="$cross" CC="ccache ${cross}gcc" HOSTCC="ccache gcc"
	LOCALVERSION=)

# configure TREE OUT LAZY: allnoconfig with what the fragments ask for; a later
# fragment overrides an earlier one. A request that Kconfig drops is an error:
# a test that silently lost its option would pass for the wrong reason.
configure()
{
	local tree=$1 out=$2 lazy=$3 extra=() line symbol lost=
	mkdir -p "$out"
	# Options of the series: only where the tree has them.
	if [ "$lazy" != n ]; then
		for line in lazy ${config:+"lazy-$config"}; do
			[ ! -e "$lab/config/$line.config" ] || extra+=("$lab/config/$line.config")
		done
	fi
	: >"$out/lab.lazy"
	if [ ${#extra[@]} -gt 0 ]; then
		cat "${extra[@]}" | while read -r line; do
			symbol=${line#\# } symbol=${symbol%%[= ]*}
			[[ $symbol = CONFIG_* ]] && grep -qsx "config ${symbol#CONFIG_}" \
				"$tree"/mm/Kconfig* "$tree/lib/Kconfig.debug" && echo "$line"
		done >"$out/lab.lazy" || :
	fi
	cat "${fragments[@]}" "$out/lab.lazy" | awk '
		{ key = $0; sub(/^# /, "", key); sub(/[ =].*/, "", key) }
		/^CONFIG_[A-Za-z0-9_]+=|^# CONFIG_[A-Za-z0-9_]+ is not set$/ {
			if (key in at) delete line[at[key]]
			line[++n] = $0; at[key] = n
		}
		END { for (i = 1; i <= n; i++) if (i in line) print line[i] }' >"$out/lab.config"
	step 300 "$build/log/$name-config.log" "configuring $name" "${kmake[@]}" -C "$tree" O="$out" \
		KCONFIG_ALLCONFIG="$out/lab.config" allnoconfig
	while read -r line; do
		case $line in
		CONFIG_*) grep -qxF -- "$line" "$out/.config" || lost+=" $line" ;;
		*) symbol=${line#\# } symbol=${symbol%% *}
		   ! grep -q "^$symbol=" "$out/.config" || lost+=" $symbol=n" ;;
		esac
	done <"$out/lab.config"
	if [ "$lazy" = auto ]; then
		while read -r line; do lost=${lost/" $line"/}; done <"$out/lab.lazy"
	fi
	[ -z "$lost" ] || die "Kconfig does not give$lost: see $out/.config and lab/config/"
}

# vma_size TREE OUT: what the compiler makes of vm_area_struct, by the very
# command that made asm-offsets.s.
vma_size()
{
	local command
	command=$(sed -n "s/-Wp,-MMD,[^ ]*//; s/^savedcmd_[^ ]* := //p" \
		"$2/arch/$srcarch/kernel/.asm-offsets.s.cmd") || return
	cat >"$2/lab-probe.c" <<-'PROBE'
		#include <linux/mm_types.h>
		char lab_probe[sizeof(struct vm_area_struct)] = { 1 };
	PROBE
	command=${command% -o *}
	(cd "$2" && eval "$command -o lab-probe.s lab-probe.c") >/dev/null || return
	sed -n 's/^[[:space:]]*\.size[[:space:]]*lab_probe, *//p' "$2/lab-probe.s"
}

mkdir -p "$out"
lock "$out.lock"
log=$build/log/$name.log
need_space "$out" 1
configure "$tree" "$out" "$([ -n "${BASE-}" ] && echo n || echo "$lazy")"
step "${TIMEOUT:-3600}" "$log" "building $name" "${kmake[@]}" -C "$tree" O="$out" -j"$jobs" "$target"

if [ -z "${BASE-}" ]; then
	# The promise of the series: no VMA grows by a byte. The base needs only
	# its generated headers for that, once per configuration.
	size=$(vma_size "$tree" "$out") || die "cannot measure vm_area_struct in $out"
	key=$( (cat "$out/lab.config"; "${cross}gcc" --version; echo "$base") |
		grep -v ANON_VMA_LAZY | sha256sum | cut -c1-16)
	known=$base/vma-size-$key
	if [ ! -s "$known" ]; then
		probe=$base/probe-$variant
		lock "$probe.lock"
		(name="$name-base" configure "$base/linux" "$probe" n)
		step 900 "$build/log/$name-base.log" "preparing the base of $name, to compare vm_area_struct" \
			"${kmake[@]}" -C "$base/linux" O="$probe" -j"$jobs" prepare
		vma_size "$base/linux" "$probe" >"$known.tmp" || die "cannot measure vm_area_struct in $probe"
		mv "$known.tmp" "$known"
		rm -rf "$probe"
	fi
	[ -n "$size" ] && [ "$size" = "$(<"$known")" ] ||
		die "vm_area_struct has $size bytes, $(<"$known") without the series: it must not grow"
	say "vm_area_struct: $size bytes, as without the series"
fi

mkdir -p "$build/$name"
cp "$out/arch/$srcarch/boot/$target" "$build/$name/$target.tmp"
mv "$build/$name/$target.tmp" "$build/$name/$target"
[ "$out" -ef "$build/$name" ] || cp "$out/System.map" "$build/$name/"
echo "$build/$name/$target"
