#!/bin/bash
# static.sh [CHECK...]: what compilers, sparse, coccinelle, kernel-doc and sphinx say
# about the files that the series touches: no more than they say without the series.
# And get_maintainer.pl finds its section, existing files stay what they are, and so
# does what the compiler makes of all others with the option off. CHECK: only that, of:
# kernel-doc size maintainer text coccinelle sparse gcc gcc-off tiny i386 nommu clang
# sphinx.
#
# What is compiled is so for x86_64, with the configuration of CONFIG=debug
# lab/kernel.sh, which the step kernels has built; with next to nothing configured; and
# for machines that cannot have the option, of 32 bits or without an MMU. A complaint
# is known by its file and text, its line may change. The base is only asked where
# there is something to compare.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

tree=$build/linux config=$build/x86_64-debug/lab.config out=$build/static
jobs=${JOBS:-$(nproc)}
unset ARCH CONFIG MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
need_tools make gcc ccache perl python3
"$lab/assemble.sh" -k
base=$("$lab/fetch.sh")/linux
lock "$out.lock"
rm -rf "$out/log"
mkdir -p "$out/log"

# As in kernel.sh: object files that are known already are not compiled again.
export CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=/ CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=4G \
	CCACHE_COMPILERCHECK=content CCACHE_COMPRESS=1
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026' KBUILD_BUILD_USER=lab \
	KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1 LC_ALL=C

labgit -C "$tree" diff --name-only --diff-filter=d base >"$out/touched"
labgit -C "$tree" diff --name-only --diff-filter=A base >"$out/added"
grep -E '^(arch|fs|kernel|mm)/.*\.c$' "$out/touched" >"$out/sources"
grep -vxFf "$out/added" "$out/sources" >"$out/sources.off"

