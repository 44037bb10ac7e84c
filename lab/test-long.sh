#!/bin/bash
# test-long.sh [NAME...]: what takes too long for make test. The stress program
# on kernels that each look for something else, ten minutes on each. Prints a
# line "ok - long NAME: ..." or "not ok - ..." for each, and writes a table to
# build/results/test-long.tsv.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name, CONFIG= of the kernel, memory, options of the stress program, words for
# the command line; - for none.
runs=(
	"lockdep  debug  2G -o -"
	"failslab debug  2G -f -"
	"kasan    kasan  4G -o -"
	"kcsan    kcsan  3G -  -"
	"rt       rt     2G -o -"
	"slub     -      2G -o slub_debug=FZPU"
)

usage()
{
	echo "usage: test-long.sh [-t SECONDS] [-s SEED] [NAME...]"
	echo
	echo "Runs the stress program for SECONDS (default 600) on each of:"
	printf '  %s\n' "${runs[@]%% *}"
}

seconds=600 seed=$$
while getopts t:s:h opt; do
	case $opt in
	t) seconds=$OPTARG ;;
	s) seed=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
for name; do
	printf '%s\n' "${runs[@]%% *}" | grep -qx "$name" ||
		die "test-long.sh: no run $name; there are: ${runs[*]%% *}"
done

results=$build/results
mkdir -p "$results"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/test-long.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
bad=0
printf 'run\tconfig\tseconds\tseed\tresult\n' >"$tmp/tsv"
for run in "${runs[@]}"; do
	read -r name config mem options words <<<"$run"
	[ $# -eq 0 ] || [[ " $* " = *" $name "* ]] || continue
	# The others run all the same.
	if ! kernel=$(CONFIG=${config#-} "$lab/kernel.sh"); then
		echo "not ok - long $name: its kernel cannot be built"
		printf '%s\t%s\t%s\t%s\tno kernel\n' "$name" "${config#-}" 0 "$seed" >>"$tmp/tsv"
		bad=1
		continue
	fi
	args=(-n "long-$name" -P anon_vma_lazy_stress -m "$mem" -t $((seconds * 2 + 300))
		-O -t -O "$seconds" -O -s -O "$seed")
	[ "$options" = - ] || args+=(-O "$options")
	[ "$words" = - ] || args+=(-c "$words")
	result=passed
	"$lab/quick.sh" "${args[@]}" "$kernel" >"$tmp/out" 2>"$tmp/err" || result=failed
	# A skipped run has shown nothing.
	! grep -q '^skip - ' "$tmp/out" || result=skipped
	if [ $result = passed ]; then
		echo "ok - long $name: $seconds s, seed $seed"
	else
		sed 's/^/# /' "$tmp/out" "$tmp/err"
		echo "not ok - long $name: $result with seed $seed, see $build/long-$name.console"
		bad=1
	fi
	printf '%s\t%s\t%s\t%s\t%s\n' "$name" "${config#-}" "$seconds" "$seed" "$result" >>"$tmp/tsv"
done
mv "$tmp/tsv" "$results/test-long.tsv"
exit $bad
