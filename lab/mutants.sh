#!/bin/bash
# mutants.sh: break the rules of the protocol one by one, and see which test
# finds out. Each of lab/mutants/*.patch breaks one thing, says which, and by
# what it is to be caught:
#
#   Caught-by: kunit CASE | quick CASE | movable CASE | vma | stress | model MACRO
#
# movable is quick in a guest with movable memory.
#
# All of them are in one kernel, which is told on its command line which one to
# be. Told nothing, it has to pass all that they are to be caught by. Prints
#
#   ok - mutant NAME: killed by TEST: what failed
#   not ok - mutant NAME: survived TEST...
#
# and "N killed of N". Where TCG cannot be made to stop at the one instruction
# that matters, the model of the protocol without that rule is searched instead.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: mutants.sh [-c] [-l] [-r] [NAME...]

  -c   check only that they name tests that there are
  -r   resume: those that were killed before in the same code are not run again
  -l   list them: name, and what they are to be caught by
  -h   this text
USAGE
}

check='' resume=''
names() { sed -n 's/^Subject: \[PATCH[^]]*\] //p' "$lab"/mutants/*.patch | tail -n +2; }
patch_of() { grep -lx "Subject: \[PATCH[^]]*\] $1" "$lab"/mutants/*.patch; }
caught_by() { sed -n 's/^Caught-by: //p' "$(patch_of "$1")"; }
while getopts clrh opt; do
	case $opt in
	c) check=1 ;;
	r) resume=1 ;;
	l) for name in $(names); do echo "$name: $(caught_by "$name" | paste -sd, | sed 's/,/, /g')"; done
	   exit ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
for name; do
	grep -qx "$name" <<<"$(names)" || die "mutants.sh: no mutant $name: -l lists them"
done

# What is named must exist: a test that was renamed would catch nothing.
selftest=$top/tools/testing/selftests/mm/anon_vma_lazy.c
kunit=$top/mm/tests/anon_vma_lazy_kunit.c
for name in $(names); do
	[ -n "$(caught_by "$name")" ] || die "mutant $name: says not what it is to be caught by"
	while read -r test what; do
		case $test in
		kunit) grep -q "KUNIT_CASE[A-Z_]*(${what}[,)]" "$kunit" ;;
		quick | movable) grep -q "^TEST_F[A-Z_]*([a-z]*, ${what#*.}[,)]" "$selftest" ;;
		model) grep -q "^	\"$what " "$lab/model/run.sh" ;;
		vma | stress) [ -z "$what" ] ;;
		*) false ;;
		esac || die "mutant $name: there is no test '$test $what'"
	done < <(caught_by "$name")
done
if [ -n "$check" ]; then
	echo "ok - $(names | wc -l) mutants name tests that there are"
	exit
fi
# A tree and a kernel of their own, the series and the mutants on top.
results=$build/results
export LAB_BUILD=$build/mutants
build=$LAB_BUILD linux=$LAB_BUILD/linux
[ ! -d "$linux" ] || labgit -C "$linux" checkout -q -f -B lazy refs/lab/assembled
"$lab/assemble.sh"
lock "$LAB_BUILD/mutants.lock"
# The same commits each time: what has not changed is not compiled again.
tree=$(labgit -C "$linux" rev-parse lazy)-$(cat "$lab"/mutants/*.patch | sha256sum | cut -c1-16)
if ! labgit -C "$linux" rev-parse -q --verify "refs/lab/mutants-$tree" >/dev/null; then
	labgit -C "$linux" checkout -q --detach lazy
	if ! labgit -C "$linux" -c user.name=lab -c user.email=lab@localhost am -q -3 \
		"$lab"/mutants/*.patch >"$LAB_BUILD/am" 2>&1; then
		tail -n 5 "$LAB_BUILD/am" >&2
		labgit -C "$linux" am --abort
		labgit -C "$linux" checkout -q -f lazy
		die "the mutants do not apply: build/mutants/am says where; adapt lab/mutants/"
	fi
	labgit -C "$linux" update-ref "refs/lab/mutants-$tree" HEAD
fi
labgit -C "$linux" checkout -q -f --detach "refs/lab/mutants-$tree"

# Those that were killed in this code, by these tests, as lines of the table. The
# model is quick.
killed_before=$LAB_BUILD/killed-$(code_hash)-$(
	{
		diffs "$lab"/mutants/*.patch
		cat "$top"/{mm/tests,tools/testing/{selftests/mm,vma/tests}}/anon_vma_lazy*.c
	} | sha256sum | cut -c1-12)
find "$LAB_BUILD" -maxdepth 1 -name 'killed-*' ! -path "$killed_before" -delete
touch "$killed_before"

kernel=$(CONFIG=debug "$lab/kernel.sh")

# run MUTANT TEST WHAT...: its lines go to $LAB_BUILD/out.
run()
{
	local name=$1 test=$2 words=()
	shift 2
	[ -z "$name" ] || words=(-c "lazy_mutant=$name")
	case $test in
	kunit) "$lab/kunit.sh" -t 120 "${words[@]}" "$kernel" ;;
	quick) "$lab/quick.sh" -t 600 -T "$linux" "${words[@]}" "$kernel" "$@" ;;
	movable) "$lab/quick.sh" -t 600 -T "$linux" -c movablecore=768M "${words[@]}" "$kernel" "$@" ;;
	stress) "$lab/quick.sh" -t 300 -T "$linux" -n stress -P anon_vma_lazy_stress -O -t -O 60 \
			"${words[@]}" "$kernel" ;;
	vma) lazy_mutant=$name "$lab/tests/vma.sh" ;;
	model) "$lab/model/run.sh" "$@" ;;
	esac >"$LAB_BUILD/out" 2>"$LAB_BUILD/err"
}

# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(names)
bad=0
# None of them: all must pass.
for test in kunit quick movable vma stress; do
	mapfile -t cases < <(for name; do caught_by "$name"; done |
		sed -n "s/^$test\( \|$\)//p" | sort -u)
	[ ${#cases[@]} -gt 0 ] || continue
	[[ $test = @(quick|movable) ]] || cases=()
	say "no mutant: $test"
	run "" "$test" "${cases[@]}" || :
	if grep -q '^not ok - ' "$LAB_BUILD/out" || ! grep -q '^ok - ' "$LAB_BUILD/out"; then
		{ cat "$LAB_BUILD/out" "$LAB_BUILD/err" | grep -v '^ok - ' || :; } |
			tail -n 30 | sed 's/^/# /'
		echo "not ok - no mutant: $test"
		bad=1
	else
		echo "ok - no mutant: $test"
	fi
done

killed=0
mkdir -p "$results"
printf 'mutant\tkilled by\twhat failed\n' >"$LAB_BUILD/tsv"
for name; do
	if [ -n "$resume" ] && grep "^$name	" "$killed_before" >>"$LAB_BUILD/tsv"; then
		killed=$((killed + 1))
		tail -n 1 "$LAB_BUILD/tsv" | awk -F '\t' '{ print "ok - mutant " $1 ": killed before by " $2 ": " $3 }'
		continue
	fi
	sed -i "/^$name	/d" "$killed_before"
	by='' tried=''
	while read -r test what; do
		# shellcheck disable=SC2086
		run "$name" "$test" $what </dev/null || :
		tried+="${tried:+, }$test${what:+ $what}"
		if [ "$test" = model ]; then
			# There, a counterexample is what is expected.
			by=$(sed -n 's/^ok - model without .*: \(counterexample.*\)/\1/p' "$LAB_BUILD/out")
		else
			by=$(sed -n 's/^not ok - //p' "$LAB_BUILD/out" | head -n 1)
			# Nothing at all is not a verdict.
			[ -s "$LAB_BUILD/out" ] ||
				{ sed 's/^/# /' "$LAB_BUILD/err"; tried+=", which did not run"; break; }
		fi
		[ -z "$by" ] || break
	done < <(caught_by "$name")
	if [ -n "$by" ]; then
		killed=$((killed + 1))
		echo "ok - mutant $name: killed by $test${what:+ $what}: $by"
	else
		{ grep -v '^ok - ' "$LAB_BUILD/out" || :; } | tail -n 20 | sed 's/^/# /'
		echo "not ok - mutant $name: survived $tried"
		bad=1
	fi
	printf '%s\t%s\t%s\n' "$name" "${by:+$test${what:+ $what}}" "$by" >>"$LAB_BUILD/tsv"
	[ -z "$by" ] || [ "$test" = model ] || tail -n 1 "$LAB_BUILD/tsv" >>"$killed_before"
done
mv "$LAB_BUILD/tsv" "$results/mutants.tsv"
echo "# $killed killed of $#"
exit $bad