# said LOG TREE: what a log says about places, files as the kernel calls them.
# These programs have nothing but complaints to say. That MODULE_LICENSE() has
# a constant expression sparse does not see.
said()
{
	awk -v at="$2/" '
		{ sub(/^(WARNING|Warning|ERROR|Error): /, ""); sub(/^\.\//, "") }
		index($0, at) == 1 { $0 = substr($0, length(at) + 1) }
		/^[^ :]+:[0-9]+/ && !/: error: bad constant expression$/' "$1" | sort -u
}

# fresh NAME: the lines of NAME.lazy that NAME.base has not, line numbers aside.
fresh()
{
	awk 'function key(s) { gsub(/:[0-9]+/, "", s); gsub(/lines? [0-9]+/, "line", s); return s }
	     FILENAME == ARGV[1] { known[key($0)]++; next }
	     known[key($0)]-- <= 0' "$out/log/$1.base" "$out/log/$1.lazy"
}

# verdict NAME COMMAND...: "COMMAND lazy TREE" says something, and only if that is
# not nothing "COMMAND base TREE" does.
verdict()
{
	local name=$1 which at log=$out/log/$1
	shift
	: >"$log.base"
	for which in lazy base; do
		at=$tree
		[ $which = lazy ] || at=$base
		if ! "$@" $which "$at" >"$log.$which.log" 2>&1; then
			tail -n 20 "$log.$which.log" | sed 's/^/# /'
			echo "not ok - static $name: fails in $at"
			return
		fi
		said "$log.$which.log" "$at" >"$log.$which"
		[ -s "$log.lazy" ] || break
	done
	fresh "$name" >"$log.new"
	if [ -s "$log.new" ]; then
		sed 's/^/# /' "$log.new"
		echo "not ok - static $name: nothing new"
	else
		echo "ok - static $name: nothing new, $(wc -l <"$log.lazy") lines known"
	fi
}

# objects DIR CONFIG SOURCES MAKE_ARG... WHICH TREE: configures DIR-WHICH with the
# options of the file CONFIG, or as CONFIG, a defconfig, and makes what TREE has of
# SOURCES: files, or folders.
objects()
{
	local dir=$out/$1 config=$2 sources=$3 args=("${@:4:$#-5}") which=${*: -2:1} at=${*: -1}
	local file targets=()
	while read -r file; do
		[ ! -e "$at/$file" ] || targets+=("${file/%.c/.o}")
	done <"$sources"
	args=(timeout 1800 make -s -C "$at" "O=$dir-$which" HOSTCC="ccache gcc" LOCALVERSION=
		"${args[@]}")
	local configure=(KCONFIG_ALLCONFIG="$config" allnoconfig)
	[[ $config = /* ]] || configure=("$config")
	mkdir -p "$dir-$which"
	# What is up to date is silent. The compiler's cache repeats what was said.
	rm -rf "${targets[@]/#/$dir-$which/}"
	"${args[@]}" "${configure[@]}" && "${args[@]}" -j"$jobs" -k "${targets[@]}"
}

# kernel_doc WHICH TREE
kernel_doc()
{
	local file files=()
	while read -r file; do
		[[ $file != *.[ch] || $file = tools/* || ! -e $2/$file ]] || files+=("$file")
	done <"$out/touched"
	# Its exit status is how many complaints it has.
	(cd "$2" && "$2/scripts/kernel-doc" -none -Wall "${files[@]}") || [ $? -lt 126 ]
}

# sphinx WHICH TREE: pages that the series touches. What it says about others,
# which it only reads as they are in the same folder, is not ours.
sphinx()
{
	rm -rf "$out/docs-$1"
	timeout 1800 make -C "$2" O="$out/docs-$1" SPHINXDIRS="mm admin-guide/sysctl" htmldocs \
		>"$out/log/sphinx.$1.all" 2>&1 || return
	grep -Ff "$out/touched" "$out/log/sphinx.$1.all" || :
}

# cocci SCRIPT FILE...: in the kernel's tree
cocci()
{
	local script=$1 options
	shift
	# Those in OCaml want its compiler.
	grep -qE '^virtual .*report' "$script" && ! grep -q 'script:ocaml' "$script" || return 0
	read -ra options < <(sed -n 's,^// *Options: *,,p' "$script") || :
	timeout 900 spatch -D report --very-quiet --cocci-file "$script" "${options[@]}" \
		-I include --include include/linux/kconfig.h "$@" ||
		echo "$script:0: exit status $?"
}
export -f cocci

# coccinelle WHICH TREE: some of the 76 scripts take minutes. A script's lines come
# out as one piece, however many there are at a time.
coccinelle()
{
	local file files=()
	cd "$2"
	while read -r file; do
		[[ $file != *.[ch] || $file = tools/* || ! -e $file ]] || files+=("$file")
	done <"$out/touched"
	# shellcheck disable=SC2016 # a shell of its own
	find scripts/coccinelle -name '*.cocci' | sort |
		xargs -P "$jobs" -I{} bash -c 'said=$(cocci "$@"); echo "$said"' cocci {} "${files[@]}"
}

wanted() { [ -z "$only" ] || [[ " $only " = *" $1 "* ]]; }

# has CHECK TOOL: is it wanted, and can it be done?
has()
{
	wanted "$1" || return
	command -v "${2:-none}" >/dev/null || { echo "skip - static $1: ${2:-no compiler that is new enough}"; return 1; }
}

only=$*
if wanted kernel-doc; then
	verdict kernel-doc kernel_doc
	# What mm/anon_vma_lazy.c and the headers beside it give to other files is
	# declared in these. What is after #else does nothing.
	if (cd "$tree" && awk '
		match($0, /^ \* [a-z_]+(\(\))? - /) { split($0, word, /[ (]+/); doc[word[3]] = 1 }
		FILENAME !~ /\.h$/ { next }
		/^#(if|else|endif)/ { stub = /^#else/ }
		!stub && /^[a-z_].*\(/ && !/^(typedef|union|struct [a-z_]+ \{)/ {
			name = $0
			sub(/\(.*/, "", name)
			sub(/.*[ *]/, "", name)
			where[name] = FILENAME ":" FNR
		}
		END { for (name in where) if (!doc[name]) print "# " where[name] ": " name "() has none" }
		' mm/anon_*.[ch]) | grep .; then
		echo "not ok - static kernel-doc: on all that other files call"
	else
		echo "ok - static kernel-doc: on all that other files call"
	fi
fi

if wanted size; then
	lines=$(labgit -C "$tree" diff --numstat --diff-filter=M base -- arch fs include kernel mm |
		awk '{ n += $1 } END { print n + 0 }')
	verdict=ok
	[ "$lines" -lt 800 ] || verdict="not ok"
	echo "$verdict - static size: $lines lines come to existing files, fewer than 800"
fi

# Without git's history: who wrote the lines before is not the question.
if wanted maintainer; then
	"$lab/series.sh" 2>/dev/null
	verdict=ok
	(cd "$tree" && perl scripts/get_maintainer.pl --no-git --no-git-fallback \
		"$build"/series/*.patch) >"$out/log/maintainer" 2>&1
	grep 'MEMORY MANAGEMENT - ANON_VMA_LAZY' "$out/log/maintainer" | sed 's/^/# /' | grep . ||
		verdict="not ok"
	echo "$verdict - static maintainer: the series leads to its section of MAINTAINERS"
fi

# bodies OBJECT: a line a function, its name and instructions. Where something is
# in a section changes with other functions, so only the section is told.
bodies()
{
	objdump -dr --no-show-raw-insn "$1" | awk '
		/^[0-9a-f]+ <.*>:$/ {
			if (name ~ /^[^.]/) print name "\t" text
			name = $2
			gsub(/[<>:]/, "", name)
			text = ""
		}
		/^\t+[0-9a-f]+: R_/ {
			if ($3 ~ /^(\.|__)/) sub(/[-+]0x[0-9a-f]+$/, "", $3)
			text = text " " $2 " " $3
		}
		/^ *[0-9a-f]+:\t[^R]/ {
			sub(/^ *[0-9a-f]+:\t/, "")
			gsub(/[0-9a-f]+ </, "<")
			gsub(/__UNIQUE_ID_[A-Za-z0-9_]+/, "__UNIQUE_ID")
			text = text ";" $0
		}
		END { if (name ~ /^[^.]/) print name "\t" text }' | sort
}

# text DIR OLD_DIR: what differs of their objects: source and function.
text()
{
	local object
	(cd "$1" && find . -name '*.o' ! -name 'built-in*' ! -name 'vmlinux*' ! -name '.*' \
		! -path './scripts/*' ! -path './tools/*') | cut -c 3- | while read -r object; do
		if [ ! -e "$2/$object" ]; then
			echo "${object%o}c -"
		elif ! cmp -s "$1/$object" "$2/$object"; then
			comm -3 <(bodies "$1/$object") <(bodies "$2/$object") | sed 's/^\t//' |
				cut -f1 | sort -u | sed "s,^,${object%o}c ,"
		fi
	done
}

if has text objdump; then
	LAZY=n "$lab/kernel.sh" >"$out/log/text.off" 2>&1 || die "see $out/log/text.off"
	BASE=1 "$lab/kernel.sh" >"$out/log/text.base" 2>&1 || die "see $out/log/text.base"
	text "$build/x86_64-off" "${base%/linux}/x86_64" >"$out/log/text"
	awk '{ in_file[$1] = in_file[$1] " " $2 } END { for (f in in_file) print "# " f ":" in_file[f] }' \
		"$out/log/text" | sort
	verdict=ok
	awk '{ print $1 }' "$out/log/text" | sort -u | grep -vxFf "$out/sources" | sed 's/^/# not touched: /' |
		grep . && verdict="not ok"
	echo "$verdict - static text: with the option off $(wc -l <"$out/log/text") functions differ," \
		"all of them in files that the series touches"
fi

if has coccinelle spatch; then
	verdict coccinelle coccinelle
fi

if wanted sparse || wanted gcc || wanted gcc-off || wanted clang; then
	[ -s "$config" ] || die "$config is missing: run 'make kernel CONFIG=debug'"
	# The option off: what Kconfig does not ask for is n.
	grep -v ANON_VMA_LAZY "$config" >"$out/config.off"
fi

# Old sparse lacks what the compiler has: the kernel's Makefile leaves it out then.
if has sparse sparse; then
	check=sparse
	[ "$("$tree/scripts/checker-valid.sh" sparse)" = 1 ] ||
		check+=" -D__typeof_unqual__=__typeof__"
	verdict sparse objects gcc "$config" "$out/sources" CC="ccache gcc" C=2 CHECK="$check"
fi
if has gcc gcc; then
	verdict gcc objects gcc "$config" "$out/sources" CC="ccache gcc" W=1
fi
if has gcc-off gcc; then
	verdict gcc-off objects gcc-off "$out/config.off" "$out/sources.off" CC="ccache gcc" W=1
fi
printf '%s\n' kernel/fork.c mm/ >"$out/sources.mm"
if has tiny gcc; then
	printf 'CONFIG_%s=y\n' 64BIT SMP EXPERT ANON_VMA_LAZY >"$out/config.tiny"
	verdict tiny objects tiny "$out/config.tiny" "$out/sources.mm" CC="ccache gcc" W=1
fi
if has i386 gcc; then
	verdict i386 objects i386 i386_defconfig "$out/sources.mm" ARCH=i386 CC="ccache gcc"
fi

clang=
for cc in clang-{30..17} clang; do
	if "$tree/scripts/cc-version.sh" "$cc" >/dev/null 2>&1; then
		clang=$cc
		break
	fi
done
if has clang "$clang"; then
	verdict clang objects clang "$config" "$out/sources" CC="ccache $clang" W=1
fi
# Nothing is linked, so any linker will do. ccache would change the names of headers.
if has nommu "$clang"; then
	verdict nommu objects nommu nommu_virt_defconfig "$out/sources.mm" ARCH=riscv \
		CC="$clang" LLVM_IAS=1 LD=ld
fi
if has sphinx sphinx-build; then
	verdict sphinx sphinx
fi
