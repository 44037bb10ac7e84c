#!/bin/bash
# selftests.sh: the kernel's own mm selftests, before and after. Builds those
# that lean on reverse mapping once, from the source with the series, runs them on
# the kernel without it and on the one with it, there with vm.anon_vma_lazy=1
# and 0, and compares case by case; with -o without the first of the kernels. One
# line for each program and value:
#
#   ok - selftest PROGRAM, lazy=1: COUNTS
#   skip - selftest PROGRAM, lazy=1: REASON       (nothing but skipped cases)
#   not ok - selftest PROGRAM, lazy=1: CASE ...   (one for each worse case)
#
# Worse is: failed, skipped, crashed, timed out or missing where it was better
# without the series. What fails or is skipped on both kernels is counted as
# "as without the series". Some programs depend on chance, as on who else has a page
# locked: one that is worse is run three times more, and what is worse in two of the
# four runs counts.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: selftests.sh [option...] [KERNEL]
       selftests.sh -C BEFORE AFTER [TABLE]
       selftests.sh -o -C AFTER

Compares KERNEL (default: that of build/ARCH-debug/) with the same
configuration without the series. Results go to standard output, what the
worse cases said to standard error. What the kernel without the series gave is
kept in the cache, for as long as neither it nor a program changes.

  -a          all of the mm selftests that can run in the guest, not just
              those that lean on reverse mapping; prints the three columns, too,
              which are kept in build/results/kselftest.tsv
  -b KERNEL   the kernel without the series (default: BASE=1 CONFIG=debug
              kernel.sh)
  -f          run that one even if its results are in the cache
  -o          do without it (and without -a, -b and -f): compare
              vm.anon_vma_lazy=1 with 0, where nothing may fail either. That
              kernel takes as long to build as KERNEL.
  -t SECONDS  time-out of each guest (default 900; with -a 7200)
  -n NAME     files are called build/NAME.*, default selftests; with -a kselftest
  -C          only compare two files that guests gave (build/NAME.*.tap)
  -h          this text
USAGE
}

# Program, seconds at most, arguments. The limits are several times what an
# idle machine needs without KVM. migration takes 20 s a case whatever the
# machine, so of its cases those are run whose memory can be lazy: shared
# memory has no anon_vma, and that of hugetlb is built at once, as ever (cow
# has both).
programs=(
	"rmap 120"
	"cow 300"
	"merge 60"
	"mremap_test 90"
	"ksm_functional_tests 180"
	"migration 120 -t private_anon -t private_anon_thp"
)

# With -a: what run_vmtests.sh runs, with its arguments. Not those that need what
# the guest has not: modules (vmalloc, page_frag), sudo (on-fault-limit), XFS
# (khugepaged all:file), 32-bit programs, memory protection keys, bash and a
# cgroup of hugetlb (the shell scripts). Nor the benchmark of hmm-tests: it has no
# verdict but its time-out, and when that kills it test_hmm takes the kernel along,
# with the series or without.
all_programs=(
	"hugetlb-mmap 120"
	"hugetlb-shm 120"
	"hugetlb-mremap 120"
	"hugetlb-madvise 120"
	"hugetlb_dio 120"
	"hugetlb_fault_after_madv 600"
	"hugetlb_madv_vs_map 120"
	"map_fixed_noreplace 60"
	"gup_test 120 -u -n 1"
	"gup_test 120 -u -n -1"
	"gup_test 120 -a -n 1"
	"gup_test 120 -a -n -1"
	"gup_test 120 -ct -F 0x1 0 19 0x1000"
	"gup_longterm 300"
	"uffd-unit-tests 600"
	"uffd-stress 300 anon 20 16"
	"uffd-stress 300 hugetlb 128 32"
	"uffd-stress 300 hugetlb-private 128 32"
	"uffd-stress 300 shmem 20 16"
	"uffd-stress 300 shmem-private 20 16"
	"uffd-wp-mremap 300"
	"compaction_test 300"
	"map_populate 60"
	"droppable 60"
	"mlock-random-test 120"
	"mlock2-tests 120"
	"mrelease_test 120"
	"mremap_test 300"
	"mremap_dontunmap 60"
	"thuge-gen 120"
	"va_high_addr_switch 60"
	"hmm-tests 900 -T benchmark_thp_migration"
	"guard-regions 300"
	"madv_populate 120"
	"process_madv 120"
	"merge 120"
	"memfd_secret 60"
	"ksm_tests 120 -H -s 100"
	"ksm_tests 120 -P -s 100"
	"ksm_tests 120 -M -p 10"
	"ksm_tests 120 -U"
	"ksm_tests 120 -Z -p 10 -z 0"
	"ksm_tests 120 -Z -p 10 -z 1"
	"ksm_tests 120 -N -m 1"
	"ksm_tests 120 -N -m 0"
	"ksm_functional_tests 300"
	"soft-dirty 120"
	"pagemap_ioctl 300"
	"pfnmap 60"
	"cow 600"
	"khugepaged 600"
	"khugepaged 600 -s 2"
	"khugepaged 600 all:shmem"
	"khugepaged 600 -s 4 all:shmem"
	"khugepaged 600 -c 4 mthp_khugepaged:anon"
	"split_huge_page_test 300"
	"transhuge-stress 120 -d 20"
	"folio_split_race_test 900"
	"migration 600"
	"mkdirty 60"
	"mdwe_test 60"
	"mseal_test 120"
	"prctl_thp_disable 120"
	"rmap 120"
	"memory-failure 300"
)

