#!/bin/bash
# kunit.sh: run the KUnit suite anon_vma_lazy of a kernel in the guest and print
# one line a case:
#
#   ok - kunit CASE | not ok - kunit CASE | skip - kunit CASE REASON
#
# The suite is started from debugfs, with vm.anon_vma_lazy=0: it switches that on
# where it needs it, and has to put it back.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: kunit.sh [option...] [KERNEL]

Runs the suite of KERNEL (default: that of build/ARCH-debug/). Results go to
standard output, what the failed cases said to standard error.

  -t SECONDS  time-out of the guest (default 300)
  -c WORDS    more words for the kernel command line (repeatable)
  -a ARCH     x86_64, arm64; default: ARCH= in the environment, or x86_64
  -n NAME     files are called build/NAME.*, default kunit
  -h          this text
USAGE
}

limit=300 arch=${ARCH:-x86_64} name=kunit words=()
while getopts t:c:a:n:h opt; do
	case $opt in
	t) limit=$OPTARG ;;
	c) words+=(-c "$OPTARG") ;;
	a) arch=$OPTARG ;;
	n) name=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
set_arch "$arch"
kernel=${1:-$build/$arch-debug/$target}
[ -r "$kernel" ] || die "kunit.sh: no kernel at $kernel: run 'make kernel CONFIG=debug'"
need_tools cpio

out=$build/$name
mkdir -p "$build"
lock "$out.lock"
"$lab/initramfs.sh" -a "$arch" -o "$out.cpio"

cat >"$out.guest" <<'END'
#!/bin/sh
suite=/sys/kernel/debug/kunit/anon_vma_lazy
switch=/proc/sys/vm/anon_vma_lazy
[ -e $suite/run ] || { echo "no suite"; exit 0; }
echo 0 >$switch
echo 1 >$suite/run
cat $suite/results
echo "switch $(cat $switch)"
END
status=0
"$lab/boot.sh" -a "$arch" -i "$out.cpio" -s "$out.guest" -t "$limit" \
	-c "kunit.enable=1 kunit.autorun=0" "${words[@]}" -l "$out.console" -o "$out.ktap" \
	"$kernel" || status=$?

# KTAP in, lines out. A case is indented by four, its parameters by eight. What
# it says comes before its verdict, and so does "# CASE: pass:N ...".
tr -d '\r' <"$out.ktap" | awk -v err=/dev/stderr -v status=$status '
	/^no suite$/ { absent = 1; next }
	/^switch / { back = $2 == "0"; next }
	/^    1\.\.[0-9]+$/ { planned = substr($1, 4) + 0; next }
	/^    (not )?ok [0-9]+ / {
		n++
		failed = $1 == "not"
		case_name = $(failed ? 4 : 3)
		if (sub(/^.*# SKIP */, "")) {
			print "skip - kunit " case_name " " $0
		} else if (failed) {
			bad++
			print "not ok - kunit " case_name
			printf "%s:\n%s", case_name, said >err
		} else {
			print "ok - kunit " case_name
		}
		said = ""
		next
	}
	{ said = said $0 "\n" }
	END {
		if (absent)
			print "the kernel lacks CONFIG_ANON_VMA_LAZY_KUNIT_TEST or CONFIG_KUNIT_DEBUGFS" >err
		if (absent || n < planned || !n) {
			bad++
			print "not ok - kunit: all cases were run"
			if (!absent)
				printf "%d of %d cases were run\n%s", n, planned, said >err
		} else {
			if (!back)
				bad++
			print (back ? "ok" : "not ok") " - kunit: puts vm.anon_vma_lazy back"
		}
		# The kernel complained, or did not get to the end.
		print (status ? "not ok" : "ok") " - kunit: no complaint from the kernel"
		exit bad || status
	}'
