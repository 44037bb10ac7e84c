// SPDX-License-Identifier: GPL-2.0-or-later

/* Tests of what happens to the handle in vma->anon_vma, in all its states. */

static struct anon_vma av_own;		/* Allocated here, never forked. */
static struct anon_vma av_parent;	/* Of the VMA that was forked. */
static struct anon_vma av_parent2;	/* Of another one, unrelated. */
static struct anon_vma av_child;	/* Of the fork child itself. */
static struct anon_vma av_grand;	/* Of a VMA that was forked twice, */
static struct anon_vma av_mid;		/* of its child, */
static struct anon_vma av_last;		/* and of its grandchild. */

static struct anon_vma *const av_all[] = {
	&av_own, &av_parent, &av_parent2, &av_child, &av_grand, &av_mid,
	&av_last,
};

#define MAX_CHAIN 3

/* What a VMA is: its handle, and what is on its chain. */
enum vma_kind {
	NONE,		/* No handle. */
	LAZY,		/* VMA state. */
	REG,		/* REGULAR, has never been forked. */
	UPG,		/* UPGRADED, has never been forked. */
	REGP,		/* REGULAR, has taken over the parent's anon_vma. */
	UPGP,		/* As REGP, but UPGRADED. */
	PAR,		/* PARENT state. */
	PAR2,		/* PARENT state, of another parent VMA. */
	REGC,		/* REGULAR, fork child. */
	UPGC,		/* UPGRADED, fork child. */
	PARG,		/* PARENT state, grandchild. */
	PARL,		/* As PARG, but from an owner whose chain was longer. */
	UPGA,		/* UPGRADED, has taken over the grandparent's anon_vma. */
	UPGG,		/* UPGRADED, grandchild. */
	NR_KINDS,
	NO = -1,	/* In tables: these do not merge. As a VMA: no VMA. */
};

static const struct {
	const char *name;
	enum anon_vma_tree_state state;
	struct anon_vma *anon_vma;
	struct anon_vma *chain[MAX_CHAIN];
} kinds[NR_KINDS] = {
	[NONE] = { "NONE" },
	[LAZY] = { "LAZY", ANON_VMA_TREE_VMA },
	[REG]  = { "REG",  ANON_VMA_TREE_REGULAR,  &av_own, { &av_own } },
	[UPG]  = { "UPG",  ANON_VMA_TREE_UPGRADED, &av_own, { &av_own } },
	[REGP] = { "REGP", ANON_VMA_TREE_REGULAR,  &av_parent, { &av_parent } },
	[UPGP] = { "UPGP", ANON_VMA_TREE_UPGRADED, &av_parent, { &av_parent } },
	[PAR]  = { "PAR",  ANON_VMA_TREE_PARENT,   &av_parent, { &av_parent } },
	[PAR2] = { "PAR2", ANON_VMA_TREE_PARENT,   &av_parent2, { &av_parent2 } },
	[REGC] = { "REGC", ANON_VMA_TREE_REGULAR,  &av_child,
		   { &av_child, &av_parent } },
	[UPGC] = { "UPGC", ANON_VMA_TREE_UPGRADED, &av_child,
		   { &av_child, &av_parent } },
	[PARG] = { "PARG", ANON_VMA_TREE_PARENT,   &av_mid,
		   { &av_mid, &av_grand } },
	[PARL] = { "PARL", ANON_VMA_TREE_PARENT,   &av_mid,
		   { &av_last, &av_mid, &av_grand } },
	[UPGA] = { "UPGA", ANON_VMA_TREE_UPGRADED, &av_grand,
		   { &av_mid, &av_grand } },
	[UPGG] = { "UPGG", ANON_VMA_TREE_UPGRADED, &av_last,
		   { &av_last, &av_mid, &av_grand } },
};

/*
 * What the target of a merge is afterwards:
 *
 * - VMAs that name no anon_vma merge with all but fork children.
 * - VMAs that name one merge if it is the same, and both own it or neither.
 * - An owner may hold lazy folios, UPG*, if either of the two could.
 */
static const int merged[NR_KINDS][NR_KINDS] = {
	/* with:   NONE  LAZY  REG   UPG   REGP  UPGP  PAR  PAR2  REGC  UPGC  PARG  PARL  UPGA  UPGG */
	[NONE] = { NONE, LAZY, REG,  UPG,  REGP, UPGP, NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[LAZY] = { LAZY, LAZY, UPG,  UPG,  UPGP, UPGP, NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[REG]  = { REG,  UPG,  REG,  UPG,  NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[UPG]  = { UPG,  UPG,  UPG,  UPG,  NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[REGP] = { REGP, UPGP, NO,   NO,   REGP, UPGP, NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[UPGP] = { UPGP, UPGP, NO,   NO,   UPGP, UPGP, NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[PAR]  = { NO,   NO,   NO,   NO,   NO,   NO,   PAR,  NO,   NO,   NO,   NO,   NO,   NO,   NO },
	[PAR2] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   PAR2, NO,   NO,   NO,   NO,   NO,   NO },
	[REGC] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   REGC, UPGC, NO,   NO,   NO,   NO },
	[UPGC] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   UPGC, UPGC, NO,   NO,   NO,   NO },
	[PARG] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   PARG, NO,   NO,   NO },
	[PARL] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   PARL, NO,   NO },
	[UPGA] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   UPGA, NO },
	[UPGG] = { NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   UPGG },
};

/*
 * Whose anon_vma does a VMA take when it needs one, from a neighbour? Only an
 * anon_vma that is owned, and only if the two have the same ancestors.
 */
static struct anon_vma *const reusable[NR_KINDS][NR_KINDS] = {
	[NONE] = { [REG] = &av_own, [UPG] = &av_own,
		   [REGP] = &av_parent, [UPGP] = &av_parent },
	[LAZY] = { [REG] = &av_own, [UPG] = &av_own,
		   [REGP] = &av_parent, [UPGP] = &av_parent },
	[PAR]  = { [REGC] = &av_child, [UPGC] = &av_child },
	[PARG] = { [UPGG] = &av_last },
};

enum merge_op {
	MERGE_LEFT,		/* All of the middle VMA into prev. */
	MERGE_LEFT_PART,	/* The start of the middle VMA into prev. */
	MERGE_RIGHT,		/* All of the middle VMA into next. */
	MERGE_RIGHT_PART,	/* The end of the middle VMA into next. */
	MERGE_NEW,		/* A new range fills the gap between two. */
	MERGE_EXPAND,		/* vma_expand() over the next VMA. */
	MERGE_EXTEND,		/* mremap() in place, up to the next VMA. */
	NR_MERGE_OPS,
};

/*
 * A preallocation, or a clone if there is any, fails once, or whenever it is
 * tried, or once and the caller does not want to hear of it.
 */
enum merge_failure {
	FAIL_NOTHING,
	FAIL_PREALLOC_ONCE,
	FAIL_PREALLOC,
	FAIL_PREALLOC_GIVE_UP,
	FAIL_CLONE_ONCE,
	FAIL_CLONE,
	FAIL_CLONE_GIVE_UP,
	NR_FAILURES,
};

