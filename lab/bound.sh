#!/bin/bash
# bound.sh: what ANON_VMA_LAZY_MAX should be. A kernel for each size: what headless
# Chromium holds with it, and what those operations cost that depend on it.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sizes=(256K 2M 8M 16M)
cases=(mremap-1900k mremap-7m mremap-15m fork-7m fork-big realloc)

usage()
{
	cat <<USAGE
usage: bound.sh [SIZE...]

SIZE is one that linux/sizes.h has; default: ${sizes[*]}. Writes a line for each
to build/results/bound.tsv: what 'make report STEPS=chromium' says, and
instructions, compared with the kernel without the series, of the cases
${cases[*]}.

  -h   this text
USAGE
}

while getopts h opt; do
	case $opt in
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "${sizes[@]}"
base=$("$lab/fetch.sh")/linux
for size; do
	grep -q "^#define SZ_${size}[[:space:]]" "$base/include/linux/sizes.h" ||
		die "bound.sh: $size: include/linux/sizes.h has no SZ_$size"
done

start=$SECONDS
results=$build/results
mkdir -p "$results"
unpatched=$(BASE=1 "$lab/kernel.sh")

# A tree and a kernel of their own.
export LAB_BUILD=$build/bound
linux=$LAB_BUILD/linux tmp=$LAB_BUILD/bound
[ ! -d "$linux" ] || labgit -C "$linux" checkout -q -f -B lazy refs/lab/assembled
"$lab/assemble.sh"
lock "$LAB_BUILD/bound.lock"
rm -rf "$tmp"
mkdir -p "$tmp"

{
	printf 'bound\tanon_vma\tanon_vma_percent\tanon_vma_chain\tanon_vma_chain_percent'
	printf '\t%s' "${cases[@]}"
	echo
} >"$tmp/tsv"
for size; do
	say "bound.sh: $size"
	labgit -C "$linux" checkout -q -f
	sed -i "s/^\(#define ANON_VMA_LAZY_MAX\) .*/\1 SZ_$size/" "$linux/mm/anon_vma_lazy.h"
	kernel=$("$lab/kernel.sh")
	# Their bars are for the size that the series has.
	"$lab/report.sh" -k "$kernel" chromium >"$tmp/$size.report" || :
	"$lab/bench.sh" -b "$unpatched" -o "$unpatched" -k "$kernel" "${cases[@]}" >"$tmp/$size.bench" || :
	awk -F '\t' -v size="$size" -v cases="${cases[*]}" '
		FNR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
		$1 == "chromium" { n[$2] = $column["in_use_1"]; change[$2] = $column["change_percent"] }
		"switch_1_ratio" in column { ratio[$1] = $column["switch_1_ratio"] }
		END {
			printf "%s", size
			for (i = 1; i <= split("anon_vma anon_vma_chain", slab, " "); i++)
				printf "\t%d\t%.1f", n[slab[i]], 100 + change[slab[i]]
			for (i = 1; i <= split(cases, name, " "); i++) {
				printf "\t%.3f", ratio[name[i]]
				bad = bad || !ratio[name[i]]
			}
			print ""
			exit bad || !n["anon_vma"]
		}' "$LAB_BUILD/results/report.tsv" "$LAB_BUILD/results/bench.tsv" >>"$tmp/tsv" ||
		die "bound.sh: $size: no result, see $tmp/$size.report and $tmp/$size.bench"
	rm -f "$LAB_BUILD/results"/{report,bench}.tsv
done
labgit -C "$linux" checkout -q -f
mv "$tmp/tsv" "$results/bound.tsv"
column -t -s $'\t' "$results/bound.tsv"
say "bound.sh: $results/bound.tsv written, $((SECONDS - start)) s in all"
