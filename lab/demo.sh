#!/bin/bash
# demo.sh: boot one kernel twice, with vm.anon_vma_lazy=0 and =1, run the same
# workloads in both, and print what the slab caches behind rmap hold. Exits
# non-zero when a saving that the series promises is missed.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: demo.sh [-k KERNEL] [-n]

Boots KERNEL with vm.anon_vma_lazy=0 and =1 and compares slab use on
  boot       a Debian system, 30 s after multi-user.target
  gaps       a zygote and 24 apps, VMAs with gaps between them
  adjacent   the same, VMAs without gaps that cannot merge
Writes build/results/demo.tsv and demo.svg, with ARCH=arm64 to build/results/arm64/.

  -k KERNEL  default: what kernel.sh builds
  -n         a kernel without the feature will do: compare it with itself
  -h         this text
USAGE
}

kernel='' any=''
while getopts k:nh opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	n) any=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
[ $OPTIND -gt $# ] || { usage >&2; exit 2; }

set_arch "${ARCH:-x86_64}"
need_tools "${cross}gcc" cpio

logs=$build/log
mkdir -p "$results" "$logs" "$build/$arch/bin"
start=$SECONDS

[ -n "$kernel" ] || kernel=$("$lab/kernel.sh")
image=$("$lab/image.sh" -a "$arch")
bin=()
for source in lab/workloads/apps.c tools/mm/anon_vma_stat.c; do
	p=$build/$arch/bin/$(basename "$source" .c)
	"${cross}gcc" -std=gnu11 -O2 -Wall -Wextra -static -o "$p" "$top/$source"
	bin+=("$p")
done
initramfs=$build/$arch/demo.cpio
"$lab/initramfs.sh" -a "$arch" -o "$initramfs" "${bin[@]}" "$lab/workloads/demo-guest.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/demo.XXXXXX")
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

# pair WORKLOAD SECONDS [OPTION...]: both settings at once.
pair()
{
	local workload=$1 limit=$2 began=$SECONDS n=0 rc=0 switch
	shift 2
	say "$workload: booting with vm.anon_vma_lazy=0 and =1 (logs: $logs/demo-$workload-0.log, -1.log)"
	pids=()
	for switch in 0 1; do
		"$lab/boot.sh" -q -a "$arch" -i "$initramfs" -t "$limit" \
			-l "$logs/demo-$workload-$switch.log" \
			-o "$tmp/$workload.$switch" \
			-c "slab_nomerge sysctl.vm.anon_vma_lazy=$switch" "$@" \
			"$kernel" -- demo-guest.sh "$workload" \
			2>"$tmp/$workload.$switch.err" &
		pids+=($!)
	done
	while kill -0 "${pids[@]}" 2>/dev/null; do
		sleep 0.5
		[ $((++n % 40)) -ne 0 ] ||
			say "  $((SECONDS - began)) s: $(tail -n 1 "$logs/demo-$workload-1.log" |
				tr -d '\r' | cut -c -80)"
	done
	for switch in 0 1; do
		wait "${pids[$switch]}" || rc=$?
		[ $rc -eq 0 ] || {
			cat "$tmp/$workload.$switch.err" >&2
			die "workload $workload failed with vm.anon_vma_lazy=$switch (see above)"
		}
		check_switch "$workload" $switch
	done
	pids=()
	say "  done after $((SECONDS - began)) s"
}

# The guest says what the switch was, not what we asked for.
check_switch()
{
	local is
	is=$(awk '$1 == "switch" { print $2 }' "$tmp/$1.$2")
	case $is in
	"$2") ;;
	none)
		[ -n "$any" ] ||
			die "$kernel has no vm.anon_vma_lazy: build it with CONFIG_ANON_VMA_LAZY=y (or give -n)"
		;;
	*) die "the guest runs with vm.anon_vma_lazy=$is, not $2" ;;
	esac
}

pair boot 420 -m 2G -p 2 -d "$image" -S 30
pair apps 300 -m 2G -p 1

awk -f "$lab/workloads/pair.awk" <(cat "$tmp/boot.0" "$tmp/apps.0") \
	<(cat "$tmp/boot.1" "$tmp/apps.1") >"$tmp/demo.tsv"
mv "$tmp/demo.tsv" "$results/demo.tsv"

release=$(awk '$1 == "kernel" { print $2; exit }' "$tmp/boot.1")
awk -v release="$release" -f "$lab/workloads/demo-table.awk" "$results/demo.tsv"
awk -v release="$release" -f "$lab/workloads/demo-svg.awk" "$results/demo.tsv" >"$tmp/demo.svg"
mv "$tmp/demo.svg" "$results/demo.svg"

say "demo.sh: $results/demo.tsv and demo.svg written, $((SECONDS - start)) s in all"
[ -z "$any" ] || exit 0
awk -f "$lab/workloads/demo-bars.awk" "$results/demo.tsv"
