#!/bin/bash
# selftests.sh -C: that it finds what became worse, and nothing else. Two
# guests' outputs in small, the second doctored in one place at a time.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# one_run VALUE NOW: as the programs print it, both kinds of them.
one_run()
{
	cat <<-END
		# lab-run $1 $2 rmap
		TAP version 13
		1..3
		#  RUN           migrate.anon ...
		#            OK  migrate.anon
		ok 1 migrate.anon
		#  RUN           migrate.ksm ...
		#            OK  migrate.ksm
		ok 2 migrate.ksm
		#  RUN           migrate.file ...
		#      SKIP      no such file
		#            OK  migrate.file
		ok 3 migrate.file # SKIP no such file

		# lab-status 0 after 1 s
		# lab-run $1 $2 cow
		TAP version 13
		1..6
		# [RUN] Basic COW ... with base page
		ok 1 Basic COW ... with base page
		# [RUN] vmsplice() ... with hugetlb (2048 kB)
		# Leak from parent into child
		ok 2 # XFAIL vmsplice() ... with hugetlb (2048 kB)
		# [RUN] test_unmerge
		not ok 3 Merging memory failed# [RUN] test_prot_none
		ok 4 Pages were unmerged
		ok 5 the same words
		ok 6 the same words

		# lab-status 1 after 1 s
		# lab-run $1 $2 ksm_tests -M -p 10
		OK

		# lab-status 0 after 1 s
		# lab-run $1 $2 ksm_tests -N
		no NUMA

		# lab-status 4 after 1 s
	END
}
{ one_run 1 absent; one_run 0 absent; } >"$tmp/before"
{ one_run 1 1; one_run 0 0; } >"$tmp/same"

# expect NAME EXIT LINE...: those lines, and not one "not ok" more.
expect()
{
	local name=$1 exit=$2 rc=0 line good=1 files=(-C "$before" "$tmp/after" "$tmp/table")
	shift 2
	[ -n "$before" ] || files=(-o -C "$tmp/after")
	"$lab/selftests.sh" "${files[@]}" >"$tmp/out" 2>"$tmp/err" || rc=$?
	for line; do
		grep -qxF -- "$line" "$tmp/out" || good=
	done
	if [ -n "$good" ] && [ "$rc" -eq "$exit" ] &&
		[ "$(grep -c '^not ok' "$tmp/out")" -eq "$(printf '%s\n' "$@" | grep -c '^not ok')" ]; then
		echo "ok - selftests: $name"
	else
		sed 's/^/# /' "$tmp/out" "$tmp/err"
		echo "not ok - selftests: $name (exit status $rc)"
	fi
}
# doctor NAME SED LINE...: the edit, made with the value 1 only, is noticed.
doctor()
{
	local name=$1 edit=$2
	shift 2
	sed -E "1,/^# lab-run 0/{ $edit }" "$tmp/same" >"$tmp/after"
	! cmp -s "$tmp/same" "$tmp/after" || { echo "not ok - selftests: $name: nothing was doctored"; return; }
	expect "$name" 1 "$@"
}

rmap='not ok - selftest rmap, lazy=1:' cow='not ok - selftest cow, lazy=1:'
before=$tmp/before
cp "$tmp/same" "$tmp/after"
expect 'no difference' 0 \
	'ok - selftest rmap, lazy=1: 2 pass, 1 skip as without the series' \
	'ok - selftest rmap, lazy=0: 2 pass, 1 skip as without the series' \
	'ok - selftest cow, lazy=1: 4 pass, 1 xfail, 1 fail as without the series' \
	'ok - selftest cow, lazy=0: 4 pass, 1 xfail, 1 fail as without the series' \
	'ok - selftest ksm_tests -M -p 10, lazy=1: 1 pass' \
	'skip - selftest ksm_tests -N, lazy=0: 1 skip as without the series (status 4)'
if [ "$(sed -n 3p "$tmp/table")" = $'cow\t4 pass, 1 xfail, 1 fail\t4 pass, 1 xfail, 1 fail\t4 pass, 1 xfail, 1 fail' ]; then
	echo "ok - selftests: three columns"
else
	sed 's/^/# /' "$tmp/table"
	echo "not ok - selftests: three columns"
fi
sed 's/^not ok/ok/; s/ # SKIP.*//' "$tmp/same" >"$tmp/after"
expect 'better than before' 0 'ok - selftest rmap, lazy=1: 3 pass'

doctor 'passed, now fails' 's/^ok 2 migrate/not &/' \
	"$rmap migrate.ksm: pass without the series, fail with it"
doctor 'passed, now skipped' 's/^ok 1 migrate.*/& # SKIP no node/' \
	"$rmap migrate.anon: pass without the series, skip with it (no node)"
doctor 'skipped, now fails' 's/^ok 3 migrate.*/not ok 3 migrate.file/' \
	"$rmap migrate.file: skip without the series, fail with it"
doctor 'timed out' 's/^ok 2 migrate.*/# ksm: Test terminated by timeout\nnot &/' \
	"$rmap migrate.ksm: pass without the series, timeout with it"
doctor 'crashed' 's/^ok 2 migrate.*/# ksm: Test terminated unexpectedly by signal 11\nnot &/' \
	"$rmap migrate.ksm: pass without the series, crash with it"
doctor 'leaks where it did not' 's/^ok 1 (Basic)/ok 1 # XFAIL \1/' \
	"$cow Basic COW ... with base page: pass without the series, xfail with it"
