#!/bin/bash
# bench.sh: run lab/bench/ on the kernel without the series, and on ours with the
# option off, with vm.anon_vma_lazy=0, and =1; compare instructions per operation.
# Exits non-zero when a case misses its bar.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: bench.sh [-b KERNEL] [-o KERNEL] [-k KERNEL] [-r REPEATS] [-s] [CASE...]
       bench.sh -p [-b KERNEL] [-k KERNEL] CASE...

QEMU's -icount makes the guest's clock count instructions, so that results do
not depend on the machine nor on what else it does. Writes build/results/bench.tsv
and bench.svg, with ARCH=arm64 to build/results/arm64/. Without CASE all are run
(lab/bench/bench.c has them).

  -b KERNEL   without the series     (default: what BASE=1 kernel.sh builds)
  -o KERNEL   with the option off    (default: what LAZY=n kernel.sh builds)
  -k KERNEL   with the option on     (default: what kernel.sh builds)
  -r REPEATS  run each that often, and say how well that repeats (default 1)
  -s          one guest at a time
  -p          say where it goes: which functions of the kernel take more or fewer
              instructions with switch 1; writes build/results/profile-CASE.tsv.
              System.map has to lie beside each KERNEL
  -h          this text
USAGE
}

base='' off='' on='' repeats=1 single='' profile=''
while getopts b:o:k:r:sph opt; do
	case $opt in
	b) base=$OPTARG ;;
	o) off=$OPTARG ;;
	k) on=$OPTARG ;;
	r) repeats=$OPTARG ;;
	s) single=1 ;;
	p) profile=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
case $repeats in
[1-9]) ;;
*) die "bench.sh: -r $repeats: 1 to 9" ;;
esac
[ -z "$profile" ] || [ $# -gt 0 ] || die "bench.sh: -p: of which CASE?"
set_arch "${ARCH:-x86_64}"
need_tools "${cross}gcc" cpio

logs=$build/log
mkdir -p "$results" "$logs" "$build/$arch/bin"

[ -n "$base" ] || base=$(BASE=1 "$lab/kernel.sh")
[ -n "$off" ] || [ -n "$profile" ] || off=$(LAZY=n "$lab/kernel.sh")
[ -n "$on" ] || on=$("$lab/kernel.sh")
"${cross}gcc" -std=gnu11 -O2 -Wall -Wextra -static -pthread -o "$build/$arch/bin/bench" "$lab/bench/bench.c"
initramfs=$build/$arch/bench.cpio
"$lab/initramfs.sh" -a "$arch" -o "$initramfs" "$build/$arch/bin/bench"
start=$SECONDS

tmp=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
pids=()
cleanup()
{
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || :
	wait
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Nothing in the guest may depend on chance or on the time of day, and nothing
# may run beside what is measured.
qemu=(-A "tcg,thread=single" -p 1 -m 512M -w 256M
	-x -icount -x "shift=0,sleep=off" -x -rtc -x "base=2026-01-01,clock=vm")
# Without ERMS memory is cleared and copied eight bytes an instruction, not one.
[ "$arch" != x86_64 ] || qemu+=(-x -cpu -x "max,-erms")
words="nokaslr norandmaps slab_nomerge numa=fake=2 numa_balancing=disable"
words+=" sysctl.vm.stat_interval=100000 sysctl.vm.compaction_proactiveness=0"

# guest VARIANT REPEAT: VARIANT is base, off, 0 or 1. The number of the repeat is
# the seed of all that is random.
guest()
{
	local kernel=$on switch=''
	case $1 in
	base) kernel=$base ;;
	off) kernel=$off ;;
	*) switch=" sysctl.vm.anon_vma_lazy=$1" ;;
	esac
	# shellcheck disable=SC2086 # $plugin is words
	exec "$lab/boot.sh" -q -a "$arch" -i "$initramfs" -t 900 "${qemu[@]}" -x -seed -x "$2" \
		${plugin:+-x -plugin -x "$plugin,out=$tmp/blocks.$1"} \
		-c "$words$switch" -l "$logs/bench-$1.log" -o "$tmp/$1.$2" "$kernel" -- bench "${cases[@]}"
}

