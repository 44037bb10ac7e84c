#!/bin/bash
# report.sh: what real programs hold for rmap, with vm.anon_vma_lazy=0 and =1 on one
# kernel, at their peak. Exits non-zero when a workload fails or misses its bar.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: report.sh [-k KERNEL] [-b KERNEL] [-r REPEATS] [WORKLOAD...]

Boots a Debian system with vm.anon_vma_lazy=0 and =1 and runs there
  chromium    headless, 24 local pages, each with its own renderer
  redis       a save by a forked child, under writes
  postgresql  24 busy connections
  build       make -j4 of C files
and, with more memory written than there is, also on the kernel without the series
  swap        processes that fork, write, and check every page
Writes build/results/report.tsv (slabs), report-counters.tsv and report.svg. Of
workloads that are not named the last results are kept.

  -k KERNEL   default: what kernel.sh builds
  -b KERNEL   without the series, for swap; default: what BASE=1 kernel.sh builds
  -r REPEATS  run swap that often with each setting (default 3)
  -h          this text
USAGE
}

kernel='' base='' repeats=3
while getopts k:b:r:h opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	b) base=$OPTARG ;;
	r) repeats=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
all=(chromium redis postgresql build swap)
[ $# -gt 0 ] || set -- "${all[@]}"
for workload; do
	[[ " ${all[*]} " = *" $workload "* ]] || die "report.sh: $workload: one of ${all[*]}"
done
case $repeats in
[1-9]) ;;
*) die "report.sh: -r $repeats: 1 to 9" ;;
esac
arch=${ARCH:-x86_64}
[ "$arch" = x86_64 ] || die "report.sh: ARCH=$arch: x86_64 is known"
need_tools gcc cpio qemu-system-x86_64

results=$build/results
logs=$build/log
mkdir -p "$results" "$logs" "$build/$arch/bin"
start=$SECONDS

[ -n "$kernel" ] || kernel=$("$lab/kernel.sh")
image=$("$lab/image.sh" -r)
bin=()
for source in lab/workloads/storm.c tools/mm/anon_vma_stat.c; do
	p=$build/$arch/bin/$(basename "$source" .c)
	gcc -std=gnu11 -O2 -Wall -Wextra -static -o "$p" "$top/$source"
	bin+=("$p")
done
initramfs=$build/$arch/report.cpio
"$lab/initramfs.sh" -o "$initramfs" "${bin[@]}" "$lab/workloads/report-guest.sh" \
	"$lab/workloads/storm-guest.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/report.XXXXXX")
pid=
cleanup()
{
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || :
	wait
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# guest WORKLOAD SETTING SECONDS BOOT_OPTION... KERNEL -- COMMAND...: SETTING is 0, 1, or
# base. One at a time: timers of the programs run in real time.
guest()
{
	local workload=$1 setting=$2 limit=$3 began=$SECONDS rc=0 n=0 is
	# On a busy machine the guest may measure a TSC that is ten times as fast.
	local name=report-$1-$2 words="slab_nomerge clocksource=hpet"
	shift 3
	[ "$setting" = base ] || words+=" sysctl.vm.anon_vma_lazy=$setting"
	say "$workload, $setting (log: $logs/$name.log)"
	"$lab/boot.sh" -q -i "$initramfs" -t "$limit" -l "$logs/$name.log" \
		-o "$tmp/out" -c "$words" "$@" 2>"$tmp/err" &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		[ $((++n % 120)) -ne 0 ] || say "  $((SECONDS - began)) s: $(tail -n 1 "$logs/$name.log" |
			tr -d '\r' | cut -c -80)"
	done
	wait "$pid" || rc=$?
	pid=
	[ $rc -eq 0 ] || { cat "$tmp/err" >&2; die "$workload failed with $setting (see above)"; }
	cat "$tmp/out" >>"$tmp/$workload.$setting"
	# The guest says what the switch was, not what we asked for.
	is=$(awk '$1 == "switch" { print $2 }' "$tmp/out")
	[ "$is" = "${setting/base/none}" ] ||
		die "$kernel: vm.anon_vma_lazy is $is, not $setting (CONFIG_ANON_VMA_LAZY=y?)"
	say "  done after $((SECONDS - began)) s"
}

