#!/bin/bash
# test-long.sh [NAME...]: what takes too long for make test. The stress program
# on kernels that each look for something else, ten minutes on each; the mutants;
# all of the kernel's own mm selftests; all that tests/static.sh has. Prints a line "ok - long NAME: ..." or
# "not ok - ..." for each, and writes a table to build/results/test-long.tsv. Rows
# of runs that are not asked for stay; README.md is given them by results.sh.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name, CONFIG= of the kernel, memory, letters of options for the stress program,
# words for the command line; - for none.
runs=(
	"lockdep  debug  2G o  -"
	"failslab debug  2G of -"
	"kasan    kasan  4G o  -"
	"kcsan    kcsan  3G o  -"
	"rt       rt     2G o  -"
	"slub     -      2G o  slub_debug=FZPU"
)

# What has many results of its own.
suites=(mutants kselftest static arm64-16k arm64-64k arm64-mte)
names="${runs[*]%% *} ${suites[*]}"

usage()
{
	echo "usage: test-long.sh [-t SECONDS] [-s SEED] [NAME...]"
	echo
	echo "Runs the stress program for SECONDS (default 600) on each of:"
	printf '  %s\n' "${runs[@]%% *}"
	echo "and then 'make mutants', 'make kselftest', what compilers and checkers say, and"
	echo "the quick suite on arm64 with larger pages and with MTE. NAME: only that, also"
	echo "${suites[*]}."
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
	[[ " $names " = *" $name "* ]] || die "test-long.sh: no run $name; there are: $names"
done

results=$build/results
mkdir -p "$results"
table=$results/test-long.tsv
tmp=$(mktemp -d "${TMPDIR:-/tmp}/test-long.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
series=$(code_hash)
bad=0
# arm64 NAME PAGES [OPTION...]: KUnit and the quick suite
arm64()
{
	local name=$1 pages=$2 kernel
	shift 2
	kernel=$(ARCH=arm64 PAGES=$pages CONFIG=debug "$lab/kernel.sh") &&
		"$lab/kunit.sh" -a arm64 -n "long-$name-kunit" -t 1000 "$kernel" &&
		"$lab/quick.sh" -a arm64 -n "long-$name" -m 4G -t 5000 "$@" "$kernel"
}
wanted() { [ "$asked" -eq 0 ] || [[ " $* " = *" $name "* ]]; }
# row CONFIG SECONDS SEED RESULT: what is known about $name now.
row()
{
	# Another may be running others of them.
	exec 7>"$table.lock"
	flock 7
	{
		printf 'run\tconfig\tseconds\tseed\tseries\tresult\n'
		[ ! -e "$table" ] || tail -n +2 "$table" | awk -F '\t' -v name="$name" '$1 != name'
		printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$1" "$2" "$3" "$series" "$4"
	} >"$tmp/tsv"
	mv "$tmp/tsv" "$table"
	exec 7>&-
}
asked=$#
for run in "${runs[@]}"; do
	read -r name config mem options words <<<"$run"
	wanted "$@" || continue
	# The others run all the same.
	if ! kernel=$(CONFIG=${config#-} "$lab/kernel.sh"); then
		echo "not ok - long $name: its kernel cannot be built"
		row "${config#-}" 0 "$seed" "no kernel"
		bad=1
		continue
	fi
	args=(-n "long-$name" -P anon_vma_lazy_stress -m "$mem" -t $((seconds * 2 + 300))
		-O -t -O "$seconds" -O -s -O "$seed" -O "-$options")
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
	row "${config#-}" "$seconds" "$seed" "$result"
done

for name in "${suites[@]}"; do
	wanted "$@" || continue
	verdict=ok
	case $name in
	mutants) "$lab/mutants.sh" -r ;;
	kselftest) kernel=$(CONFIG=debug "$lab/kernel.sh") && "$lab/selftests.sh" -a "$kernel" ;;
	static) "$lab/deps.sh" -s && CONFIG=debug "$lab/kernel.sh" >/dev/null && "$lab/tests/static.sh" ;;
	arm64-mte) arm64 "$name" "" -x -M -x virt,mte=on ;;
	arm64-*) arm64 "$name" "${name#arm64-}" ;;
	esac | tee "$tmp/out" || verdict="not ok"
	result="$(grep -c '^ok - ' "$tmp/out" || :) passed, $(grep -c '^not ok - ' "$tmp/out" || :) failed"
	result+=", $(grep -c '^skip - ' "$tmp/out" || :) skipped"
	[ "$verdict" = ok ] || bad=1
	echo "$verdict - long $name: $result"
	row debug - - "$result"
done
exit $bad