static const char *const failure_names[NR_FAILURES] = {
	"no failure", "prealloc fails once", "prealloc fails",
	"prealloc fails, give up", "clone fails once", "clone fails",
	"clone fails, give up",
};

#define PREV_START	0x10000UL
#define MIDDLE_START	0x14000UL
#define NEXT_START	0x18000UL
#define NEXT_END	0x1c000UL
#define FAR_START	0x40000UL
#define PIECE		0x4000UL

static bool is_prealloc_failure(enum merge_failure failure)
{
	return failure >= FAIL_PREALLOC_ONCE && failure < FAIL_CLONE_ONCE;
}

static bool is_clone_failure(enum merge_failure failure)
{
	return failure >= FAIL_CLONE_ONCE;
}

static bool is_lasting(enum merge_failure failure)
{
	return failure == FAIL_PREALLOC || failure == FAIL_CLONE;
}

static bool gives_up(enum merge_failure failure)
{
	return failure == FAIL_PREALLOC_GIVE_UP || failure == FAIL_CLONE_GIVE_UP;
}

/* Does an operation fail that clones a chain, or does not? */
static bool op_fails(enum merge_failure failure, bool clones)
{
	return is_prealloc_failure(failure) || (is_clone_failure(failure) && clones);
}

static void set_failure(enum merge_failure failure)
{
	const int nr = is_lasting(failure) ? INT_MAX : 1;

	fail_prealloc = is_prealloc_failure(failure) ? nr : 0;
	fail_anon_vma_clone = is_clone_failure(failure) ? nr : 0;
}

static vma_flags_t lazy_vma_flags(void)
{
	return mk_vma_flags(VMA_READ_BIT, VMA_WRITE_BIT, VMA_MAYREAD_BIT,
			    VMA_MAYWRITE_BIT);
}

static anon_vma_tree_t kind_tree(enum vma_kind kind)
{
	return anon_vma_tree(kinds[kind].anon_vma, kinds[kind].state);
}

static bool kind_owns(enum vma_kind kind)
{
	return kinds[kind].anon_vma && kinds[kind].state != ANON_VMA_TREE_PARENT;
}

static bool kind_is_fork_child(enum vma_kind kind)
{
	return kinds[kind].chain[1] || kinds[kind].state == ANON_VMA_TREE_PARENT;
}

/* Does the first need the chain of the second to become one with it? */
static bool needs_clone(enum vma_kind target, enum vma_kind absorbed)
{
	return !kinds[target].anon_vma && kinds[absorbed].anon_vma;
}

static void set_kind(struct vm_area_struct *vma, enum vma_kind kind)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kinds[kind].chain); i++) {
		if (kinds[kind].chain[i])
			anon_vma_chain_add(vma, kinds[kind].chain[i]);
	}
	vma->anon_vma = kind_tree(kind);
	vma->holds_lazy = anon_vma_tree_may_hold_lazy(vma->anon_vma);
	if (kind_owns(kind))
		kinds[kind].anon_vma->num_active_vmas++;
}

static struct vm_area_struct *
alloc_kind_pgoff(struct mm_struct *mm, unsigned long start, unsigned long end,
		 pgoff_t pgoff, enum vma_kind kind)
{
	struct vm_area_struct *vma;

	vma = alloc_and_link_vma(mm, start, end, pgoff, lazy_vma_flags());
	vma_set_anonymous(vma);
	vma_set_anon_pgoff(vma, pgoff);
	set_kind(vma, kind);
	return vma;
}

static struct vm_area_struct *
alloc_kind(struct mm_struct *mm, unsigned long start, unsigned long end,
	   enum vma_kind kind)
{
	return alloc_kind_pgoff(mm, start, end, start >> PAGE_SHIFT, kind);
}

/* Has @vma just what a VMA of @kind has on its chain? */
static bool has_chain(struct vm_area_struct *vma, enum vma_kind kind)
{
	struct anon_vma_chain *avc;
	int i, nr = 0;

	for (i = 0; i < ARRAY_SIZE(kinds[kind].chain); i++) {
		if (!kinds[kind].chain[i])
			continue;
		ASSERT_TRUE(anon_vma_chain_has(vma, kinds[kind].chain[i]));
		nr++;
	}
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		ASSERT_TRUE(avc->in_tree);
		nr--;
	}
	ASSERT_EQ(nr, 0);
	return true;
}

/* Is @vma of @kind to the last bit, its chain included? */
static bool is_kind(struct vm_area_struct *vma, enum vma_kind kind)
{
	ASSERT_EQ(vma->anon_vma, kind_tree(kind));
	return has_chain(vma, kind);
}

/* The same, of an owner, but that it holds nothing lazy. */
static bool is_regular_kind(struct vm_area_struct *vma, enum vma_kind kind)
{
	ASSERT_EQ(vma->anon_vma,
		  anon_vma_tree(kinds[kind].anon_vma, ANON_VMA_TREE_REGULAR));
	return has_chain(vma, kind);
}

/*
 * Do the counts of all anon_vmas agree with the VMAs that there are, and the
 * intervals with their ranges?
 */
static bool counts_are_right(struct mm_struct *mm)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(av_all); i++) {
		unsigned long num_avcs = 0, num_active_vmas = 0;
		struct anon_vma_chain *avc;
		struct vm_area_struct *vma;

		VMA_ITERATOR(vmi, mm, 0);

		for_each_vma(vmi, vma) {
			list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
				num_avcs += avc->anon_vma == av_all[i];
				ASSERT_EQ(avc->start, vma->vm_start);
				ASSERT_EQ(avc->end, vma->vm_end);
			}
			if (vma_anon_vma(vma) == av_all[i] &&
			    !vma_is_anon_vma_lazy(vma))
				num_active_vmas++;
			if (vma_is_anon_vma_lazy(vma))
				ASSERT_TRUE(vma_is_address_based(vma));
		}
		ASSERT_EQ(av_all[i]->num_avcs, num_avcs);
		ASSERT_EQ(av_all[i]->num_active_vmas, num_active_vmas);
	}
	return true;
}

static struct vm_area_struct *
merge_range(struct vma_merge_struct *vmg, struct vm_area_struct *prev,
	    struct vm_area_struct *middle, unsigned long start,
	    unsigned long end)
{
	vmg_set_range(vmg, start, end, start >> PAGE_SHIFT, middle->flags);
	vmg->prev = prev;
	vmg->middle = middle;
	vmg->anon_vma = middle->anon_vma;
	return merge_existing(vmg);
}

static bool pair_merge_existing(enum merge_op op, enum vma_kind target_kind,
				enum vma_kind absorbed_kind,
				enum merge_failure failure)
{
	const bool left = op == MERGE_LEFT || op == MERGE_LEFT_PART;
	const bool part = op == MERGE_LEFT_PART || op == MERGE_RIGHT_PART;
	const int expected = merged[target_kind][absorbed_kind];
	const bool fails = op_fails(failure,
				    needs_clone(target_kind, absorbed_kind));
	struct vm_area_struct *target, *middle, *res, *prev = NULL;
	unsigned long start = MIDDLE_START, end = NEXT_START;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	struct vma_merge_struct vmg = {
		.mm = &mm,
		.vmi = &vmi,
		.give_up_on_oom = gives_up(failure),
	};