doctor 'another message with the failure' 's/^ok 4 .*/not ok 4 ptrace write failed/' \
	"$cow test_prot_none: pass without the series, fail with it (ptrace write failed)"
doctor 'the second of a name' 's/^ok 6/not &/' \
	"$cow the same words (2): pass without the series, fail with it"
doctor 'a case is missing' '/^ok 2 migrate/d' \
	"$rmap 1 of 4 cases are missing, the first: migrate.ksm"
doctor 'the program crashed' '/rmap/,/lab-status/s/^# lab-status 0 .*/# lab-status 139 after 1 s/' \
	"$rmap its end: pass without the series, crash with it (status 139)"
doctor 'the program was stopped' 's/^# lab-status 1 .*/# lab-status 137 after 1 s/' \
	"$cow its end: pass without the series, timeout with it (status 137)"
doctor 'the switch was not set' 's/^# lab-run 1 1 rmap/# lab-run 1 0 rmap/' \
	"$rmap vm.anon_vma_lazy was 0"
doctor 'a new case fails' 's/^ok 3 migrate.*/&\nnot ok 4 migrate.new/' \
	"$rmap migrate.new: fail, unknown without the series"

doctor 'a status is the verdict' '/ksm_tests -M/,/lab-status/s/^# lab-status 0 /# lab-status 1 /' \
	'not ok - selftest ksm_tests -M -p 10, lazy=1: its status: pass without the series, fail with it (status 1)'

# again NAME EXIT TIMES SED LINE...: run three times more, the edit made in TIMES of four
again()
{
	local name=$1 exit=$2 times=$3 edit=$4 i
	shift 4
	for i in 1 2 3 4; do
		if [ "$i" -le "$times" ]; then one_run 1 1 | sed -E "$edit"; else one_run 1 1; fi
	done >"$tmp/after"
	one_run 0 0 >>"$tmp/after"
	expect "$name" "$exit" "$@"
}
again 'worse in one run of four' 0 1 's/^ok 4/not &/' \
	'ok - selftest cow, lazy=1: 4 pass, 1 xfail, 1 fail as without the series'
again 'worse in two runs of four' 1 2 's/^ok 4/not &/' \
	"$cow test_prot_none: pass without the series, fail with it (Pages were unmerged)"
again 'missing in one run of four' 0 1 '/^ok 6/d' \
	'ok - selftest cow, lazy=1: 4 pass, 1 xfail, 1 fail as without the series'
again 'missing in two runs of four' 1 2 '/^ok 6/d' \
	"$cow 1 of 7 cases are missing, the first: the same words (2)"

not_run=()
for program in rmap cow "ksm_tests -M -p 10" "ksm_tests -N"; do
	not_run+=("not ok - selftest $program, lazy=0: was not run")
done
sed '/^# lab-run 0/,$d' "$tmp/same" >"$tmp/after"
expect 'the guest ended early' 1 "${not_run[@]}"
: >"$tmp/after"
expect 'the guest said nothing' 1 "${not_run[@]}" "${not_run[@]/lazy=0/lazy=1}"
before=/dev/null
expect 'nothing to compare with' 1 'not ok - selftests: there is something to compare with'
# One of the two runs without the series failed too.
before=$tmp/unsteady
sed '1,/^# lab-run 0/s/^ok 2 migrate/not &/' "$tmp/before" >"$before"
cp "$before" "$tmp/after"
sed -i 's/ absent / 1 /; s/^# lab-run 0 1/# lab-run 0 0/' "$tmp/after"
expect 'unsteady before' 0 \
	'ok - selftest rmap, lazy=1: 1 pass, 1 skip, 1 fail as without the series; 1 unsteady without it'
# One of them did not get that far.
sed '1,/^# lab-run 0/s/^ok 2 migrate/# &/' "$tmp/before" >"$before"
sed '/^ok 2 migrate/d; s/ absent / 1 /; s/^# lab-run 0 1/# lab-run 0 0/' "$before" >"$tmp/after"
expect 'missing once before' 0 \
	'ok - selftest rmap, lazy=1: 1 pass, 1 skip as without the series; 1 unsteady without it'
# With -o there is the one guest.
before=
sed 's/^not ok/ok/' "$tmp/same" >"$tmp/after"
expect 'one kernel, no difference' 0 \
	'ok - selftest rmap, lazy=1: 2 pass, 1 skip as with 0' \
	'ok - selftest cow, lazy=0: 5 pass, 1 xfail as with 0'
cp "$tmp/after" "$tmp/same"
doctor 'one kernel, now fails' 's/^ok 2 migrate/not &/' "$rmap migrate.ksm: pass with 0, fail"
doctor 'one kernel, now skipped' 's/^ok 1 migrate.*/& # SKIP no node/' \
	"$rmap migrate.anon: pass with 0, skip (no node)"
doctor 'one kernel, crashed' '/rmap/,/lab-status/s/^# lab-status 0 .*/# lab-status 139 after 1 s/' \
	"$rmap its end: pass with 0, crash (status 139)"
sed 's/^ok 2 migrate/not &/' "$tmp/same" >"$tmp/after"
expect 'one kernel, fails with 0, too' 1 "$rmap migrate.ksm: pass with 0, fail" \
	"${rmap/1/0} migrate.ksm: pass with 0, fail"
sed '/^# lab-run 0/,$d' "$tmp/same" >"$tmp/after"
expect 'one kernel, ended early' 1 "${not_run[@]/lazy=0/lazy=1}"