# An ordinary machine for the programs, and one with too little memory.
debian=(-d "$image" -m 4G -p 2)
small=(-m 320M -w 512M -p 2)

for workload; do
	case $workload in
	swap)
		[ -n "$base" ] || base=$(BASE=1 "$lab/kernel.sh")
		# Interleaved: what else the machine does changes with time.
		for ((i = 0; i < repeats; i++)); do
			guest swap base 900 "${small[@]}" "$base" -- storm-guest.sh
			guest swap 0 900 "${small[@]}" "$kernel" -- storm-guest.sh
			guest swap 1 900 "${small[@]}" "$kernel" -- storm-guest.sh
		done
		;;
	*)
		for setting in 0 1; do
			guest "$workload" $setting 3600 "${debian[@]}" "$kernel" \
				-- report-guest.sh "$workload"
		done
		;;
	esac
done

# keep FILE: the lines of the last run, but for the workloads of this one.
keep()
{
	[ ! -s "$results/$1" ] || awk -F '\t' -v run="$*" '
		BEGIN { n = split(run, name, " ") }
		NR == 1 { next }
		{
			for (i = 2; i <= n; i++)
				if ($1 == name[i] || index($1, name[i] "-") == 1)
					next
			print
		}' "$results/$1"
}

# What is no slab, since the workload began: by workload and setting, the mean of several.
counters()
{
	local workload setting
	for workload; do
		for setting in base 0 1; do
			[ ! -e "$tmp/$workload.$setting" ] || awk -v setting=$setting '
				function add(name, value) {
					if (!((label, name) in n))
						row[++rows] = label SUBSEP name
					n[label, name]++
					sum[label, name] += value
				}
				$1 == "label" { label = $2 }
				$1 == "event" {
					sub(/^anon_vma_lazy_/, "", $2)
					if (label == "start")
						start[$2] = $3
					else
						add($2, $3 - start[$2])
				}
				$1 == "touched" {
					add("vmas_touched", $2)
					add("vmas_touched_2MiB", $3)
				}
				END {
					for (i = 1; i <= rows; i++) {
						split(row[i], name, SUBSEP)
						k = name[1] SUBSEP name[2]
						printf "%s\t%s\t%s\t%.0f\n", name[1], setting,
							name[2], sum[k] / n[k]
					}
				}' "$tmp/$workload.$setting"
		done
	done
}

slabs()
{
	local workload
	for workload; do
		awk -f "$lab/workloads/pair.awk" "$tmp/$workload.0" "$tmp/$workload.1"
	done | awk 'NR == 1 || $1 != "workload"'
}

{ slabs "$@"; keep report.tsv "$@"; } >"$tmp/slabs"
{ printf 'workload\tswitch\tcounter\tvalue\n'; counters "$@"; keep report-counters.tsv "$@"; } >"$tmp/counters"
mv "$tmp/slabs" "$results/report.tsv"
mv "$tmp/counters" "$results/report-counters.tsv"

release=$(awk '$1 == "kernel" { print $2; exit }' "$tmp/out")
awk -v release="$release" -f "$lab/workloads/demo-table.awk" "$results/report.tsv"
awk -f "$lab/workloads/report-counters.awk" "$results/report-counters.tsv"
awk -v release="$release" -f "$lab/workloads/demo-svg.awk" "$results/report.tsv" >"$tmp/report.svg"
mv "$tmp/report.svg" "$results/report.svg"

say "report.sh: $results/report.tsv, report-counters.tsv and report.svg written, $((SECONDS - start)) s in all"
awk -f "$lab/workloads/report-bars.awk" "$results/report.tsv" "$results/report-counters.tsv"