# off FILE: what a guest gave with 0, as if it had given that with 1, too.
off()
{
	local value
	for value in 1 0; do
		awk -v value=$value '
			/^# lab-run / { off = $3 == 0; $3 = value; $4 = "absent" }
			off' "$1"
	done
}

# compare BEFORE AFTER [STATUS [TABLE]]: two guests' outputs in, lines out. With
# $own the first is what off() gave. STATUS is boot.sh's of the second guest, TABLE
# a file for the three columns.
compare()
{
	awk -v OFS='\t' -v err=/dev/stderr -v status="${3-}" -v table="${4-}" -v own="$own" '
	BEGIN {
		# The higher the better; nothing at all is 0.
		split("crash timeout fail skip xfail pass", word, " ")
		for (i in word) rank[word[i]] = i + 0
		base = own ? "with 0" : "without the series"
	}
	# A case is known by what is said when it begins, or else by its verdict,
	# which may differ with the outcome.
	function verdict(good, text,	name, why, what, key)
	{
		what = good ? "pass" : kind
		name = text
		why = ""
		if (match(text, /# (SKIP|XFAIL|XPASS|error) */)) {
			if (text ~ /# SKIP/) what = "skip"
			if (text ~ /# XFAIL/) what = "xfail"
			name = substr(text, 1, RSTART - 1)
			why = substr(text, RSTART + RLENGTH)
			if (name ~ /^ *$/) { name = why; why = last }
		}
		sub(/ *#  .*/, "", name)
		sub(/ +$/, "", name)
		key = begun != "" ? begun : name
		if (!why && key != name) why = name
		verdicts[file, run]++
		if (times[serial, key]++) key = key " (" times[serial, key] ")"
		note(key, what, why)
		begun = said = last = ""
		kind = "fail"
	}
	function note(key, what, why)
	{
		if (file == 1) {
			# A failure without the series is not its fault; one with 0 is.
			if (own && rank[what] <= rank["fail"]) what = "pass"
			# Run twice: what is not steady, or not always there, is no measure.
			seen[program, key]++
			if (!((program, key) in before)) {
				before[program, key] = what
				cases[program] = cases[program] SUBSEP key
			} else if (before[program, key] != what) {
				unsteady[program]++
				if (rank[what] < rank[before[program, key]])
					before[program, key] = what
			}
			return
		}
		if (!had[run, key]++) order[run] = order[run] SUBSEP key
		if (had[run, key] == 1 || rank[what] < rank[worst[run, key]]) {
			second[run, key] = worst[run, key]
			worst[run, key] = what
			reason[run, key] = why
			output[run, key] = said
		} else if (had[run, key] == 2 || rank[what] < rank[second[run, key]]) {
			second[run, key] = what
		}
	}
	# The result, or the second worst of several. Nothing at all is the worst.
	function after(run, key,	lack)
	{
		lack = runs_after[run] - had[run, key]
		if (runs_after[run] == 1 || lack == 1) return worst[run, key]
		return lack ? "" : second[run, key]
	}
	FNR == 1 { file++ }
	{ sub(/\r$/, "") }
	/^# lab-run / {
		program = $0
		sub(/^# lab-run [^ ]+ [^ ]+ /, "", program)
		run = $3 SUBSEP program
		serial++
		kind = "fail"
		begun = said = last = ""
		if (file == 1) {
			runs[++nruns] = run
			nruns_of[program]++
		}
		else {
			runs_after[run]++
			if ($4 != $3) unset[run] = $4
		}
		started[file, run] = 1
		next
	}
	/^# lab-status / {
		what = $3 == 137 ? "timeout" : $3 > 128 ? "crash" : "pass"
		# Some programs give no verdict but this.
		if (!verdicts[file, run] && what == "pass" && $3)
			what = $3 == 4 ? "skip" : "fail"
		note(verdicts[file, run] ? "its end" : "its status", what, "status " $3)
		next
	}
	# Some verdicts have no newline.
	/^(not )?ok [0-9]+ .*# \[RUN\] / {
		at = index($0, "# [RUN] ")
		next_begun = substr($0, at + 8)
		$0 = substr($0, 1, at - 1)
	}
	/^ok [0-9]+/ { sub(/^ok [0-9]+ */, ""); verdict(1, $0); begun = next_begun; next_begun = ""; next }
	/^not ok [0-9]+/ { sub(/^not ok [0-9]+ */, ""); verdict(0, $0); begun = next_begun; next_begun = ""; next }
	/^# \[RUN\] / { begun = substr($0, 9); said = last = ""; next }
	/^#  RUN / { begun = $3; said = last = ""; next }
	/: Test terminated by timeout/ { kind = "timeout" }
	/: Test terminated unexpectedly by signal/ { kind = "crash" }
	{
		said = said "    " $0 "\n"
		last = $0
		sub(/^# */, "", last)
	}
	function worse(text, details)
	{
		print "not ok - " title text
		if (details != "") printf "%s%s\n%s", title, text, details >err
		bad++
	}
	function counts(n,	i, text)
	{
		for (i = 6; i >= 1; i--)
			if (n[word[i]]) text = text ", " n[word[i]] " " word[i]
		return text == "" ? "nothing" : substr(text, 3)
	}
	END {
		if (!nruns) {
			print "not ok - selftests: there is something to compare with"
			exit 1
		}
		for (program in cases) {
			count = split(substr(cases[program], 2), key, SUBSEP)
			for (i = 1; i <= count; i++)
				unsteady[program] += seen[program, key[i]] < nruns_of[program]
		}
		for (r = 1; r <= nruns; r++) {
			run = runs[r]
			split(run, part, SUBSEP)
			program = part[2]
			title = "selftest " program ", lazy=" part[1] ": "
			was = bad
			if (!((2, run) in started)) {
				worse("was not run")
				continue
			}
			if (run in unset)
				worse("vm.anon_vma_lazy was " unset[run])
			delete n
			missing = 0
			skipped = ""
			count = split(substr(cases[program], 2), key, SUBSEP)
			for (i = 1; i <= count; i++) {
				old = before[program, key[i]]
				new = after(run, key[i])
				if (new == "") {
					if (seen[program, key[i]] == nruns_of[program] && !missing++)
						first = key[i]
				} else if (rank[new] < rank[old]) {
					why = reason[run, key[i]]
					worse(key[i] ": " old " " base ", " new (own ? "" : " with it") \
						(why == "" ? "" : " (" why ")"), output[run, key[i]])
				}
				if (key[i] != "its end") n[new]++
				if (new == "skip" && skipped == "") skipped = reason[run, key[i]]
			}
			column[part[1], program] = counts(n)
			if (missing)
				worse(missing " of " count " cases are missing, the first: " first,
				      output[run, first])
			# What only the second guest has.
			count = split(substr(order[run], 2), key, SUBSEP)
			for (i = 1; i <= count; i++) {
				if ((program, key[i]) in before) continue
				new = after(run, key[i])
				n[new]++
				if (new != "" && rank[new] <= rank["fail"])
					worse(key[i] ": " new ", unknown " base, output[run, key[i]])
			}
			if (bad > was) continue
			same = ""
			for (i = 5; i >= 1; i--)
				if (n[word[i]]) same = same ", " n[word[i]] " " word[i]
			same = substr(same, 3) (same == "" ? "" : " as " base)
			if (unsteady[program])
				same = same (same == "" ? "" : "; ") unsteady[program] " unsteady " (own ? base : "without it")
			if (!n["pass"]) {
				print "skip - " title same " (" skipped ")"
			} else {
				print "ok - " title n["pass"] " pass" (same == "" ? "" : ", ") same
			}
		}
		if (table != "") print "program", "unpatched", "lazy=0", "lazy=1" >table
		for (r = 1; table != "" && r <= nruns; r++) {
			split(runs[r], part, SUBSEP)
			program = part[2]
			if (part[1] != 1) continue
			delete n
			count = split(substr(cases[program], 2), key, SUBSEP)
			for (i = 1; i <= count; i++)
				if (key[i] != "its end") n[before[program, key[i]]]++
			print program, counts(n), column[0, program], column[1, program] >table
		}
		if (status != "") {
			# The kernel complained, or did not get to the end.
			print (status ? "not ok" : "ok") " - selftests: no complaint from the kernel"
			if (status) bad++
		}
		exit bad > 0
	}' "$1" "$2"
}

kernel='' base_kernel='' force='' limit='' name='' only='' all='' own=''
while getopts ab:fot:n:Ch opt; do
	case $opt in
	a) all=1 ;;
	b) base_kernel=$OPTARG ;;
	f) force=1 ;;
	o) own=1 ;;
	t) limit=$OPTARG ;;
	n) name=$OPTARG ;;
	C) only=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
