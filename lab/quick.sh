#!/bin/bash
# quick.sh: the quick suite. Builds the selftest anon_vma_lazy against a kernel
# tree, runs it in the guest, and prints one line a case:
#
#   ok - CASE | not ok - CASE | skip - CASE REASON
#
# The cases set vm.anon_vma_lazy themselves: one boot runs them with 1 and 0.
# On a kernel without the switch those with 1 are skipped.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: quick.sh [option...] [KERNEL [CASE...]]

Runs the selftest on KERNEL (default: that of build/ARCH-debug/). Results go to
standard output, what the failed cases said to standard error.

  -T TREE     kernel tree with the other selftests and the headers
              (default build/linux)
  -t SECONDS  time-out of the guest (default 1500)
  -P PROGRAM  of tools/testing/selftests/mm to run (default anon_vma_lazy)
  -O WORD     one more argument for it (repeatable)
  -c WORDS    more words for the kernel command line (repeatable)
  -x ARG      one more argument for QEMU (repeatable)
  -a ARCH     x86_64, arm64; default: ARCH= in the environment, or x86_64
  -m MEM      of the guest (default 2G)
  -n NAME     files are called build/NAME.*, default quick
  -h          this text

CASE is a name that it prints, e.g. lazy.anon_on.mremap_back, or the last part
of such names: mremap_back.
USAGE
}

tree=$build/linux limit=1500 program=anon_vma_lazy arch=${ARCH:-x86_64} name=quick
words=() args=() mem=2G
while getopts T:t:P:O:c:x:a:m:n:h opt; do
	case $opt in
	T) tree=$OPTARG ;;
	t) limit=$OPTARG ;;
	P) program=$OPTARG ;;
	O) args+=("$OPTARG") ;;
	c) words+=(-c "$OPTARG") ;;
	x) words+=(-x "$OPTARG") ;;
	a) arch=$OPTARG ;;
	m) mem=$OPTARG ;;
	n) name=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
set_arch "$arch"
kernel=${1:-$build/$arch-debug/$target}
[ $# -eq 0 ] || shift
[ -r "$kernel" ] || die "quick.sh: no kernel at $kernel: run 'make kernel CONFIG=debug'"
selftests=$tree/tools/testing/selftests
[ -e "$selftests/mm/vm_util.c" ] || die "quick.sh: no kernel tree at $tree: run 'make linux'"
need_tools make "${cross}gcc" cpio

out=$build/$name
mkdir -p "$build"
lock "$out.lock"

# The headers of the tree: those of the machine are years older. One at a time.
headers=$build/uapi-$arch
step 300 "$out.build.log" "quick.sh: installing the kernel's headers" \
	flock "$headers.lock" make -s -C "$tree" O="$headers" ARCH="$arch" headers

# $top's own copy of the test is used, whether the tree has one or not. A hundred
# mutants want the same program: it is only built if something has changed.
compile=("${cross}gcc" -Wall -Werror -O2 -static -D_GNU_SOURCE= -U_FORTIFY_SOURCE
	-I "$selftests/mm" -I "$selftests" -I "$tree"
	-isystem "$headers/usr/include" -isystem "$tree/tools/include/uapi"
	"$top/tools/testing/selftests/mm/$program.c"
	"$selftests/mm/vm_util.c" "$selftests/mm/hugepage_settings.c"
	-lrt -lpthread -lm -o "$out.$program")
if [ "${compile[*]}" != "$(cat "$out.$program.made" 2>/dev/null)" ] ||
   [ -n "$(find "$top/tools/testing/selftests/mm/$program.c" "$selftests"/*.h "$selftests/mm" \
		"$headers/usr/include" "$tree/tools/include/uapi" -type f \
		-newer "$out.$program.made" -print -quit)" ]; then
	rm -f "$out.$program.made"
	# As old as what is compiled, should that change meanwhile
	echo "${compile[*]}" >"$out.$program.making"
	step 300 "$out.build.log" "quick.sh: building $program" "${compile[@]}"
	mv "$out.$program.making" "$out.$program.made"
fi
"$lab/initramfs.sh" -a "$arch" -o "$out.cpio" "$out.$program"

for case; do
	case $case in
	*.*) args+=(-r "$case") ;;
	*) args+=(-t "$case") ;;
	esac
done

cat >"$out.guest" <<END
#!/bin/sh
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"$(basename "$out").$program" ${args[*]@Q} 2>&1
# Its verdict is in what it printed.
exit 0
END
status=0
"$lab/boot.sh" -a "$arch" -i "$out.cpio" -s "$out.guest" -w 512M -m "$mem" -t "$limit" \
	-c "numa=fake=2 slab_nomerge" "${words[@]}" -l "$out.console" -o "$out.tap" \
	"$kernel" || status=$?

# TAP in, lines out. What a case says comes before its verdict.
tr -d '\r' <"$out.tap" | awk -v err=/dev/stderr -v status=$status '
	/^1\.\.[0-9]+/ { planned = substr($0, 4) + 0; next }
	/^#  RUN / { running = $3; said = ""; next }
	/^ok [0-9]+ / {
		n++; name = $3; running = ""
		if (sub(/^.*# SKIP */, "")) print "skip - " name " " $0
		else print "ok - " name
		next
	}
	/^not ok [0-9]+ / {
		n++; bad++; running = ""
		print "not ok - " $4
		printf "%s:\n%s", $4, said >err
		next
	}
	{ said = said $0 "\n" }
	END {
		if (running != "") {
			print "not ok - " running
			printf "%s, when the guest ended:\n%s", running, said >err
		}
		if (n < planned || !n) {
			bad++
			print "not ok - all cases were run"
			printf "%d of %d cases were run\n", n, planned >err
		}
		# The kernel complained, or did not get to the end.
		print (status ? "not ok" : "ok") " - no complaint from the kernel"
		exit bad || status
	}'