# Cases fail one by one: what is missing is said at the end.
finish()
{
	local i
	for i in "${!pids[@]}"; do
		wait "${pids[$i]}" || { cat "$tmp/${names[$i]}.err" >&2; broken+=" ${names[$i]}"; }
	done
	pids=() names=()
}

# profile CASE: on both kernels at once; prints what differs most.
profile()
{
	local variant table=$results/profile-$1.tsv
	cases=("$1")
	for variant in base 1; do
		guest "$variant" 1 2>"$tmp/$variant.1.err" &
		pids+=($!) names+=("$variant.1")
	done
	finish
	[ -z "$broken" ] || die "bench.sh: $1 did not run in$broken"
	sort -o "$tmp/blocks.base" "$tmp/blocks.base"
	sort -o "$tmp/blocks.1" "$tmp/blocks.1"
	{
		printf 'function\tunpatched\tswitch_1\tmore\n'
		awk -f "$lab/bench/profile.awk" \
			"$(dirname "$base")/System.map" "$tmp/base.1" "$tmp/blocks.base" \
			"$(dirname "$on")/System.map" "$tmp/1.1" "$tmp/blocks.1" | sort -t $'\t' -k 4,4gr
	} >"$tmp/profile"
	mv "$tmp/profile" "$table"
	awk -F '\t' '
		{ line[NR] = $0; change[NR] = $4 < 0 ? -$4 : $4 }
		NR > 1 && change[NR] > most { most = change[NR] }
		$1 == "(all)" { was = $2; is = $3; next }
		NR > 1 && $4 < 0 { less -= $4 }
		END {
			for (i = 1; i <= NR; i++) if (i == 1 || change[i] >= most / 40) print line[i]
			printf "\n(ratio)\t1.00\t%.3f\n", is / was
			printf "(if nothing took more)\t1.00\t%.3f\n", (was - less) / was
		}' "$table" | column -t -s $'\t'
	say "bench.sh: $table has all functions; instructions of one operation, warming up included"
}

names=() broken='' plugin=''
if [ -n "$profile" ]; then
	for kernel in "$base" "$on"; do
		[ -r "$(dirname "$kernel")/System.map" ] || die "bench.sh: -p: no System.map beside $kernel"
	done
	version=1
	[[ $("qemu-system-${arch/arm64/aarch64}" --version) = *" version "[0-8].* ]] || version=2
	gcc -std=gnu11 -O2 -Wall -Wextra -shared -fPIC -DPLUGIN_VERSION=$version \
		-o "$tmp/blocks.so" "$lab/bench/blocks.c"
	at=$("${cross}nm" "$build/$arch/bin/bench" | sed -n 's/ T now$//p')
	plugin="file=$tmp/blocks.so,at=$at"
	for case; do profile "$case"; done
	exit
fi

cases=("$@")
guests=$([ -n "$single" ] || [ "$(nproc)" -lt 2 ] && echo 1 || echo 2)
for ((n = 1; n <= repeats; n++)); do
	for variant in base off 0 1; do
		say "bench.sh: $variant, run $n of $repeats (log: $logs/bench-$variant.log)"
		guest "$variant" "$n" 2>"$tmp/$variant.$n.err" &
		pids+=($!) names+=("$variant.$n")
		[ ${#pids[@]} -eq "$guests" ] || [ "$variant" = 1 ] || continue
		beat=0
		while kill -0 "${pids[@]}" 2>/dev/null; do
			sleep 1
			[ $((++beat % 30)) -ne 0 ] ||
				say "  $((SECONDS - start)) s: $(grep -a '^bench:' "$logs/bench-$variant.log" |
					tail -n 1 | tr -d '\r')"
		done
		finish
	done
done

rc=0
for variant in base off 0 1; do
	cat "$tmp/$variant".[1-9] | sed "s/^/$variant\t/"
done | awk -v repeats="$repeats" -v tsv="$tmp/bench.tsv" -f "$lab/bench/bench.awk" || rc=$?
mv "$tmp/bench.tsv" "$results/bench.tsv"
awk -f "$lab/bench/bench-svg.awk" "$results/bench.tsv" >"$tmp/bench.svg"
mv "$tmp/bench.svg" "$results/bench.svg"
say "bench.sh: $results/bench.tsv and bench.svg written, $((SECONDS - start)) s in all"
[ -z "$broken" ] || die "bench.sh: not all cases ran in$broken"
[ $rc -eq 0 ]