	middle = alloc_kind(&mm, MIDDLE_START, NEXT_START, absorbed_kind);
	if (left) {
		target = alloc_kind(&mm, PREV_START, MIDDLE_START, target_kind);
		prev = target;
		end -= part ? PAGE_SIZE : 0;
	} else {
		target = alloc_kind(&mm, NEXT_START, NEXT_END, target_kind);
		prev = part ? middle : NULL;
		start += part ? PAGE_SIZE : 0;
	}

	set_failure(failure);
	res = merge_range(&vmg, prev, middle, start, end);
	set_failure(FAIL_NOTHING);

	if (expected == NO || fails) {
		ASSERT_EQ(res, NULL);
		ASSERT_EQ(vmg.state, expected == NO || gives_up(failure) ?
				     VMA_MERGE_NOMERGE : VMA_MERGE_ERROR_NOMEM);
		ASSERT_TRUE(is_kind(target, target_kind));
		ASSERT_TRUE(is_kind(middle, absorbed_kind));
		ASSERT_EQ(mm.map_count, 2);
	} else {
		ASSERT_EQ(res, target);
		ASSERT_TRUE(is_kind(target, expected));
		ASSERT_EQ(mm.map_count, part ? 2 : 1);
		if (part)
			ASSERT_TRUE(is_kind(middle, absorbed_kind));
		ASSERT_TRUE(vma_is_address_based(target));
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool pair_merge_new(enum vma_kind prev_kind, enum vma_kind next_kind,
			   enum merge_failure failure)
{
	/* The new range names no anon_vma, so fork children refuse it. */
	const bool left = !kind_is_fork_child(prev_kind);
	const bool right = !kind_is_fork_child(next_kind);
	const bool both = left && right && merged[prev_kind][next_kind] != NO;
	const bool fails = (left || right) &&
		op_fails(failure, both && needs_clone(prev_kind, next_kind));
	struct vm_area_struct *prev, *next, *res;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	struct vma_merge_struct vmg = {
		.mm = &mm,
		.vmi = &vmi,
	};

	prev = alloc_kind(&mm, PREV_START, MIDDLE_START, prev_kind);
	next = alloc_kind(&mm, NEXT_START, NEXT_END, next_kind);
	vmg_set_range(&vmg, MIDDLE_START, NEXT_START, MIDDLE_START >> PAGE_SHIFT,
		      prev->flags);

	set_failure(failure);
	res = merge_new(&vmg);
	set_failure(FAIL_NOTHING);

	if (both && !fails) {
		ASSERT_EQ(res, prev);
		ASSERT_EQ(prev->vm_end, NEXT_END);
		ASSERT_TRUE(is_kind(prev, merged[prev_kind][next_kind]));
		ASSERT_EQ(mm.map_count, 1);
	} else {
		if (fails)
			ASSERT_EQ(res, NULL);
		else
			ASSERT_EQ(res, left ? prev : right ? next : NULL);
		ASSERT_TRUE(is_kind(prev, prev_kind));
		ASSERT_TRUE(is_kind(next, next_kind));
		ASSERT_EQ(mm.map_count, 2);
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool pair_merge_expand(enum vma_kind target_kind,
			      enum vma_kind absorbed_kind,
			      enum merge_failure failure)
{
	const int expected = merged[target_kind][absorbed_kind];
	const bool fails = op_fails(failure,
				    needs_clone(target_kind, absorbed_kind));
	struct vm_area_struct *target, *next;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	struct vma_merge_struct vmg = {
		.mm = &mm,
		.vmi = &vmi,
	};
	int err;

	/* Callers have checked. */
	if (expected == NO)
		return true;

	target = alloc_kind(&mm, PREV_START, MIDDLE_START, target_kind);
	next = alloc_kind(&mm, MIDDLE_START, NEXT_START, absorbed_kind);
	vmg_set_range(&vmg, PREV_START, NEXT_START, PREV_START >> PAGE_SHIFT,
		      target->flags);
	vmg.target = target;
	vmg.next = next;

	set_failure(failure);
	err = vma_expand(&vmg);
	set_failure(FAIL_NOTHING);

	if (fails) {
		ASSERT_EQ(err, -ENOMEM);
		ASSERT_TRUE(is_kind(target, target_kind));
		ASSERT_TRUE(is_kind(next, absorbed_kind));
	} else {
		ASSERT_EQ(err, 0);
		ASSERT_TRUE(is_kind(target, expected));
		ASSERT_EQ(mm.map_count, 1);
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

/*
 * mremap() that grows a VMA in place. Here a fork child does not refuse what
 * names no anon_vma, as it gets no other VMA's chain.
 */
static int extended(enum vma_kind prev, enum vma_kind next)
{
	if (!kinds[prev].anon_vma || kinds[next].anon_vma)
		return merged[prev][next];
	if (next == LAZY && prev == REGC)
		return UPGC;
	return merged[prev][next] == NO ? prev : merged[prev][next];
}

static bool pair_merge_extend(enum vma_kind prev_kind, enum vma_kind next_kind,
			      enum merge_failure failure)
{
	const int expected = extended(prev_kind, next_kind);
	const bool both = expected != NO;
	const bool fails = op_fails(failure,
				    both && needs_clone(prev_kind, next_kind));
	struct vm_area_struct *prev, *next, *res;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, PREV_START);

	prev = alloc_kind(&mm, PREV_START, MIDDLE_START, prev_kind);
	next = alloc_kind(&mm, NEXT_START, NEXT_END, next_kind);
	ASSERT_EQ(vma_iter_load(&vmi), prev);

	set_failure(failure);
	res = vma_merge_extend(&vmi, prev, NEXT_START - MIDDLE_START);
	set_failure(FAIL_NOTHING);

	ASSERT_EQ(res, fails ? NULL : prev);
	ASSERT_EQ(mm.map_count, both && !fails ? 1 : 2);
	ASSERT_TRUE(is_kind(prev, both && !fails ? expected : prev_kind));
	if (both && !fails) {
		ASSERT_EQ(prev->vm_end, NEXT_END);
	} else {
		ASSERT_EQ(prev->vm_end, fails ? MIDDLE_START : NEXT_START);
		ASSERT_TRUE(is_kind(next, next_kind));
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool pair_merge(enum merge_op op, enum vma_kind target,
		       enum vma_kind absorbed, enum merge_failure failure)
{
	switch (op) {
	case MERGE_NEW:
		return pair_merge_new(target, absorbed, failure);
	case MERGE_EXPAND:
		return pair_merge_expand(target, absorbed, failure);
	case MERGE_EXTEND:
		return pair_merge_extend(target, absorbed, failure);
	default:
		return pair_merge_existing(op, target, absorbed, failure);
	}
}

/* After a failure, so that it is the only one. */
static void reset_anon_vmas(void)
{
	int i;

	set_failure(FAIL_NOTHING);
	num_anon_vma_locks = 0;
	for (i = 0; i < ARRAY_SIZE(av_all); i++)
		memset(av_all[i], 0, sizeof(*av_all[i]));
}

/* Who refuses to merge with what has another chain, or none? */
static bool test_lazy_fork_child(void)
{
	int kind;

	ASSERT_FALSE(vma_is_fork_child(NULL));

	for (kind = 0; kind < NR_KINDS; kind++) {
		struct mm_struct mm = {};
		struct vm_area_struct *vma;

		VMA_ITERATOR(vmi, &mm, 0);

		vma = alloc_kind(&mm, PREV_START, MIDDLE_START, kind);
		ASSERT_EQ(vma_is_fork_child(vma), kind_is_fork_child(kind));
		cleanup_mm(&mm, &vmi);
	}
	return true;
}

/* One pair in all ways. */
static bool pair_merges(enum vma_kind target, enum vma_kind absorbed)
{
	static const char *const op_names[NR_MERGE_OPS] = {
		"left", "left, part", "right", "right, part", "new range",
		"expand", "extend",
	};
	bool ret = true;
	int op, failure;

	for (op = 0; op < NR_MERGE_OPS; op++) {
		for (failure = 0; failure < NR_FAILURES; failure++) {
			const int warnings = num_warnings;

			if (pair_merge(op, target, absorbed, failure) &&
			    num_warnings == warnings)
				continue;
			fprintf(stderr, "Merge (%s) of %s into %s, %s\n",
				op_names[op], kinds[absorbed].name,
				kinds[target].name, failure_names[failure]);
			reset_anon_vmas();
			ret = false;
		}
	}
	return ret;
}

static bool test_lazy_merge_pairs(void)
{
	bool ret = true;
	int target, absorbed;

	for (target = 0; target < NR_KINDS; target++) {
		for (absorbed = 0; absorbed < NR_KINDS; absorbed++)
			ret &= pair_merges(target, absorbed);
	}
	return ret;
}

static bool merge_both(enum vma_kind prev_kind, enum vma_kind middle_kind,
		       enum vma_kind next_kind, enum merge_failure failure)
{
	const bool left = merged[prev_kind][middle_kind] != NO;
	const bool right = merged[next_kind][middle_kind] != NO;
	const bool both = left && right && merged[prev_kind][next_kind] != NO;
	struct vm_area_struct *prev, *middle, *next, *res;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	struct vma_merge_struct vmg = {
		.mm = &mm,
		.vmi = &vmi,
		.give_up_on_oom = gives_up(failure),
	};
	bool clones, fails;

	if (both)
		clones = needs_clone(prev_kind, middle_kind) ||
			 needs_clone(prev_kind, next_kind);
	else
		clones = needs_clone(left ? prev_kind : next_kind, middle_kind);
	fails = (left || right) && op_fails(failure, clones);

	prev = alloc_kind(&mm, PREV_START, MIDDLE_START, prev_kind);
	middle = alloc_kind(&mm, MIDDLE_START, NEXT_START, middle_kind);
	next = alloc_kind(&mm, NEXT_START, NEXT_END, next_kind);

	set_failure(failure);
	res = merge_range(&vmg, prev, middle, MIDDLE_START, NEXT_START);
	set_failure(FAIL_NOTHING);

	if (fails || (!left && !right)) {
		ASSERT_EQ(res, NULL);
		ASSERT_EQ(vmg.state, fails && !gives_up(failure) ?
				     VMA_MERGE_ERROR_NOMEM : VMA_MERGE_NOMERGE);
		ASSERT_TRUE(is_kind(prev, prev_kind));
		ASSERT_TRUE(is_kind(middle, middle_kind));
		ASSERT_TRUE(is_kind(next, next_kind));
	} else if (both) {
		ASSERT_EQ(res, prev);
		ASSERT_TRUE(is_kind(prev, merged[merged[prev_kind][next_kind]][middle_kind]));
		ASSERT_EQ(mm.map_count, 1);
	} else if (left) {
		ASSERT_EQ(res, prev);
		ASSERT_TRUE(is_kind(prev, merged[prev_kind][middle_kind]));
		ASSERT_TRUE(is_kind(next, next_kind));
		ASSERT_EQ(mm.map_count, 2);
	} else {
		ASSERT_EQ(res, next);
		ASSERT_TRUE(is_kind(next, merged[next_kind][middle_kind]));
		ASSERT_TRUE(is_kind(prev, prev_kind));
		ASSERT_EQ(mm.map_count, 2);
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool merges_both(enum vma_kind prev, enum vma_kind middle,
			enum vma_kind next)
{
	bool ret = true;
	int failure;

	for (failure = 0; failure < NR_FAILURES; failure++) {
		const int warnings = num_warnings;

		if (merge_both(prev, middle, next, failure) &&
		    num_warnings == warnings)
			continue;
		fprintf(stderr, "Merge of %s, %s, %s, %s\n",
			kinds[prev].name, kinds[middle].name, kinds[next].name,
			failure_names[failure]);
		reset_anon_vmas();
		ret = false;
	}
	return ret;
}

static bool test_lazy_merge_both(void)
{
	bool ret = true;
	int prev, middle, next;

	for (prev = 0; prev < NR_KINDS; prev++) {
		for (middle = 0; middle < NR_KINDS; middle++) {
			for (next = 0; next < NR_KINDS; next++)
				ret &= merges_both(prev, middle, next);
		}
	}
	return ret;
}

/* Both pieces of a split are what the whole was. */
static bool split_kind(enum vma_kind kind, bool new_below,
		       enum merge_failure failure)
{
	const bool fails = op_fails(failure, kinds[kind].anon_vma);
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, PREV_START);
	struct vm_area_struct *vma, *low, *high;
	int err;

	vma = alloc_kind(&mm, PREV_START, NEXT_START, kind);

	set_failure(failure);
	err = split_vma(&vmi, vma, MIDDLE_START, new_below);
	set_failure(FAIL_NOTHING);

	ASSERT_EQ(err, fails ? -ENOMEM : 0);
	ASSERT_EQ(mm.map_count, fails ? 1 : 2);
	low = vma_lookup(&mm, PREV_START);
	high = vma_lookup(&mm, MIDDLE_START);
	ASSERT_EQ(new_below ? high : low, vma);
	ASSERT_EQ(low == high, fails);
	ASSERT_TRUE(is_kind(low, kind));
	ASSERT_TRUE(is_kind(high, kind));
	ASSERT_TRUE(vma_is_address_based(low));
	ASSERT_TRUE(vma_is_address_based(high));
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_lazy_split(void)
{
	int kind, failure;

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (failure = 0; failure < NR_FAILURES; failure++) {
			ASSERT_TRUE(split_kind(kind, false, failure));
			ASSERT_TRUE(split_kind(kind, true, failure));
		}
	}
	return true;
}

/* A stack that grows stays what it is, and need not get an anon_vma for it. */
static bool test_lazy_expand_downwards(void)
{
	static const struct {
		enum vma_kind before;
		enum vma_kind after;
	} stacks[] = {
		{ NONE, LAZY }, { LAZY, LAZY }, { REG, REG }, { UPG, UPG },
		{ PAR, PAR }, { UPGC, UPGC }, { PARG, PARG }, { UPGA, UPGA },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(stacks); i++) {
		struct mm_struct mm = {};

		VMA_ITERATOR(vmi, &mm, 0);
		struct vm_area_struct *vma;

		vma = alloc_kind(&mm, FAR_START, FAR_START + PIECE,
				 stacks[i].before);
		vma_set_flags(vma, VMA_GROWSDOWN_BIT);

		set_failure(FAIL_PREALLOC);
		ASSERT_EQ(expand_downwards(vma, FAR_START - PAGE_SIZE), -ENOMEM);
		set_failure(FAIL_NOTHING);
		ASSERT_EQ(vma->vm_start, FAR_START);
		ASSERT_TRUE(is_kind(vma, stacks[i].before));
		ASSERT_TRUE(counts_are_right(&mm));

		ASSERT_EQ(expand_downwards(vma, FAR_START - PAGE_SIZE), 0);
		ASSERT_EQ(vma->vm_start, FAR_START - PAGE_SIZE);
		ASSERT_TRUE(is_kind(vma, stacks[i].after));
		ASSERT_TRUE(vma_is_address_based(vma));
		ASSERT_TRUE(counts_are_right(&mm));
		cleanup_mm(&mm, &vmi);
	}
	return true;
}

/* mprotect() of a part and back. The part may have changed meanwhile. */
static bool modify_and_back(enum vma_kind kind, enum vma_kind apart_kind,
			    int expected)
{
	const vma_flags_t flags = lazy_vma_flags();
	struct vm_area_struct *vma, *low, *middle, *high, *res;
	vma_flags_t read_only = mk_vma_flags(VMA_READ_BIT, VMA_MAYREAD_BIT,
					     VMA_MAYWRITE_BIT);
	vma_flags_t read_write = flags;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	vma = alloc_kind(&mm, PREV_START, NEXT_END, kind);
	vma_iter_set(&vmi, PREV_START);
	ASSERT_EQ(vma_iter_load(&vmi), vma);

	middle = vma_modify_flags(&vmi, vma, vma, MIDDLE_START, NEXT_START,
				  &read_only);
	ASSERT_FALSE(IS_ERR(middle));
	ASSERT_EQ(mm.map_count, 3);
	ASSERT_EQ(middle->vm_start, MIDDLE_START);
	ASSERT_EQ(middle->vm_end, NEXT_START);
	middle->flags = read_only;

	low = vma_lookup(&mm, PREV_START);
	high = vma_lookup(&mm, NEXT_START);
	ASSERT_TRUE(is_kind(low, kind));
	ASSERT_TRUE(is_kind(middle, kind));
	ASSERT_TRUE(is_kind(high, kind));
	ASSERT_TRUE(counts_are_right(&mm));

	if (apart_kind != kind) {
		middle->holds_lazy = false;
		unlink_anon_vmas(middle);
		set_kind(middle, apart_kind);
	}

	vma_iter_set(&vmi, MIDDLE_START);
	ASSERT_EQ(vma_iter_load(&vmi), middle);
	res = vma_modify_flags(&vmi, low, middle, MIDDLE_START, NEXT_START,
			       &read_write);
	if (expected == NO) {
		ASSERT_EQ(res, middle);
		ASSERT_EQ(mm.map_count, 3);
		ASSERT_TRUE(is_kind(low, kind));
		ASSERT_TRUE(is_kind(middle, apart_kind));
		ASSERT_TRUE(is_kind(high, kind));
	} else {
		ASSERT_EQ(res, low);
		ASSERT_EQ(mm.map_count, 1);
		ASSERT_EQ(low->vm_end, NEXT_END);
		ASSERT_TRUE(is_kind(low, expected));
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_lazy_modify(void)
{
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++)
		ASSERT_TRUE(modify_and_back(kind, kind, kind));

	ASSERT_TRUE(modify_and_back(NONE, LAZY, LAZY));
	ASSERT_TRUE(modify_and_back(NONE, REG, REG));
	ASSERT_TRUE(modify_and_back(NONE, UPG, UPG));
	ASSERT_TRUE(modify_and_back(LAZY, UPG, UPG));
	/* Upstream they would all have the same anon_vma. */
	ASSERT_TRUE(modify_and_back(PAR, UPGC, NO));
	ASSERT_TRUE(modify_and_back(PARG, UPGA, NO));
	return true;
}

/*
 * copy_vma() to between two VMAs, either of which may be missing. The first that
 * fails is the merge, after which a copy of its own is tried.
 */
static bool copy_between(int prev_kind, enum vma_kind src_kind, int next_kind,
			 bool moved, enum merge_failure failure)
{
	const bool left = prev_kind != NO && merged[prev_kind][src_kind] != NO;
	const bool right = next_kind != NO && merged[next_kind][src_kind] != NO;
	const bool both = left && right && merged[prev_kind][next_kind] != NO;
	const bool src_clones = kinds[src_kind].anon_vma;
	unsigned long src_start = FAR_START, offset = 0;
	struct vm_area_struct *prev = NULL, *next = NULL, *src, *vma, *res;
	bool need_rmap_locks, clones = false, merges, fails;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	int expected = src_kind, count = 1;

	if (both) {
		clones = needs_clone(prev_kind, next_kind) ||
			 needs_clone(prev_kind, src_kind);
		expected = merged[merged[prev_kind][next_kind]][src_kind];
	} else if (left) {
		clones = needs_clone(prev_kind, src_kind);
		expected = merged[prev_kind][src_kind];
	} else if (right) {
		clones = needs_clone(next_kind, src_kind);
		expected = merged[next_kind][src_kind];
	}
	merges = (left || right) && !op_fails(failure, clones);
	fails = !merges && op_fails(failure, src_clones) &&
		(is_lasting(failure) || !(left || right));
	/*
	 * Either the VMA goes back to where its offsets are addresses, or its
	 * new neighbours were once neighbours of its own and have moved.
	 */
	if (moved)
		offset = FAR_START - MIDDLE_START;
	if (prev_kind != NO) {
		prev = alloc_kind_pgoff(&mm, PREV_START, MIDDLE_START,
					(PREV_START + offset) >> PAGE_SHIFT,
					prev_kind);
		count++;
	}
	if (next_kind != NO) {
		next = alloc_kind_pgoff(&mm, NEXT_START, NEXT_END,
					(NEXT_START + offset) >> PAGE_SHIFT,
					next_kind);
		count++;
	}
	if (!moved && kinds[src_kind].anon_vma)
		src = alloc_kind_pgoff(&mm, src_start, src_start + PIECE,
				       MIDDLE_START >> PAGE_SHIFT, src_kind);
	else
		src = alloc_kind(&mm, src_start, src_start + PIECE, src_kind);
	vma = src;

	set_failure(failure);
	res = copy_vma(&vma, MIDDLE_START, PIECE, vma_start_pgoff(src),
		       vma_start_anon_pgoff(src), &need_rmap_locks, false);
	set_failure(FAIL_NOTHING);

	ASSERT_EQ(vma, src);
	ASSERT_TRUE(is_kind(src, src_kind));
	if (merges) {
		ASSERT_EQ(res, left ? prev : next);
		if (moved)
			ASSERT_TRUE(is_regular_kind(res, expected));
		else
			ASSERT_TRUE(is_kind(res, expected));
		ASSERT_EQ(mm.map_count, both ? count - 1 : count);
		if (prev && res != prev)
			ASSERT_TRUE(is_kind(prev, prev_kind));
		if (next && res != next && !both)
			ASSERT_TRUE(is_kind(next, next_kind));
	} else {
		if (prev)
			ASSERT_TRUE(is_kind(prev, prev_kind));
		if (next)
			ASSERT_TRUE(is_kind(next, next_kind));
		ASSERT_EQ(mm.map_count, fails ? count : count + 1);
		if (fails) {
			ASSERT_EQ(res, NULL);
		} else {
			ASSERT_NE(res, NULL);
			ASSERT_NE(res, prev);
			ASSERT_NE(res, next);
			/* What is lazy becomes regular on its way. */
			if (moved)
				ASSERT_TRUE(is_regular_kind(res, src_kind));
			else
				ASSERT_TRUE(is_kind(res, src_kind));
		}
	}
	if (res)
		ASSERT_EQ(vma_is_address_based(res), !moved);
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool copies_between(int prev, enum vma_kind src, int next, bool moved)
{
	bool ret = true;
	int failure;

	for (failure = 0; failure < NR_FAILURES; failure++) {
		const int warnings = num_warnings;

		if (copy_between(prev, src, next, moved, failure) &&
		    num_warnings == warnings)
			continue;
		fprintf(stderr, "Copy of %s to between %s and %s%s, %s\n",
			kinds[src].name, prev == NO ? "-" : kinds[prev].name,
			next == NO ? "-" : kinds[next].name,
			moved ? ", moved" : "", failure_names[failure]);
		reset_anon_vmas();
		ret = false;
	}
	return ret;
}

/* To where offsets are addresses: from elsewhere, or back again. */
static bool test_lazy_copy_merge(void)
{
	bool ret = true;
	int prev, src, next;

	for (src = 0; src < NR_KINDS; src++) {
		/* PARENT is upgraded first. Nothing lazy is where it was not. */
		if (kinds[src].state == ANON_VMA_TREE_PARENT ||
		    kinds[src].state == ANON_VMA_TREE_UPGRADED)
			continue;
		for (prev = NO; prev < NR_KINDS; prev++) {
			for (next = NO; next < NR_KINDS; next++)
				ret &= copies_between(prev, src, next, false);
		}
	}
	return ret;
}

/* To where others have gone before that are regular, as all that has moved. */
static bool test_lazy_copy_merge_moved(void)
{
	static const int moved[] = { NO, REG, REGP, REGC };
	bool ret = true;
	int prev, src, next;

	for (src = 0; src < NR_KINDS; src++) {
		if (!kind_owns(src))
			continue;
		for (prev = 0; prev < ARRAY_SIZE(moved); prev++) {
			for (next = 0; next < ARRAY_SIZE(moved); next++)
				ret &= copies_between(moved[prev], src,
						      moved[next], true);
		}
	}
	return ret;
}

/*
 * Private file mappings have offsets of two kinds, and lazy folios need those of
 * anonymous memory to continue.
 */
static struct vm_area_struct *
alloc_file_kind(struct mm_struct *mm, unsigned long start, pgoff_t pgoff,
		pgoff_t moved_by, enum vma_kind kind)
{
	static struct address_space mapping;
	static struct file file = { .f_mapping = &mapping };
	struct vm_area_struct *vma;

	vma = alloc_and_link_vma(mm, start, start + PIECE, pgoff,
				 lazy_vma_flags());
	vma->vm_ops = &vma_dummy_vm_ops;
	vma->vm_file = &file;
	vma_set_anon_pgoff(vma, (start >> PAGE_SHIFT) + moved_by);
	set_kind(vma, kind);
	return vma;
}

#define FILE_PGOFF	0x100

/* mremap() of @src_kind to the end of @kind. */
static bool file_copy(enum vma_kind kind, enum vma_kind src_kind,
		      pgoff_t moved_by, int expected)
{
	const pgoff_t pgoff = FILE_PGOFF + (PIECE >> PAGE_SHIFT);
	struct vm_area_struct *prev, *src, *vma, *res;
	bool need_rmap_locks;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	prev = alloc_file_kind(&mm, PREV_START, FILE_PGOFF, moved_by, kind);
	src = alloc_file_kind(&mm, FAR_START, pgoff, 0, src_kind);
	vma = src;
	res = copy_vma(&vma, MIDDLE_START, PIECE, pgoff,
		       vma_start_anon_pgoff(src), &need_rmap_locks, false);
	ASSERT_NE(res, NULL);
	ASSERT_EQ(vma, src);
	ASSERT_TRUE(is_kind(src, src_kind));
	if (expected == NO) {
		ASSERT_NE(res, prev);
		ASSERT_EQ(mm.map_count, 3);
		ASSERT_TRUE(is_kind(prev, kind));
		ASSERT_TRUE(is_kind(res, src_kind));
		ASSERT_EQ(vma_start_pgoff(res), pgoff);
	} else {
		ASSERT_EQ(res, prev);
		ASSERT_EQ(mm.map_count, 2);
		ASSERT_TRUE(is_kind(prev, expected));
	}
	ASSERT_TRUE(vma_is_address_based(res));
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

/* mprotect() of @middle_kind, at the end of @kind. */
static bool file_modify(enum vma_kind kind, enum vma_kind middle_kind,
			pgoff_t moved_by, int expected)
{
	const pgoff_t pgoff = FILE_PGOFF + (PIECE >> PAGE_SHIFT);
	vma_flags_t flags = lazy_vma_flags();
	struct vm_area_struct *prev, *middle, *res;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	prev = alloc_file_kind(&mm, PREV_START, FILE_PGOFF, moved_by, kind);
	middle = alloc_file_kind(&mm, MIDDLE_START, pgoff, 0, middle_kind);
	vma_clear_flags(middle, VMA_WRITE_BIT);

	vma_iter_set(&vmi, MIDDLE_START);
	ASSERT_EQ(vma_iter_load(&vmi), middle);
	res = vma_modify_flags(&vmi, prev, middle, MIDDLE_START, NEXT_START,
			       &flags);
	if (expected == NO) {
		ASSERT_EQ(res, middle);
		ASSERT_EQ(mm.map_count, 2);
		ASSERT_TRUE(is_kind(prev, kind));
		ASSERT_TRUE(is_kind(middle, middle_kind));
	} else {
		ASSERT_EQ(res, prev);
		ASSERT_EQ(mm.map_count, 1);
		ASSERT_TRUE(is_kind(prev, expected));
		ASSERT_TRUE(vma_is_address_based(prev));
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool file_merge(enum vma_kind kind, enum vma_kind other_kind,
		       pgoff_t moved_by)
{
	const int expected = moved_by ? NO : merged[kind][other_kind];

	return file_copy(kind, other_kind, moved_by, expected) &&
		file_modify(kind, other_kind, moved_by, expected);
}

static bool test_lazy_file(void)
{
	static const enum vma_kind there[] = { NONE, LAZY, REG, UPG, PAR, UPGC };
	int i;

	for (i = 0; i < ARRAY_SIZE(there); i++)
		ASSERT_TRUE(file_merge(there[i], LAZY, 0));

	/* Only what is regular has ever moved. */
	ASSERT_TRUE(file_merge(REG, NONE, 0x20));
	ASSERT_TRUE(file_merge(REG, LAZY, 0x20));
	ASSERT_TRUE(file_merge(REGP, LAZY, 0x20));
	return true;
}

/* Where does mremap() of a VMA go when there is nothing to merge with? */
static bool copy_kind(enum vma_kind kind, enum vma_kind new_kind,
		      bool address_based, bool keep_source,
		      enum merge_failure failure)
{
	const bool fails = op_fails(failure, kinds[kind].anon_vma);
	struct vm_area_struct *src, *vma, *new;
	bool need_rmap_locks;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	src = alloc_kind(&mm, PREV_START, MIDDLE_START, kind);
	vma = src;

	set_failure(failure);
	new = copy_vma(&vma, FAR_START, MIDDLE_START - PREV_START,
		       vma_start_pgoff(src), vma_start_anon_pgoff(src),
		       &need_rmap_locks, keep_source);
	set_failure(FAIL_NOTHING);

	ASSERT_EQ(vma, src);
	ASSERT_TRUE(is_kind(src, kind));
	ASSERT_TRUE(vma_is_address_based(src));
	if (fails) {
		ASSERT_EQ(new, NULL);
	} else {
		ASSERT_NE(new, NULL);
		ASSERT_TRUE(is_kind(new, new_kind));
		ASSERT_EQ(vma_is_address_based(new), address_based);
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_lazy_copy_vma(void)
{
	static const struct {
		enum vma_kind src;
		enum vma_kind new;
		bool address_based;
	} copies[] = {
		{ NONE, NONE, true },
		{ LAZY, LAZY, true },
		{ REG,  REG,  false },
		/* What comes from an UPGRADED VMA becomes regular on its way. */
		{ UPG,  REG,  false },
		{ UPGC, REGC, false },
		{ REGC, REGC, false },
		{ REGP, REGP, false },
		{ UPGP, REGP, false },
	};
	int i, failure;

	for (i = 0; i < ARRAY_SIZE(copies); i++) {
		for (failure = 0; failure < NR_FAILURES; failure++) {
			ASSERT_TRUE(copy_kind(copies[i].src, copies[i].new,
					      copies[i].address_based, false,
					      failure));
			ASSERT_TRUE(copy_kind(copies[i].src, copies[i].new,
					      copies[i].address_based, true,
					      failure));
		}
	}
	return true;
}

/*
 * A populated lazy VMA may merge with itself, as an unfaulted one: copy_vma() to
 * its end or its start, where there may be another VMA beyond. If the source is
 * kept the two must not become one.
 */
static bool self_merge(enum vma_kind kind, int other_kind, bool forward,
		       bool keep_source, enum merge_failure failure)
{
	/* In order of address, as a merge of all three goes into the first. */
	const int both_kind = other_kind == NO ? NO :
		forward ? merged[kind][other_kind] : merged[other_kind][kind];
	const bool clones = forward && !keep_source && both_kind != NO &&
		needs_clone(kind, other_kind);
	const bool can_merge = !keep_source || both_kind != NO;
	const bool merges = can_merge && !op_fails(failure, clones);
	const bool fails = op_fails(failure, false) &&
		(is_lasting(failure) || !can_merge);
	const unsigned long start = forward ? MIDDLE_START : NEXT_START;
	const unsigned long dst = forward ? NEXT_START : MIDDLE_START;
	struct vm_area_struct *src, *vma, *new, *target, *other = NULL;
	enum vma_kind target_kind = kind;
	bool need_rmap_locks;
	struct mm_struct mm = {};
	int count = 1;

	VMA_ITERATOR(vmi, &mm, 0);

	src = alloc_kind(&mm, start, start + PIECE, kind);
	if (other_kind != NO) {
		if (forward)
			other = alloc_kind(&mm, NEXT_END, NEXT_END + PIECE,
					   other_kind);
		else
			other = alloc_kind(&mm, PREV_START, MIDDLE_START,
					   other_kind);
		count++;
	}

	vma = src;
	set_failure(failure);
	new = copy_vma(&vma, dst, PIECE, vma_start_pgoff(src),
		       vma_start_anon_pgoff(src), &need_rmap_locks, keep_source);
	set_failure(FAIL_NOTHING);

	if (!merges) {
		ASSERT_EQ(vma, src);
		ASSERT_TRUE(is_kind(src, kind));
		if (other)
			ASSERT_TRUE(is_kind(other, other_kind));
		ASSERT_EQ(!new, fails);
		ASSERT_EQ(mm.map_count, fails ? count : count + 1);
		if (new) {
			ASSERT_NE(new, src);
			ASSERT_NE(new, other);
			ASSERT_TRUE(is_kind(new, kind));
			ASSERT_TRUE(vma_is_address_based(new));
		}
	} else {
		target = src;
		if (keep_source || (both_kind != NO && !forward))
			target = other;
		if (both_kind != NO)
			target_kind = both_kind;

		ASSERT_EQ(new, target);
		ASSERT_TRUE(is_kind(new, target_kind));
		ASSERT_TRUE(vma_is_address_based(new));
		if (keep_source) {
			ASSERT_EQ(vma, src);
			ASSERT_TRUE(is_kind(src, kind));
			ASSERT_EQ(mm.map_count, 2);
		} else {
			/* The source as it is now, if it was replaced. */
			ASSERT_EQ(vma, target);
			ASSERT_EQ(mm.map_count, both_kind == NO ? count : 1);
			if (other && both_kind == NO)
				ASSERT_TRUE(is_kind(other, other_kind));
		}
	}
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool self_merges(enum vma_kind kind, int other, bool forward,
			bool keep_source)
{
	bool ret = true;
	int failure;

	for (failure = 0; failure < NR_FAILURES; failure++) {
		const int warnings = num_warnings;

		if (self_merge(kind, other, forward, keep_source, failure) &&
		    num_warnings == warnings)
			continue;
		fprintf(stderr, "Self-merge of %s %s, %s beyond%s, %s\n",
			kinds[kind].name, forward ? "forwards" : "backwards",
			other == NO ? "nothing" : kinds[other].name,
			keep_source ? ", kept" : "", failure_names[failure]);
		reset_anon_vmas();
		ret = false;
	}
	return ret;
}

static bool test_lazy_self_merge(void)
{
	static const enum vma_kind sources[] = { NONE, LAZY };
	bool ret = true;
	int i, other;

	for (i = 0; i < ARRAY_SIZE(sources); i++) {
		for (other = NO; other < NR_KINDS; other++) {
			ret &= self_merges(sources[i], other, true, false);
			ret &= self_merges(sources[i], other, true, true);
			ret &= self_merges(sources[i], other, false, false);
			ret &= self_merges(sources[i], other, false, true);
		}
	}
	return ret;
}

/* exec moves the stack, which is to stay lazy if it is. */
static bool relocate_kind(enum vma_kind before, enum vma_kind after,
			  bool address_based, unsigned long shift)
{
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);
	struct vm_area_struct *vma;

	vma = alloc_kind(&mm, FAR_START, FAR_START + PIECE, before);

	set_failure(FAIL_PREALLOC);
	ASSERT_EQ(relocate_vma_down(vma, shift), -ENOMEM);
	set_failure(FAIL_NOTHING);
	ASSERT_EQ(vma->vm_start, FAR_START);
	ASSERT_TRUE(is_kind(vma, before));
	ASSERT_TRUE(vma_is_address_based(vma));

	ASSERT_EQ(relocate_vma_down(vma, shift), 0);
	ASSERT_EQ(vma->vm_start, FAR_START - shift);
	ASSERT_EQ(vma->vm_end, FAR_START - shift + PIECE);
	ASSERT_TRUE(is_kind(vma, after));
	ASSERT_EQ(vma_is_address_based(vma), address_based);
	/* The stack is anonymous, so there is one offset only. */
	ASSERT_EQ(vma_start_pgoff(vma), vma_start_anon_pgoff(vma));
	ASSERT_TRUE(counts_are_right(&mm));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_lazy_relocate(void)
{
	static const struct {
		enum vma_kind before;
		enum vma_kind after;
		bool address_based;
	} stacks[] = {
		{ LAZY, LAZY, true },
		{ REG,  REG,  false },
		{ UPG,  REG,  false },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(stacks); i++) {
		/* To somewhere else, and to where it overlaps with itself. */
		ASSERT_TRUE(relocate_kind(stacks[i].before, stacks[i].after,
					  stacks[i].address_based, 0x20000));
		ASSERT_TRUE(relocate_kind(stacks[i].before, stacks[i].after,
					  stacks[i].address_based, 0x1000));
	}
	return true;
}

static bool find_mergeable_pair(enum vma_kind kind, enum vma_kind other_kind)
{
	struct vm_area_struct *vma, *other;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	vma = alloc_kind(&mm, MIDDLE_START, NEXT_START, kind);

	other = alloc_kind(&mm, NEXT_START, NEXT_END, other_kind);
	ASSERT_EQ(find_mergeable_anon_vma(vma), reusable[kind][other_kind]);
	/* Not if offsets do not continue. */
	vma_set_anon_pgoff(other, vma_start_anon_pgoff(other) + 1);
	ASSERT_EQ(find_mergeable_anon_vma(vma), NULL);

	other = alloc_kind(&mm, PREV_START, MIDDLE_START, other_kind);
	ASSERT_EQ(find_mergeable_anon_vma(vma), reusable[kind][other_kind]);

	ASSERT_TRUE(is_kind(vma, kind));
	ASSERT_TRUE(is_kind(other, other_kind));
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_lazy_find_mergeable(void)
{
	/* Those that may come to need an anon_vma. */
	static const enum vma_kind seekers[] = { NONE, LAZY, PAR, PAR2, PARG };
	bool ret = true;
	int i, other;

	for (i = 0; i < ARRAY_SIZE(seekers); i++) {
		for (other = 0; other < NR_KINDS; other++) {
			if (find_mergeable_pair(seekers[i], other))
				continue;
			fprintf(stderr, "%s next to %s\n",
				kinds[seekers[i]].name, kinds[other].name);
			reset_anon_vmas();
			ret = false;
		}
	}
	return ret;
}

static bool test_lazy_chain_matches(void)
{
	static struct anon_vma x, y, z;
	static const struct {
		struct anon_vma *own;
		struct anon_vma *old[4];
		struct anon_vma *vma[4];
		bool matches;
	} chains[] = {
		/* One more, that is its own. */
		{ &x, { &x, &y },	{ &y },		true },
		{ &x, { &x, &y, &z },	{ &y, &z },	true },
		/* In whatever order: each clone turns the chain around. */
		{ &x, { &z, &y, &x },	{ &y, &z },	true },
		{ &x, { &y, &x },	{ &y },		true },
		/* One more, but what it owns it has not added: taken over. */
		{ &y, { &x, &y },	{ &y },		false },
		/* As many or fewer: not upgraded, or not from the same. */
		{ &y, { &y },		{ &y },		false },
		{ &x, { &x },		{ &y },		false },
		{ &y, { &y },		{ &x, &y },	false },
		/* More, but others or too many. */
		{ &x, { &x, &z },	{ &y },		false },
		{ &x, { &x, &y, &z },	{ &y },		false },
		/* Nothing of its own. */
		{ NULL, { &x, &y },	{ &y, &x },	true },
		{ NULL, { &x, &y },	{ &x, &z },	false },
		{ NULL, { &x, &y },	{ &x },		false },
		{ NULL, { &x },		{ &x, &y },	false },
	};
	int i, j;

	for (i = 0; i < ARRAY_SIZE(chains); i++) {
		struct mm_struct mm = {};

		VMA_ITERATOR(vmi, &mm, 0);
		struct vm_area_struct *old, *vma;

		old = alloc_kind(&mm, PREV_START, MIDDLE_START, NONE);
		vma = alloc_kind(&mm, MIDDLE_START, NEXT_START, NONE);
		for (j = 0; j < ARRAY_SIZE(chains[i].old); j++) {
			if (chains[i].old[j])
				anon_vma_chain_add(old, chains[i].old[j]);
			if (chains[i].vma[j])
				anon_vma_chain_add(vma, chains[i].vma[j]);
		}
		ASSERT_EQ(anon_vma_chain_matches(vma, old, chains[i].own),
			  chains[i].matches);

		anon_vma_chain_clear(old);
		anon_vma_chain_clear(vma);
		cleanup_mm(&mm, &vmi);
	}
	return true;
}

#define LAZY_TEST(name)							\
	do {								\
		TEST(name);						\
		reset_anon_vmas();					\
	} while (0)

static void run_anon_vma_lazy_tests(int *num_tests, int *num_fail)
{
	LAZY_TEST(lazy_fork_child);
	LAZY_TEST(lazy_merge_pairs);
	LAZY_TEST(lazy_merge_both);
	LAZY_TEST(lazy_split);
	LAZY_TEST(lazy_expand_downwards);
	LAZY_TEST(lazy_modify);
	LAZY_TEST(lazy_copy_merge);
	LAZY_TEST(lazy_copy_merge_moved);
	LAZY_TEST(lazy_file);
	LAZY_TEST(lazy_copy_vma);
	LAZY_TEST(lazy_self_merge);
	LAZY_TEST(lazy_relocate);
	LAZY_TEST(lazy_find_mergeable);
	LAZY_TEST(lazy_chain_matches);
}