# There is no column of another kernel then, nor a kernel to name.
[ -z "$own" ] || [ -z "$all$base_kernel$force" ] || { usage >&2; exit 2; }
if [ -n "$only" ] && [ -n "$own" ]; then
	[ $# -eq 1 ] || { usage >&2; exit 2; }
	compare <(off "$1") "$1"
	exit
fi
if [ -n "$only" ]; then
	[ $# -eq 2 ] || [ $# -eq 3 ] || { usage >&2; exit 2; }
	compare "$1" "$2" "" "${3-}"
	exit
fi
set_arch "${ARCH:-x86_64}"
hugepages=16 mem=2G table=''
if [ -n "$all" ]; then
	programs=("${all_programs[@]}")
	hugepages=160 mem=3G table=$results/kselftest.tsv
	mkdir -p "$results"
fi
: "${limit:=$([ -n "$all" ] && echo 7200 || echo 900)}"
: "${name:=$([ -n "$all" ] && echo kselftest || echo selftests)}"
kernel=${1:-$build/$arch-debug/$target}
[ -r "$kernel" ] || die "selftests.sh: no kernel at $kernel: run 'make kernel CONFIG=debug'"
need_tools make "${cross}gcc" cpio
out=$build/$name
mkdir -p "$build"
lock "$out.lock"
if [ -z "$own" ]; then
	[ -n "$base_kernel" ] || base_kernel=$(BASE=1 CONFIG=debug "$lab/kernel.sh")
	[ -r "$base_kernel" ] || die "selftests.sh: no kernel at $base_kernel"
fi

# Both kernels run the same programs, those of the series: it has taught merge
# that more VMAs can be merged if they are lazy.
"$lab/assemble.sh" -k
tree=$build/linux
mm=$tree/tools/testing/selftests/mm
headers=$build/uapi-$arch
step 300 "$out.build.log" "selftests.sh: installing the kernel's headers" \
	flock "$headers.lock" make -s -C "$tree" O="$headers" ARCH="$arch" headers

# Of another architecture there is the C library and no more. What it is linked
# with has to come from the same release.
paths=()
if [ -z "$native" ]; then
	root=$cache/lib-$arch
	if [ ! -d "$root" ]; then
		need_tools mmdebstrap
		trap 'rm -rf "$root.$$"' EXIT
		mkdir "$root.$$"
		DEBIAN_SUITE=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release) \
			debian_extract "$root.$$" libnuma-dev libcap-dev
		tar -xf "$root.$$/tar" -C "$root.$$" ./usr/include ./usr/lib
		rm "$root.$$/tar"
		mv "$root.$$" "$root"
	fi
	# Behind those of the compiler
	paths=(-idirafter "$root/usr/include" -L "$root/usr/lib/${cross%-}")
fi

rm -rf "$out.bin"
mkdir -p "$out.bin"
# As check_config.sh leaves it where there is no liburing.
echo '// No liburing support found' >"$out.bin/local_config.h_gen"
for program in "${programs[@]}"; do
	program=${program%% *}
	[ ! -e "$out.bin/$program" ] || continue
	libs=() more=()
	case $program in
	rmap | migration | ksm_tests) libs=(-lnuma) ;;
	mlock-random-test | memfd_secret) libs=(-lcap) ;;
	uffd-*) more=("$mm/uffd-common.c") ;;
	esac
	step 300 "$out.build.log" "selftests.sh: building $program" \
		"${cross}gcc" -Wall -O2 -static -D_GNU_SOURCE= -U_FORTIFY_SOURCE \
		-ffile-prefix-map="$build"=build \
		-I "$out.bin" -I "$mm" -I "$mm/.." -I "$tree" \
		-isystem "$headers/usr/include" -isystem "$tree/tools/include/uapi" \
		"$mm/$program.c" "${more[@]}" "$mm/vm_util.c" "$mm/hugepage_settings.c" \
		"${paths[@]}" -lrt -lpthread -lm "${libs[@]}" -o "$out.bin/$program"
