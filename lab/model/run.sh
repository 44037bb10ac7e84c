#!/bin/bash
# run.sh: have spin go through every order of events in anon_vma_lazy.pml. First
# each scenario as it is, where it must find nothing; then with one rule taken
# away at a time, where it must find out: a model that lets everything pass would
# prove nothing. Prints lines
#
#   ok - model SCENARIO: N states
#   ok - model without RULE: counterexample in N steps (MACRO: CLAIM that fails)
#
# or "not ok": a claim that fails, a search that did not get to the end, a rule
# that nothing depends on.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

usage()
{
	cat <<'USAGE'
usage: run.sh [option...] [NAME...]

Checks the model of the protocol. NAME is a scenario (FORK) or a macro that
takes a rule away (NO_TRYLOCK); default: all of them.

  -t SECONDS  time-out of one search (default 60)
  -v          print each counterexample, the shortest there is, as # lines
  -h          this text
USAGE
}

limit=60 verbose=
while getopts t:vh opt; do
	case $opt in
	t) limit=$OPTARG ;;
	v) verbose=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))

scenarios=(FORK MREMAP MUNMAP EXIT MIGRATE LOCKS SWAP COPY POISON MERGE UPGRADE UPGRADE_WALK LAZY_AGAIN)

# The macro that takes a rule away, the scenario that shows it, the claim that
# fails first, and what it is that is taken away.
rules=(
	"NO_FIRST_MAPPED     EXIT    mm_used_after_free   R3 folio_mapped() before the mm is used"
	"NO_SECOND_MAPPED    MUNMAP  walked_wrong_pte     R3 folio_mapped() again under the VMA lock"
	"NO_MAPPING_RECHECK  FORK    walked_wrong_pte     R3 mapping again under the VMA lock"
	"NO_INDEX_RECHECK    MREMAP  walked_wrong_pte     R3 index again under the VMA lock"
	"NO_CONTENDED        MREMAP  mapping_not_found    R3 contended is not unmapped"
	"NO_VM_MM_CHECK      MERGE   walked_wrong_pte     R3 the VMA that was locked is of that mm"
	"NO_RANGE_CHECK      MERGE   walked_wrong_pte     R3 the VMA that was locked is at that address"
	"NO_HINT_FORGET      MERGE   vma_used_after_free  R3 a VMA that is freed is not the hint any more"
	"NO_RCU_FREE         EXIT    mm_used_after_free   R4 an mm is freed after a grace period"
	"NO_MT_RCU           EXIT    tree_used_after_free R4 exit_mmap() leaves the tree in RCU mode"
	"NO_MT_IN_RCU        COPY    tree_used_after_free R4 nothing is lazy while dup_mmap() builds the tree"
	"NO_RCU_UNLOCK       EXIT    mm_used_after_free   R4 the VMA is unlocked in an RCU section"
	"NO_TRYLOCK          LOCKS   deadlock             R6 the VMA is only tried for under the folio lock"
	"NO_VMA_WRITE_LOCK   FORK    mapping_not_found    R2 mapping changes under the VMA write lock"
	"NO_MREMAP_VMA_LOCK  MREMAP  walked_wrong_pte     R2b, R5 PTEs move under the VMA write lock"
	"NO_UFFD_FOLIO_LOCK  LOCKS   walked_wrong_pte     R2a UFFDIO_MOVE holds the folio lock"
	"NO_UFFD_VMA_LOCK    LOCKS   page_table_used_after_free R2a UFFDIO_MOVE holds the VMA read locks"
	"NO_MUNMAP_VMA_LOCK  MUNMAP  page_table_used_after_free R5 munmap write locks the VMA, then frees page tables"
	"NO_EXIT_VMA_LOCK    EXIT    page_table_used_after_free R5 exit write locks the VMA, then frees page tables"
	"NO_REGULAR_FIRST    FORK    lazy_mapped_twice    fork: regular before the child maps it"
	"NO_MIGRATION_LOCK   MIGRATE migration_entry_met  migration: the VMA stays locked until all is mapped"
	"NO_MIGRATION_LOCK,NO_ENTRY_CHECK MIGRATE migration_entry_lost migration: the same, and what comes of it"
	"NO_MIGRATION_RECORD MIGRATE migration_entry_lost migration: uses the lock that it has, does not try again"
	"NO_MIGRATION_RECORD,NO_TRYLOCK MIGRATE deadlock  migration: uses the lock that it has, does not wait for it"
	"NO_RENEW            SWAP    lazy_elsewhere       swap-in: what an unmapped folio says is not trusted"
	"NO_RENEW,NO_R1      SWAP    walked_wrong_pte     swap-in: the same, and what comes of it"
	"NO_FOLIO_UNLOCK     POISON  lock_order           memory failure: unlocks the folio to wait for mmap_lock"
	"NO_MMGET_NOT_ZERO   POISON  mm_used_after_free   memory failure: does not revive an mm"
	"NO_MMAP_WAIT        POISON  waited_in_vain       memory failure: waits for mmap_lock"
	"NO_HANDLE_RECHECK   UPGRADE handle_went_back     R11 the handle again under page_table_lock"
	"NO_LAZY_RECHECK     UPGRADE handle_went_back     R11 a lazy store never overwrites an anon_vma"
	"NO_LOSER_FREE       UPGRADE anon_vma_lost        R11 the loser frees what it allocated"
	"NO_LINK_FIRST       UPGRADE named_not_on_chain   R11 the AVC first, then the handle"
	"NO_MMAP_LOCK        UPGRADE handle_went_back     R10 an anon_vma comes with mmap_lock held"
	"NO_SPLIT_LOCK       UPGRADE handle_went_back     R10 a split copies the handle with the VMA write locked"
	"NO_UPGRADED         UPGRADE_WALK handle_denies_folios R7 an upgraded VMA may hold lazy folios"
	"NO_FOLIO_TRYLOCK    LAZY_AGAIN mapping_not_found going back: the folio lock keeps out who has its anon_vma"
	"NO_AGAIN_VMA_LOCK   LAZY_AGAIN lazy_but_shared   going back: the VMA write lock keeps out faults"
	"NO_UPGRADED_FIRST   LAZY_AGAIN handle_denies_folios going back: UPGRADED before the first folio is lazy"
	"NO_LEFT_OUT         LAZY_AGAIN mapping_not_found going back: the chain stays if something is left out"
	"NO_MIGRATION_CHECK  LAZY_AGAIN migration_entry_lost going back: not with a migration entry"
	"NO_SWAP_CACHE_CHECK LAZY_AGAIN mapping_not_found going back: not with what swap-in does not renew"
	"NO_SOLE_MM          LAZY_AGAIN lazy_mapped_twice going back: not if other mms can have it"
	"NO_SOLE_MM_LOCK     LAZY_AGAIN lazy_mapped_twice going back: looks at that with mmap_lock held"
	"NO_FORGET           LAZY_AGAIN mm_used_after_free going back: exit takes the mm off the list"
	"NO_KSM_COPY         LAZY_AGAIN lazy_mapped_twice swap-in: copies what is lazy elsewhere"
)
need_tools spin gcc
for name; do
	grep -q "^$name\( \|$\)" <<<"$(printf '%s\n' "${scenarios[@]}" "${rules[@]}")" ||
		die "run.sh: no scenario or rule $name"
