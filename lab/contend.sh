#!/bin/bash
# contend.sh: reclaim against page faults on two CPUs (lab/bench/contend.c), on the
# kernel without the series and on ours with vm.anon_vma_lazy=0 and =1, in turns, so
# that what else the machine does hits all alike. Prints the median of the ratios to
# the unpatched kernel's run of the same turn, with the least and the greatest.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: contend.sh [-b KERNEL] [-k KERNEL] [-n TURNS] [-t SECONDS]

Writes build/results/contend.tsv.

  -b KERNEL   without the series (default: what BASE=1 kernel.sh builds)
  -k KERNEL   with the option on (default: what kernel.sh builds)
  -n TURNS    default 7
  -t SECONDS  of the guest's time for each run, default 10
  -h          this text
USAGE
}

base='' on='' turns=7 seconds=10
while getopts b:k:n:t:h opt; do
	case $opt in
	b) base=$OPTARG ;;
	k) on=$OPTARG ;;
	n) turns=$OPTARG ;;
	t) seconds=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || { usage >&2; exit 2; }
[[ $turns =~ ^[1-9][0-9]?$ ]] || die "contend.sh: -n $turns: 1 to 99"
[[ $seconds =~ ^[1-9][0-9]{0,2}$ ]] || die "contend.sh: -t $seconds: 1 to 999"
[ "${ARCH:-x86_64}" = x86_64 ] || die "contend.sh: ARCH=$ARCH: x86_64 is known"
need_tools gcc cpio qemu-system-x86_64

results=$build/results
mkdir -p "$results" "$build/x86_64/bin"
[ -n "$base" ] || base=$(BASE=1 "$lab/kernel.sh")
[ -n "$on" ] || on=$("$lab/kernel.sh")
gcc -std=gnu11 -O2 -Wall -Wextra -static -o "$build/x86_64/bin/contend" "$lab/bench/contend.c"
"$lab/initramfs.sh" -o "$build/x86_64/contend.cpio" "$build/x86_64/bin/contend"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/contend.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

printf 'kernel\tturn\twhat\tnumber\n' >"$tmp/tsv"
for ((turn = 1; turn <= turns; turn++)); do
	say "contend.sh: turn $turn of $turns"
	for variant in unpatched 0 1; do
		kernel=$on
		[ $variant != unpatched ] || kernel=$base
		"$lab/boot.sh" -q -i "$build/x86_64/contend.cpio" -m 512M -w 256M \
			-t $((seconds * 10 + 120)) -l "$build/log/contend-$variant.log" \
			-c "sysctl.vm.anon_vma_lazy=$variant" "$kernel" -- contend "$seconds" |
			sed "s/^/$variant\t$turn\t/" >>"$tmp/tsv"
	done
done
mv "$tmp/tsv" "$results/contend.tsv"

awk -F '\t' '
	NR > 1 { n[$1, $2, $3] = $4; if ($2 > turns) turns = $2 }
	# Median, least and greatest of what to has as a part of what unpatched has.
	function line(title, to, above, below,	i, j, k, a, b, r, x)
	{
		for (i = 1; i <= turns; i++) {
			a = n[to, i, above]
			b = n["unpatched", i, above]
			if (below) {
				a /= n[to, i, below]
				b /= n["unpatched", i, below]
			}
			r[i] = a / b
		}
		for (i = 2; i <= turns; i++)
			for (j = i; j > 1 && r[j] < r[j - 1]; j--) {
				x = r[j]; r[j] = r[j - 1]; r[j - 1] = x
			}
		k = int((turns + 1) / 2)
		printf "%-32s %8s   %6.3f  (%.3f to %.3f)\n", title, to,
			turns % 2 ? r[k] : (r[k] + r[k + 1]) / 2, r[1], r[turns]
	}
	END {
		printf "%-32s %8s   median  (spread)\n", "ratio to unpatched", "switch"
		for (i = 0; i <= 1; i++) {
			line("pages written to", i, "written")
			line("pages reclaimed", i, "reclaimed")
			line("reclaimed per page scanned", i, "reclaimed", "scanned")
			line("system time per page reclaimed", i, "system", "reclaimed")
		}
	}' "$results/contend.tsv"