done
rm "$out.bin/local_config.h_gen"
"$lab/initramfs.sh" -a "$arch" -o "$out.cpio" "$out.bin"/*

# Every program begins with the same huge pages, KSM at rest and memory that is
# not in pieces. It runs in a tmpfs: pages of the initramfs cannot be migrated.
# ksm_functional_tests executes itself by its name there.
{
	cat <<-'END'
		#!/bin/sh
		run()
		{
			value=$1 limit=$2 program=$3
			shift 3
			[ ! -e /proc/sys/vm/anon_vma_lazy ] || echo $value >/proc/sys/vm/anon_vma_lazy
			echo 2 >/sys/kernel/mm/ksm/run
			echo 0 >/sys/kernel/mm/ksm/run
			echo 1 >/proc/sys/vm/compact_memory
			echo HUGEPAGES >/proc/sys/vm/nr_hugepages
			now=$(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo absent)
			echo "# lab-run $value $now $program${*:+ $*}"
			rm -rf /tmp/run
			mkdir /tmp/run
			cd /tmp/run
			ln -s "/lab/bin/$program" .
			start=$(cut -d. -f1 /proc/uptime)
			timeout -s KILL "$limit" "./$program" "$@" 2>&1
			status=$?
			printf '\n# lab-status %d after %d s\n' $status $(($(cut -d. -f1 /proc/uptime) - start))
			killall -q -9 "$program"
			cd /
		}
	END
	for value in 1 0; do
		for program in "${programs[@]}"; do
			read -r program seconds arguments <<<"$program"
			echo "run $value $seconds $program $arguments"
		done
	done
	# Verdicts are in what was printed.
	echo 'exit 0'
} | sed "s/HUGEPAGES/$hugepages/" >"$out.guest"

# guest WHICH KERNEL: three CPUs and two nodes, the least that migration asks
# for; ksm_functional_tests writes to PROT_NONE memory through /proc/self/mem.
guest()
{
	rm -f "$out.$1.tap"
	"$lab/boot.sh" -a "$arch" -i "$out.cpio" -s "$out.guest" -w 512M -p 3 -m "$mem" -t "$limit" \
		-c "numa=fake=2 proc_mem.force_override=always" \
		-l "$out.$1.console" -o "$out.$1.tap" "$2"
}

# The kernel without the series comes first, if it has to.
if [ -z "$own" ]; then
	key=$( (cat "$base_kernel" "$out.guest" "$out.bin"/*; declare -f guest) | sha256sum | cut -c1-16)
	known=$cache/selftests/$key.tap
	if [ -n "$force" ] || [ ! -s "$known" ]; then
		say "selftests.sh: the kernel without the series"
		guest base "$base_kernel" ||
			die "selftests.sh: the kernel without the series failed: nothing to compare with"
		mkdir -p "$cache/selftests"
		cp "$out.base.tap" "$known.tmp"
		mv "$known.tmp" "$known"
	fi
	cp "$known" "$out.base.tap"
fi
status=0
guest lazy "$kernel" || status=$?
[ -e "$out.lazy.tap" ] || : >"$out.lazy.tap"
[ -z "$own" ] || off "$out.lazy.tap" >"$out.base.tap"
rc=0
compare "$out.base.tap" "$out.lazy.tap" "$status" "$table" >"$out.verdicts" 2>"$out.details" || rc=$?
worse=$(sed -n 's/^not ok - selftest \(.*\), lazy=\([01]\): .*/\2 \1/p' "$out.verdicts" | sort -u)
if [ -n "$worse" ] && [ "$status" -eq 0 ]; then
	say "selftests.sh: worse, and run three times more: $(paste -sd, <<<"$worse")"
	sed 's/^not ok - /# once: /; /^# once: /!d' "$out.verdicts"
	awk 'NR == FNR { worse[$0]; next }
	     !/^run [01] / { print; next }
	     {
		what = $2
		for (i = 4; i <= NF; i++) what = what " " $i
		for (i = 0; what in worse && i < 3; i++) print
	     }' <(echo "$worse") "$out.guest" >"$out.guest.again"
	mv "$out.guest.again" "$out.guest"
	guest again "$kernel" || status=$?
	[ ! -e "$out.again.tap" ] || cat "$out.again.tap" >>"$out.lazy.tap"
	rc=0
	compare "$out.base.tap" "$out.lazy.tap" "$status" "$table" >"$out.verdicts" 2>"$out.details" || rc=$?
fi
cat "$out.verdicts"
cat "$out.details" >&2
[ -z "$table" ] || column -t -s $'\t' "$table" | sed 's/^/# /'
exit "$rc"