done

out=$build/model
mkdir -p "$out"
lock "$build/model.lock"
bad=0

# search NAME DEFINES [GCC-OPTION...]: leaves what the search said in $out/NAME/log
search()
{
	local dir=$out/$1 defines=$2
	shift 2
	rm -rf "$dir"
	mkdir -p "$dir"
	# spin writes its files where it is, the trail beside the model.
	cp "$lab/model/anon_vma_lazy.pml" "$dir"
	(
		cd "$dir"
		# shellcheck disable=SC2086
		spin -a $defines anon_vma_lazy.pml &&
			gcc -w -DSAFETY -DMEMLIM=1024 "$@" -o pan pan.c &&
			timeout -k 5 "$limit" ./pan -m100000 -w20
	) >"$dir/log" 2>&1 </dev/null
}

failed()
{
	tail -n 20 "$out/$1/log" | sed 's/^/# /'
	echo "not ok - model $2"
	bad=1
}

wanted() { [ $# -eq 1 ] || [[ " ${*:2} " = *" $1 "* ]]; }

for name in "${scenarios[@]}"; do
	wanted "$name" "$@" || continue
	rc=0
	search "$name" "-DSCENARIO=$name" -O1 || rc=$?
	log=$out/$name/log
	if [ "$rc" -eq 124 ]; then
		failed "$name" "$name: no end after $limit s"
	elif grep -q '^pan:.*(at depth' "$log"; then
		echo "# the events: cd $out/$name && spin -p -t -DSCENARIO=$name anon_vma_lazy.pml"
		failed "$name" "$name: $(sed -n 's/^pan:[0-9]*: *//p' "$log" | head -n 1)"
	elif [ "$rc" -ne 0 ] || ! grep -q 'errors: 0$' "$log" ||
	     grep -qE 'not completed|depth too small|truncated|out of memory|aborting' "$log"; then
		failed "$name" "$name: not searched to the end"
	else
		echo "ok - model $name: $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$log") states"
	fi
done

for rule in "${rules[@]}"; do
	read -r macros scenario claim what <<<"$rule"
	wanted "$macros" "$@" || continue
	defines="-DSCENARIO=$scenario -D${macros//,/ -D}"
	rc=0
	# Breadth first: the shortest counterexample.
	search "$macros" "$defines" -O0 -DBFS || rc=$?
	log=$out/$macros/log
	error=$(sed -n 's/^pan:[0-9]*: *\(.*(at depth [0-9]*)\)$/\1/p' "$log" | head -n 1)
	case $claim in
	deadlock) found='invalid end state' ;;
	*) found="||$claim)" ;;
	esac
	if [ -z "$error" ]; then
		failed "$macros" "without $what: no counterexample ($macros)"
	elif [[ $error != *"$found"* ]]; then
		failed "$macros" "without $what: $error, not $claim ($macros)"
	else
		steps=${error##*depth }
		echo "ok - model without $what: counterexample in ${steps%)} steps ($macros: $claim)"
		[ -z "$verbose" ] || {
			# shellcheck disable=SC2086
			(cd "$out/$macros" && spin -p -t $defines anon_vma_lazy.pml) | sed 's/^/# /'
		}
	fi
done
exit $bad
