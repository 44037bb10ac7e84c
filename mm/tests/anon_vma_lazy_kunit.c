// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests for lazy anon_vmas: the handle in vma->anon_vma and what moves it
 * from one state to another, the tag in folio->mapping, who finds the VMA of a
 * folio, and how long an mm_struct lasts. What is expected here was written down
 * from Documentation/mm/anon_vma_lazy.rst.
 *
 * VMAs and folios are real where it matters: each test has an address space of
 * its own, faults, and forks as dup_mmap() does for one VMA.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/kthread.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/poison.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "../damon/ops-common.h"
#include "../internal.h"
#include "../vma.h"

/* Where tests map memory: nothing else is there. */
#define AREA		((unsigned long)SZ_1G)
#define AREA_PAGES	12
#define AREA_SIZE	(AREA_PAGES * PAGE_SIZE)

/* An aligned address that faults: who only asks for a kind follows no pointer. */
#define NOWHERE		(POISON_POINTER_DELTA + 0x1008UL)

/* Longer than anything takes that is waited for. */
#define PATIENCE	(20 * HZ)

static bool switch_was_on;

/*
 * Helpers. None of them asserts with a lock held: a test that ends there leaves
 * it locked, and its address space could not be torn down.
 */

KUNIT_DEFINE_ACTION_WRAPPER(put_folio, folio_put, struct folio *);
KUNIT_DEFINE_ACTION_WRAPPER(put_mm, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(put_file, fput, struct file *);

static anon_vma_tree_t lazy_tree(void)
{
	return anon_vma_tree(NULL, ANON_VMA_TREE_VMA);
}

static enum anon_vma_tree_state vma_state(const struct vm_area_struct *vma)
{
	return anon_vma_tree_state(vma->anon_vma);
}

static struct vm_area_struct *vma_at(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	mmap_read_unlock(mm);
	return vma;
}

/* Not accounted: a copy would have to be, too. */
static struct vm_area_struct *map_prot(struct kunit *test, unsigned long addr,
				       unsigned long size, unsigned long prot)
{
	struct vm_area_struct *vma;

	KUNIT_ASSERT_EQ(test, addr,
			kunit_vm_mmap(test, NULL, addr, size, prot,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				      MAP_FIXED_NOREPLACE, 0));
	vma = vma_at(current->mm, addr);
	KUNIT_ASSERT_NOT_NULL(test, vma);
	return vma;
}

static struct vm_area_struct *map(struct kunit *test, unsigned long addr,
				  unsigned long size)
{
	return map_prot(test, addr, size, PROT_READ | PROT_WRITE);
}

static struct vm_area_struct *map_area(struct kunit *test)
{
	return map(test, AREA, AREA_SIZE);
}

/* A private mapping of a file that nobody else has; the file goes with the test. */
static struct vm_area_struct *map_file(struct kunit *test, struct file *file,
				       unsigned long size)
{
	struct vm_area_struct *vma;

	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_file, file));
	if (kunit_vm_mmap(test, file, AREA, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_FIXED_NOREPLACE, 0) != AREA)
		kunit_skip(test, "no memory for the file");
	vma = vma_at(current->mm, AREA);
	KUNIT_ASSERT_NOT_NULL(test, vma);
	return vma;
}

/* The folio at @addr after a fault, kept until the test ends. */
static struct folio *fault_any(struct kunit *test, struct mm_struct *mm,
			       unsigned long addr, unsigned int gup_flags)
{
	struct folio *folio;
	struct page *page;
	long nr;

	mmap_read_lock(mm);
	nr = get_user_pages_remote(mm, addr, 1, gup_flags, &page, NULL);
	mmap_read_unlock(mm);
	KUNIT_ASSERT_EQ(test, nr, 1);

	folio = page_folio(page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_folio, folio));
	return folio;
}

/* After a write fault. */
static struct folio *fault(struct kunit *test, struct mm_struct *mm,
			   unsigned long addr)
{
	struct folio *folio = fault_any(test, mm, addr, FOLL_WRITE);

	KUNIT_ASSERT_EQ(test, folio_order(folio), 0);
	return folio;
}

/* The least order of an anonymous folio that is large. */
#define LARGE_ORDER	2
#define LARGE_PAGES	BIT(LARGE_ORDER)

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static unsigned long orders_before;

static void reset_orders(void *unused)
{
	WRITE_ONCE(huge_anon_orders_madvise, orders_before);
}

/* From now on the VMA gets large folios wherever one fits. */
static void allow_large(struct kunit *test, struct vm_area_struct *vma)
{
	orders_before = huge_anon_orders_madvise;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, reset_orders, NULL));
	WRITE_ONCE(huge_anon_orders_madvise, BIT(LARGE_ORDER));
	KUNIT_ASSERT_EQ(test, 0, do_madvise(vma->vm_mm, vma->vm_start,
					    vma_pages(vma) << PAGE_SHIFT,
					    MADV_HUGEPAGE));
}
#else
static void allow_large(struct kunit *test, struct vm_area_struct *vma)
{
	kunit_skip(test, "no large folios without CONFIG_TRANSPARENT_HUGEPAGE");
}
#endif

static struct folio *fault_large(struct kunit *test, struct vm_area_struct *vma,
				 unsigned long addr)
{
	struct folio *folio;

	allow_large(test, vma);
	folio = fault_any(test, vma->vm_mm, addr, FOLL_WRITE);
	if (folio_order(folio) != LARGE_ORDER)
		kunit_skip(test, "no large folio to be had");
	return folio;
}

#ifdef CONFIG_HUGETLB_PAGE
static unsigned long overcommit_before;

static void set_overcommit(unsigned long nr)
{
	spin_lock_irq(&hugetlb_lock);
	default_hstate.nr_overcommit_huge_pages = nr;
	spin_unlock_irq(&hugetlb_lock);
}

static void reset_overcommit(void *unused)
{
	set_overcommit(overcommit_before);
}

/* A hugetlb page, which need not be in the pool. */
static struct vm_area_struct *map_hugetlb(struct kunit *test)
{
	const unsigned long size = huge_page_size(&default_hstate);
	struct file *file;

	overcommit_before = default_hstate.nr_overcommit_huge_pages;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, reset_overcommit, NULL));
	set_overcommit(default_hstate.surplus_huge_pages + 1);

	file = hugetlb_file_setup(HUGETLB_ANON_FILE, size,
				  mk_vma_flags(VMA_NORESERVE_BIT),
				  HUGETLB_ANONHUGE_INODE, 0);
	if (IS_ERR(file))
		kunit_skip(test, "no hugetlb file: %pe", file);
	return map_file(test, file, size);
}
#else
static struct vm_area_struct *map_hugetlb(struct kunit *test)
{
	kunit_skip(test, "no hugetlb without CONFIG_HUGETLB_PAGE");
	return NULL;
}
#endif

static struct mm_struct *new_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_mm, mm));
	return mm;
}

/* The part of dup_mmap() that is about one VMA. */
static int dup_vma(struct mm_struct *mm, struct vm_area_struct *vma,
		   struct vm_area_struct *pvma, bool copy)
{
	VMA_ITERATOR(vmi, mm, vma->vm_start);
	int err;

	vma->vm_mm = mm;
	err = anon_vma_fork(vma, pvma);
	vma_start_write(vma);
	if (!err)
		err = vma_iter_store_gfp(&vmi, vma, GFP_KERNEL);
	if (err) {
		unlink_anon_vmas(vma);
		vm_area_free(vma);
		return err;
	}
	mm->map_count++;
	return copy ? copy_page_range(vma, pvma) : 0;
}

/* A copy of @pvma in @mm; with its pages, if @copy. */
static struct vm_area_struct *fork_vma_to(struct kunit *test, struct mm_struct *mm,
					  struct vm_area_struct *pvma, bool copy)
{
	struct vm_area_struct *vma;
	int err = -ENOMEM;

	mmap_write_lock(pvma->vm_mm);
	mmap_write_lock_nested(mm, SINGLE_DEPTH_NESTING);
	vma_start_write(pvma);
	vma = vm_area_dup(pvma);
	if (vma)
		err = dup_vma(mm, vma, pvma, copy);
	mmap_write_unlock(mm);
	flush_tlb_mm(pvma->vm_mm);
	mmap_write_unlock(pvma->vm_mm);

	KUNIT_ASSERT_EQ(test, err, 0);
	return vma;
}

static struct vm_area_struct *fork_vma(struct kunit *test,
				       struct vm_area_struct *pvma, bool copy)
{
	return fork_vma_to(test, new_mm(test), pvma, copy);
}

static int upgrade(struct vm_area_struct *vma)
{
	int err;

	mmap_read_lock(vma->vm_mm);
	err = __vma_upgrade_anon_vma_lazy(vma, ANON_VMA_LAZY_FORK);
	mmap_read_unlock(vma->vm_mm);
	return err;
}

static void make_regular(struct vm_area_struct *vma)
{
	mmap_write_lock(vma->vm_mm);
	vma_start_write(vma);
	vma_make_anon_regular(vma, ANON_VMA_LAZY_MREMAP);
	mmap_write_unlock(vma->vm_mm);
}

/*
 * From now on nothing goes back to being lazy, which could happen at any time
 * once nobody shares it. What is lazy does not change.
 */
static void switch_off(void)
{
	static_branch_disable(&anon_vma_lazy_enabled);
}

static size_t chain_length(struct vm_area_struct *vma)
{
	return list_count_nodes(&vma->anon_vma_chain);
}

/* As folio_trylock_anon_rmap_lazy(), but what it locked is unlocked again. */
static struct vm_area_struct *resolve(struct folio *folio)
{
	struct vm_area_struct *vma;
	anon_rmap_t rmap;

	folio_lock(folio);
	rmap = folio_trylock_anon_rmap_lazy(folio);
	if (IS_ERR(rmap)) {
		vma = ERR_CAST(rmap);
	} else {
		vma = anon_rmap_vma(rmap);
		if (rmap)
			anon_rmap_unlock_read(rmap);
	}
	folio_unlock(folio);
	return vma;
}

static bool count_mapping(struct folio *folio, struct vm_area_struct *vma,
			  unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	unsigned int *nr = arg;

	while (page_vma_mapped_walk(&pvmw))
		(*nr)++;
	return true;
}

/* How many mappings of @folio does rmap find? */
static unsigned int nr_found(struct folio *folio)
{
	unsigned int nr = 0;
	struct rmap_walk_control rwc = {
		.rmap_one = count_mapping,
		.anon_lock = folio_lock_anon_rmap_read,
		.arg = &nr,
	};

	folio_lock(folio);
	rmap_walk(folio, &rwc);
	folio_unlock(folio);
	return nr;
}

static void expect_lazy(struct kunit *test, struct folio *folio,
			struct vm_area_struct *vma, unsigned long addr)
{
	KUNIT_EXPECT_TRUE(test, folio_test_anon(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_anon_vma_lazy(folio));
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_mm_lazy(folio), vma->vm_mm);
	KUNIT_EXPECT_EQ(test, folio->index, addr >> PAGE_SHIFT);
	KUNIT_EXPECT_PTR_EQ(test, resolve(folio), vma);
	KUNIT_EXPECT_EQ(test, nr_found(folio), 1);
}

static void expect_regular(struct kunit *test, struct folio *folio,
			   struct anon_vma *anon_vma, unsigned int nr_mappings)
{
	KUNIT_EXPECT_TRUE(test, folio_test_anon(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_anon_vma_lazy(folio));
	KUNIT_EXPECT_NULL(test, folio_anon_mm_lazy(folio));
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), anon_vma);
	KUNIT_EXPECT_NULL(test, resolve(folio));
	KUNIT_EXPECT_EQ(test, nr_found(folio), nr_mappings);
}

/* The three who find what maps a folio agree on it. The folio is locked. */
static void expect_rmap_locked(struct kunit *test, struct folio *folio,
			       anon_rmap_t rmap)
{
	anon_rmap_t tried, locked, got;

	tried = folio_trylock_anon_rmap_lazy(folio);
	if (!IS_ERR_OR_NULL(tried))
		anon_rmap_unlock_read(tried);
	locked = folio_lock_anon_rmap_read(folio, NULL);
	if (locked)
		anon_rmap_unlock_read(locked);
	got = folio_get_anon_rmap(folio);
	if (!IS_ERR(got))
		folio_put_anon_rmap(got);

	/* The first only knows lazy folios. */
	KUNIT_EXPECT_PTR_EQ(test, tried, anon_rmap_vma(rmap) ? rmap : NULL);
	KUNIT_EXPECT_PTR_EQ(test, locked, rmap);
	KUNIT_EXPECT_PTR_EQ(test, got, rmap);
}

static void expect_rmap(struct kunit *test, struct folio *folio, anon_rmap_t rmap)
{
	folio_lock(folio);
	expect_rmap_locked(test, folio, rmap);
	folio_unlock(folio);
}

static void expect_lazy_vma(struct kunit *test, struct vm_area_struct *vma)
{
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lazy_tree());
	KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
}

/*
 * The handle. Two anon_vmas that nobody looks into, but for their root.
 */

static struct anon_vma other_anon_vma = { .root = &other_anon_vma };
static struct anon_vma some_anon_vma = { .root = &other_anon_vma };

enum kind { NONE, REGULAR, VMA, PARENT, UPGRADED, OTHER_REGULAR, OTHER_PARENT,
	OTHER_UPGRADED, NR_KINDS };

static const struct {
	struct anon_vma *anon_vma;
	enum anon_vma_tree_state state;
	bool is_lazy;
	bool may_hold_lazy;
} kinds[NR_KINDS] = {
	[NONE]		 = { NULL, ANON_VMA_TREE_REGULAR, false, false },
	[REGULAR]	 = { &some_anon_vma, ANON_VMA_TREE_REGULAR, false, false },
	[VMA]		 = { NULL, ANON_VMA_TREE_VMA, true, true },
	[PARENT]	 = { &some_anon_vma, ANON_VMA_TREE_PARENT, true, true },
	[UPGRADED]	 = { &some_anon_vma, ANON_VMA_TREE_UPGRADED, false, true },
	[OTHER_REGULAR]	 = { &other_anon_vma, ANON_VMA_TREE_REGULAR, false, false },
	[OTHER_PARENT]	 = { &other_anon_vma, ANON_VMA_TREE_PARENT, true, true },
	[OTHER_UPGRADED] = { &other_anon_vma, ANON_VMA_TREE_UPGRADED, false, true },
};

/* One letter for each, in the order of enum kind. */
static const char kind_names[] = "0RVPUrpu";

static anon_vma_tree_t kind_tree(enum kind kind)
{
	return anon_vma_tree(kinds[kind].anon_vma, kinds[kind].state);
}

static void handle_round_trip(struct kunit *test)
{
	for (enum kind kind = NONE; kind < NR_KINDS; kind++) {
		const anon_vma_tree_t tree = kind_tree(kind);
		struct vm_area_struct vma = { .anon_vma = tree };

		KUNIT_EXPECT_EQ_MSG(test, anon_vma_tree_state(tree), kinds[kind].state,
				    "%c", kind_names[kind]);
		KUNIT_EXPECT_PTR_EQ_MSG(test, anon_vma_tree_anon_vma(tree),
					kinds[kind].anon_vma, "%c", kind_names[kind]);
		KUNIT_EXPECT_EQ_MSG(test, anon_vma_tree_is_lazy(tree),
				    kinds[kind].is_lazy, "%c", kind_names[kind]);
		KUNIT_EXPECT_EQ_MSG(test, anon_vma_tree_may_hold_lazy(tree),
				    kinds[kind].may_hold_lazy, "%c", kind_names[kind]);
		KUNIT_EXPECT_PTR_EQ_MSG(test, vma_anon_vma(&vma), kinds[kind].anon_vma,
					"%c", kind_names[kind]);
		KUNIT_EXPECT_EQ_MSG(test, vma_is_anon_vma_lazy(&vma),
				    kinds[kind].is_lazy, "%c", kind_names[kind]);
		/* Everybody else only asks whether there is a handle. */
		KUNIT_EXPECT_EQ_MSG(test, !!tree, kind != NONE, "%c", kind_names[kind]);
		/* Tools that read dumps know these. */
		KUNIT_EXPECT_EQ_MSG(test, (unsigned long)tree,
				    (unsigned long)kinds[kind].anon_vma + kinds[kind].state,
				    "%c", kind_names[kind]);
	}
	KUNIT_EXPECT_EQ(test, ANON_VMA_TREE_REGULAR, 0);
	KUNIT_EXPECT_EQ(test, ANON_VMA_TREE_VMA, 1);
	KUNIT_EXPECT_EQ(test, ANON_VMA_TREE_PARENT, 2);
	KUNIT_EXPECT_EQ(test, ANON_VMA_TREE_UPGRADED, 3);
}

static void handle_set(struct kunit *test)
{
	for (enum kind kind = NONE; kind < NR_KINDS; kind++) {
		struct vm_area_struct vma = { .anon_vma = kind_tree(kind) };

		/* Only from UPGRADED, which owns what it names. */
		vma_set_anon_regular(&vma);
		KUNIT_EXPECT_PTR_EQ_MSG(test, vma.anon_vma,
					kind_tree(kind == UPGRADED ? REGULAR :
						  kind == OTHER_UPGRADED ? OTHER_REGULAR :
						  kind), "%c", kind_names[kind]);

		vma_set_anon_vma(&vma, &other_anon_vma);
		KUNIT_EXPECT_PTR_EQ_MSG(test, vma.anon_vma, kind_tree(OTHER_REGULAR),
					"%c", kind_names[kind]);
	}
}

/* Who names the same anon_vma must own it, or not own it, alike. */
static void handle_compatible(struct kunit *test)
{
	static const char * const expected[NR_KINDS] = {
		/*		       0RVPUrpu */
		[NONE]		   = "yyyyyyyy",
		[REGULAR]	   = "yyy.y...",
		[VMA]		   = "yyyyyyyy",
		[PARENT]	   = "y.yy....",
		[UPGRADED]	   = "yyy.y...",
		[OTHER_REGULAR]	   = "y.y..y.y",
		[OTHER_PARENT]	   = "y.y...y.",
		[OTHER_UPGRADED]   = "y.y..y.y",
	};

	for (enum kind a = NONE; a < NR_KINDS; a++) {
		for (enum kind b = NONE; b < NR_KINDS; b++) {
			KUNIT_EXPECT_EQ_MSG(test, expected[a][b] == 'y',
					    anon_vma_tree_compatible(kind_tree(a),
								     kind_tree(b)),
					    "%c, %c", kind_names[a], kind_names[b]);
		}
	}
}

/*
 * The result admits what either may hold, and an owner stays one. Not defined
 * where the two are not compatible.
 */
static void handle_merge(struct kunit *test)
{
	static const char * const expected[NR_KINDS] = {
		/*		       0RVPUrpu   src */
		[NONE]		   = "0RVPUrpu",
		[REGULAR]	   = "RRU.U...",
		[VMA]		   = "VUVPUupu",
		[PARENT]	   = "P.PP....",
		[UPGRADED]	   = "UUU.U...",
		[OTHER_REGULAR]	   = "r.u..r.u",
		[OTHER_PARENT]	   = "p.p...p.",
		[OTHER_UPGRADED]   = "u.u..u.u",
	};

	for (enum kind dst = NONE; dst < NR_KINDS; dst++) {
		for (enum kind src = NONE; src < NR_KINDS; src++) {
			const char *name = strchr(kind_names, expected[dst][src]);

			if (!name)
				continue;
			KUNIT_EXPECT_PTR_EQ_MSG(test, kind_tree(name - kind_names),
						anon_vma_tree_merge(kind_tree(dst),
								    kind_tree(src)),
						"%c, %c", kind_names[dst],
						kind_names[src]);
		}
	}
}

static void rmap_handle(struct kunit *test)
{
	struct vm_area_struct *vma, *found;
	struct anon_vma_chain *avc;
	unsigned int nr = 0;
	anon_rmap_t rmap;

	vma = map_area(test);

	KUNIT_EXPECT_NULL(test, anon_rmap_vma(NULL));
	KUNIT_EXPECT_NULL(test, anon_rmap_anon_vma(NULL));

	rmap = anon_rmap_from_anon_vma(&some_anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_rmap_anon_vma(rmap), &some_anon_vma);
	KUNIT_EXPECT_NULL(test, anon_rmap_vma(rmap));

	rmap = anon_rmap_from_vma(vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_rmap_vma(rmap), vma);
	KUNIT_EXPECT_NULL(test, anon_rmap_anon_vma(rmap));
	anon_rmap_foreach_vma(found, avc, rmap, 0, ULONG_MAX) {
		KUNIT_EXPECT_PTR_EQ(test, found, vma);
		nr++;
	}
	KUNIT_EXPECT_EQ(test, nr, 1);
}

/*
 * Preparing a VMA, for what is not allocated: a VMA that nobody can find.
 */

static struct vm_area_struct *fake_vma(struct kunit *test, unsigned long nr_pages,
				       vm_flags_t flags)
{
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vma);
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	vma_init(vma, current->mm);
	vma->vm_start = AREA;
	vma->vm_end = AREA + nr_pages * PAGE_SIZE;
	vm_flags_init(vma, VM_READ | VM_WRITE | flags);
	__vma_set_anon_pgoff(vma, AREA >> PAGE_SHIFT);
	return vma;
}

static bool prepare(struct vm_area_struct *vma)
{
	bool ret;

	mmap_read_lock(vma->vm_mm);
	ret = __vma_prepare_anon_vma_lazy(vma);
	mmap_read_unlock(vma->vm_mm);
	return ret;
}

static void prepare_from_each_state(struct kunit *test)
{
	struct vm_area_struct *vma = fake_vma(test, AREA_PAGES, 0);

	for (enum kind kind = NONE; kind < NR_KINDS; kind++) {
		vma->anon_vma = kind_tree(kind);
		KUNIT_EXPECT_TRUE_MSG(test, prepare(vma), "%c", kind_names[kind]);
		/* A lazy store never replaces what another thread has stored. */
		KUNIT_EXPECT_PTR_EQ_MSG(test, vma->anon_vma,
					kind_tree(kind == NONE ? VMA : kind),
					"%c", kind_names[kind]);
	}
}

static const struct refusal {
	const char *desc;
	unsigned long nr_pages;
	vm_flags_t flags;
	pgoff_t moved_by;
	bool accepted;
} refusals[] = {
	{ "none", 1, .accepted = true },
	{ "largest", (ANON_VMA_LAZY_MAX >> PAGE_SHIFT) - 1, .accepted = true },
	{ "mergeable", 1, VM_MERGEABLE, .accepted = true },
	{ "locked", 1, VM_LOCKED, .accepted = true },
	{ "too_large", ANON_VMA_LAZY_MAX >> PAGE_SHIFT },
	{ "moved_up", AREA_PAGES, .moved_by = 1 },
	{ "moved_down", AREA_PAGES, .moved_by = -1UL },
	{ "moved_far", AREA_PAGES, .moved_by = 1UL << 32 },
	{ "io", 1, VM_IO },
	{ "dontexpand", 1, VM_DONTEXPAND },
	{ "pfnmap", 1, VM_PFNMAP },
	{ "mixedmap", 1, VM_MIXEDMAP },
	{ "hugetlb", 1, VM_HUGETLB },
	{ "shared", 1, VM_SHARED | VM_MAYSHARE },
};

KUNIT_ARRAY_PARAM_DESC(refusals, refusals, desc);

static struct vm_area_struct *refused_vma(struct kunit *test)
{
	const struct refusal *refusal = test->param_value;
	struct vm_area_struct *vma;

	vma = fake_vma(test, refusal->nr_pages, refusal->flags);
	__vma_set_anon_pgoff(vma, (AREA >> PAGE_SHIFT) + refusal->moved_by);
	KUNIT_EXPECT_EQ(test, vma_is_address_based(vma), !refusal->moved_by);
	return vma;
}

static void prepare_refused(struct kunit *test)
{
	const struct refusal *refusal = test->param_value;
	struct vm_area_struct *vma = refused_vma(test);

	KUNIT_EXPECT_EQ(test, prepare(vma), refusal->accepted);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
			    refusal->accepted ? lazy_tree() : NULL);
}

/* What cannot be lazy is not lazy as a copy, either. */
static void fork_refused(struct kunit *test)
{
	const struct refusal *refusal = test->param_value;
	struct vm_area_struct *vma = refused_vma(test);
	struct vm_area_struct *pvma = fake_vma(test, refusal->nr_pages, 0);
	bool ret;

	pvma->anon_vma = kind_tree(UPGRADED);
	mmap_write_lock(pvma->vm_mm);
	ret = vma_fork_anon_vma_lazy(vma, pvma);
	mmap_write_unlock(pvma->vm_mm);
	KUNIT_EXPECT_EQ(test, ret, refusal->accepted);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
			    refusal->accepted ? kind_tree(PARENT) : NULL);
}

/*
 * What a folio is to become when it is mapped (R8).
 */

/* A folio that nobody has seen. */
static struct folio *new_folio(struct kunit *test, unsigned int order)
{
	struct folio *folio = folio_alloc(GFP_KERNEL | (order ? __GFP_COMP : 0), order);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_folio, folio));
	return folio;
}

static unsigned long lazy_mapping(const struct vm_area_struct *vma)
{
	return (unsigned long)vma->vm_mm + FOLIO_MAPPING_ANON_VMA_LAZY;
}

static unsigned long regular_mapping(const struct anon_vma *anon_vma)
{
	return (unsigned long)anon_vma + FOLIO_MAPPING_ANON;
}

static unsigned long decide(struct folio *folio, struct vm_area_struct *vma,
			    enum kind kind, bool exclusive)
{
	return (unsigned long)vma_anon_mapping(folio, vma, kind_tree(kind), exclusive);
}

static void mapping_decision(struct kunit *test)
{
	struct vm_area_struct *vma = fake_vma(test, AREA_PAGES, 0);
	struct folio *small = new_folio(test, 0);
	struct folio *large = new_folio(test, LARGE_ORDER);
	unsigned long outside_rcu;

	for (enum kind kind = NONE; kind < NR_KINDS; kind++) {
		struct anon_vma *anon_vma = kinds[kind].anon_vma;
		const anon_vma_tree_t tree = kind_tree(kind);
		const bool is_lazy = kinds[kind].is_lazy;

		KUNIT_EXPECT_EQ_MSG(test, vma_makes_anon_lazy(vma, tree, small, true),
				    is_lazy, "%c", kind_names[kind]);
		/* Without a handle nothing is mapped. */
		if (kind != NONE)
			KUNIT_EXPECT_EQ_MSG(test, decide(small, vma, kind, true),
					    is_lazy ? lazy_mapping(vma) :
					    regular_mapping(anon_vma),
					    "%c", kind_names[kind]);
		/* For these a VMA in VMA state has been upgraded before. */
		if (kind == VMA)
			continue;
		/* What others may share belongs to the root. */
		if (anon_vma) {
			KUNIT_EXPECT_EQ_MSG(test, decide(small, vma, kind, false),
					    regular_mapping(anon_vma->root),
					    "%c", kind_names[kind]);
			KUNIT_EXPECT_EQ_MSG(test, decide(large, vma, kind, false),
					    regular_mapping(anon_vma->root),
					    "%c", kind_names[kind]);
			KUNIT_EXPECT_EQ_MSG(test, decide(large, vma, kind, true),
					    regular_mapping(anon_vma),
					    "%c", kind_names[kind]);
		}
		KUNIT_EXPECT_FALSE_MSG(test, vma_makes_anon_lazy(vma, tree, small, false),
				       "%c", kind_names[kind]);
		KUNIT_EXPECT_FALSE_MSG(test, vma_makes_anon_lazy(vma, tree, large, true),
				       "%c", kind_names[kind]);
		KUNIT_EXPECT_FALSE_MSG(test, vma_makes_anon_lazy(vma, tree, large, false),
				       "%c", kind_names[kind]);
	}

	/* As dup_mmap() has it. */
	mmap_write_lock(vma->vm_mm);
	mt_clear_in_rcu(&vma->vm_mm->mm_mt);
	outside_rcu = decide(small, vma, PARENT, true);
	mt_set_in_rcu(&vma->vm_mm->mm_mt);
	mmap_write_unlock(vma->vm_mm);
	KUNIT_EXPECT_EQ(test, outside_rcu, regular_mapping(&some_anon_vma));
}

/*
 * Who maps what cannot be lazy has upgraded the VMA. If not that is a bug, though
 * there is nothing else by which the folio could be found.
 */
static void mapping_bugs(struct kunit *test)
{
	struct vm_area_struct *vma = fake_vma(test, AREA_PAGES, 0);
	struct folio *small = new_folio(test, 0);
	struct folio *large = new_folio(test, LARGE_ORDER);
	const unsigned long lazy = lazy_mapping(vma);

	if (!IS_ENABLED(CONFIG_DEBUG_VM) || !IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "no warnings without CONFIG_DEBUG_VM and CONFIG_BUG");

	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, decide(small, vma, VMA, true), lazy);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
		KUNIT_EXPECT_EQ(test, decide(small, vma, VMA, false), lazy);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		KUNIT_EXPECT_EQ(test, decide(large, vma, VMA, true), lazy);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}

	/* Exclusive, though swap-in does not say so: it is being written back. */
	folio_set_swapbacked(small);
	folio_set_swapcache(small);
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, decide(small, vma, VMA, false), lazy);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test,
						      IS_ENABLED(CONFIG_SWAP) ? 0 : 1);
	}
	folio_clear_swapcache(small);
	folio_clear_swapbacked(small);
}

#ifdef CONFIG_ZONE_DEVICE
/* Device memory, for a moment. */
static void mapping_device(struct kunit *test)
{
	struct vm_area_struct *vma = fake_vma(test, AREA_PAGES, 0);
	struct folio *folio = new_folio(test, 0);
	struct page *page = folio_page(folio, 0);
	const enum zone_type zone = page_zonenum(page);

	set_page_zone(page, ZONE_DEVICE);
	for (enum kind kind = REGULAR; kind < NR_KINDS; kind++) {
		if (kind == VMA)
			continue;
		KUNIT_EXPECT_EQ_MSG(test, decide(folio, vma, kind, true),
				    regular_mapping(kinds[kind].anon_vma),
				    "%c", kind_names[kind]);
	}
	/* With CMA the warning would look in that zone for what is not there. */
	if (IS_ENABLED(CONFIG_DEBUG_VM) && IS_ENABLED(CONFIG_BUG) &&
	    !IS_ENABLED(CONFIG_CMA)) {
		kunit_warning_suppress(test) {
			KUNIT_EXPECT_EQ(test, decide(folio, vma, VMA, true),
					lazy_mapping(vma));
			KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		}
	}
	set_page_zone(page, zone);
}
#else
static void mapping_device(struct kunit *test)
{
	kunit_skip(test, "no device memory without CONFIG_ZONE_DEVICE");
}
#endif

/*
 * The tag in folio->mapping.
 */
static void mapping_kinds(struct kunit *test)
{
	static const struct {
		const char *desc;
		unsigned long mapping;
		bool anon, ksm, lazy, file;
	} mappings[] = {
		{ "none", 0 },
		{ "file", NOWHERE, .file = true },
		{ "anon", NOWHERE | FOLIO_MAPPING_ANON, .anon = true },
		{ "ksm", NOWHERE | FOLIO_MAPPING_KSM, .anon = true, .ksm = true },
		{ "lazy", NOWHERE | FOLIO_MAPPING_ANON_VMA_LAZY, .anon = true,
		  .lazy = true },
	};
	struct folio *folio = folio_alloc(GFP_KERNEL, 0);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_lock(folio);
	for (int i = 0; i < ARRAY_SIZE(mappings); i++) {
		const unsigned long mapping = mappings[i].mapping;
		const char *desc = mappings[i].desc;
		struct page *page = folio_page(folio, 0);

		if (mappings[i].ksm && !IS_ENABLED(CONFIG_KSM))
			continue;
		folio->mapping = (void *)mapping;
		KUNIT_EXPECT_EQ_MSG(test, folio_test_anon(folio), mappings[i].anon,
				    "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, folio_test_ksm(folio), mappings[i].ksm,
				    "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, PageAnonNotKsm(page),
				    mappings[i].anon && !mappings[i].ksm, "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, folio_test_anon_vma_lazy(folio),
				    mappings[i].lazy, "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, (unsigned long)folio_anon_mm_lazy(folio),
				    mappings[i].lazy ?
				    mapping - FOLIO_MAPPING_ANON_VMA_LAZY : 0,
				    "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, (unsigned long)folio_anon_vma(folio),
				    mappings[i].anon && !mappings[i].ksm &&
				    !mappings[i].lazy ? mapping - FOLIO_MAPPING_ANON : 0,
				    "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, (unsigned long)folio_mapping(folio),
				    mappings[i].file ? mapping : 0, "%s", desc);
		KUNIT_EXPECT_EQ_MSG(test, folio_anon_rmap_is_stale(folio),
				    !mappings[i].ksm, "%s", desc);
	}
	folio->mapping = NULL;
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * From one state to another, by real faults, forks and merges.
 */

static void first_fault(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *first, *last;

	first = fault(test, current->mm, AREA);
	expect_lazy_vma(test, vma);
	last = fault(test, current->mm, AREA + AREA_SIZE - PAGE_SIZE);
	expect_lazy_vma(test, vma);
	expect_lazy(test, first, vma, AREA);
	expect_lazy(test, last, vma, AREA + AREA_SIZE - PAGE_SIZE);
}

static void first_fault_switched_off(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *folio;

	switch_off();
	folio = fault(test, current->mm, AREA);
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_ASSERT_NOT_NULL(test, vma_anon_vma(vma));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	expect_regular(test, folio, vma_anon_vma(vma), 1);
}

/* A write fault by the VMA lock alone. */
static vm_fault_t fault_by_vma_lock(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = lock_vma_under_rcu(mm, addr);
	vm_fault_t ret;

	if (!vma)
		return VM_FAULT_SIGSEGV;
	ret = handle_mm_fault(vma, addr, FAULT_FLAG_VMA_LOCK | FAULT_FLAG_WRITE |
			      FAULT_FLAG_ALLOW_RETRY, NULL);
	if (!(ret & VM_FAULT_RETRY))
		vma_end_read(vma);
	return ret;
}

/* A VMA writer elsewhere does not matter, unless an anon_vma is needed. */
static void first_fault_vma_lock(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *big;
	vm_fault_t ret, big_ret;

	big = map(test, AREA + SZ_4M, ANON_VMA_LAZY_MAX - PAGE_SIZE);
	KUNIT_ASSERT_PTR_EQ(test, big, map(test, big->vm_end, PAGE_SIZE));

	mmap_write_lock(current->mm);
	ret = fault_by_vma_lock(current->mm, AREA);
	big_ret = fault_by_vma_lock(current->mm, big->vm_start);
	mmap_write_unlock(current->mm);

	KUNIT_EXPECT_FALSE(test, ret & (VM_FAULT_RETRY | VM_FAULT_ERROR));
	expect_lazy_vma(test, vma);
	KUNIT_EXPECT_TRUE(test, big_ret & VM_FAULT_RETRY);
	KUNIT_EXPECT_NULL(test, big->anon_vma);
}

/* The bound is for the first fault, and for the one after a VMA has grown. */
static void outgrow(struct kunit *test)
{
	const unsigned long size = ANON_VMA_LAZY_MAX - PAGE_SIZE;
	struct vm_area_struct *vma = map(test, AREA, size);
	struct folio *before, *after;

	before = fault(test, current->mm, AREA);
	expect_lazy_vma(test, vma);

	KUNIT_ASSERT_PTR_EQ(test, map(test, AREA + size, PAGE_SIZE), vma);
	expect_lazy_vma(test, vma);

	after = fault(test, current->mm, AREA + size);
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_UPGRADED);
	expect_lazy(test, before, vma, AREA);
	expect_regular(test, after, vma_anon_vma(vma), 1);
}

static void large_from_the_start(struct kunit *test)
{
	/* Where no huge page fits. */
	const unsigned long addr = AREA + PAGE_SIZE;
	struct vm_area_struct *vma = map(test, addr, ANON_VMA_LAZY_MAX);
	struct folio *folio = fault(test, current->mm, addr);

	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_ASSERT_NOT_NULL(test, vma_anon_vma(vma));
	expect_regular(test, folio, vma_anon_vma(vma), 1);
}

/* An upgrade visits no folio, and is final as far as faults can tell. */
static void upgrade_vma(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *before, *after;
	anon_vma_tree_t tree;

	before = fault(test, current->mm, AREA);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);

	tree = vma->anon_vma;
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_UPGRADED);
	KUNIT_ASSERT_NOT_NULL(test, vma_anon_vma(vma));
	KUNIT_EXPECT_EQ(test, vma_anon_vma(vma)->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(vma, vma_anon_vma(vma)));

	after = fault(test, current->mm, AREA + PAGE_SIZE);
	expect_lazy(test, before, vma, AREA);
	expect_regular(test, after, vma_anon_vma(vma), 1);

	KUNIT_EXPECT_EQ(test, upgrade(vma), 0);
	KUNIT_EXPECT_TRUE(test, prepare(vma));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, tree);
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
}

/* There is nothing to upgrade in a VMA that is not lazy. */
static void upgrade_others(struct kunit *test)
{
	static const enum kind others[] = { NONE, REGULAR, UPGRADED };
	struct vm_area_struct *vma = fake_vma(test, AREA_PAGES, 0);

	for (int i = 0; i < ARRAY_SIZE(others); i++) {
		vma->anon_vma = kind_tree(others[i]);
		KUNIT_EXPECT_EQ_MSG(test, upgrade(vma), 0, "%c", kind_names[others[i]]);
		KUNIT_EXPECT_PTR_EQ_MSG(test, vma->anon_vma, kind_tree(others[i]), "%c",
					kind_names[others[i]]);
		KUNIT_EXPECT_TRUE_MSG(test, list_empty(&vma->anon_vma_chain), "%c",
				      kind_names[others[i]]);
	}
}

static void upgraded_to_regular(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct anon_vma *anon_vma;
	struct folio *folio;

	folio = fault(test, current->mm, AREA);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	anon_vma = vma_anon_vma(vma);

	make_regular(vma);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_REGULAR));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	expect_regular(test, folio, anon_vma, 1);
}

/* Whoever has no anon_vma cannot give one to its folios. */
static void others_stay_irregular(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *folio;

	make_regular(vma);
	KUNIT_EXPECT_NULL(test, vma->anon_vma);

	folio = fault(test, current->mm, AREA);
	make_regular(vma);
	expect_lazy_vma(test, vma);
	expect_lazy(test, folio, vma, AREA);

	child = fork_vma(test, vma, true);
	folio = fault(test, child->vm_mm, AREA);
	make_regular(child);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	expect_lazy(test, folio, child, AREA);
}

static const struct unlink {
	const char *desc;
	enum anon_vma_tree_state state;
	bool faulted, forked;
} unlinks[] = {
	{ "none", ANON_VMA_TREE_REGULAR },
	{ "vma", ANON_VMA_TREE_VMA, .faulted = true },
	{ "upgraded", ANON_VMA_TREE_UPGRADED, .faulted = true },
	{ "regular", ANON_VMA_TREE_REGULAR, .faulted = true },
	{ "parent", ANON_VMA_TREE_PARENT, .faulted = true, .forked = true },
	{ "forked_upgraded", ANON_VMA_TREE_UPGRADED, .faulted = true, .forked = true },
	{ "forked_regular", ANON_VMA_TREE_REGULAR, .faulted = true, .forked = true },
};

KUNIT_ARRAY_PARAM_DESC(unlinks, unlinks, desc);

/* Whatever a VMA was, it starts anew; only an owner was counted. */
static void unlink(struct kunit *test)
{
	const struct unlink *unlink = test->param_value;
	struct vm_area_struct *vma = map_area(test);
	struct anon_vma *parent = NULL, *own;

	if (unlink->faulted)
		fault(test, current->mm, AREA);
	if (unlink->forked) {
		struct vm_area_struct *pvma = vma;

		vma = fork_vma(test, pvma, true);
		parent = vma_anon_vma(pvma);
		fault(test, vma->vm_mm, AREA);
	}
	if (unlink->state == ANON_VMA_TREE_UPGRADED ||
	    unlink->state == ANON_VMA_TREE_REGULAR)
		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	if (unlink->state == ANON_VMA_TREE_REGULAR)
		make_regular(vma);
	KUNIT_ASSERT_EQ(test, vma_state(vma), unlink->state);
	KUNIT_ASSERT_EQ(test, !!vma->anon_vma, unlink->faulted);

	switch_off();
	own = vma_is_anon_vma_lazy(vma) ? NULL : vma_anon_vma(vma);
	if (own)
		get_anon_vma(own);

	mmap_write_lock(vma->vm_mm);
	vma_start_write(vma);
	zap_vma(vma);
	unlink_anon_vmas(vma);
	mmap_write_unlock(vma->vm_mm);

	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
	if (own) {
		KUNIT_EXPECT_EQ(test, own->num_active_vmas, 0);
		/* Nor is the root its own child any more. */
		KUNIT_EXPECT_EQ(test, own->num_children, 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&own->refcount), 1);
		put_anon_vma(own);
	}
	if (parent) {
		KUNIT_EXPECT_EQ(test, parent->num_active_vmas, 1);
		KUNIT_EXPECT_EQ(test, parent->num_children, 1);
	}
}

/* Lazy in the wrong place can be found, without an anon_vma it could not. */
static void folio_stays_lazy(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *folio;

	if (!IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "no warnings without CONFIG_BUG");

	folio = fault(test, current->mm, AREA);
	mmap_read_lock(vma->vm_mm);
	folio_lock(folio);
	kunit_warning_suppress(test) {
		folio_make_anon_regular(folio, vma, ANON_VMA_LAZY_MREMAP);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	folio_unlock(folio);
	mmap_read_unlock(vma->vm_mm);
	expect_lazy(test, folio, vma, AREA);

	/* It names an anon_vma, but that is its parent's. */
	child = fork_vma(test, vma, true);
	folio = fault(test, child->vm_mm, AREA);
	mmap_read_lock(child->vm_mm);
	folio_lock(folio);
	kunit_warning_suppress(test) {
		folio_make_anon_regular(folio, child, ANON_VMA_LAZY_MREMAP);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	folio_unlock(folio);
	mmap_read_unlock(child->vm_mm);
	expect_lazy(test, folio, child, AREA);
}

static void fork_upgrades_parent(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct anon_vma *anon_vma;
	struct folio *folio;

	folio = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, false);
	anon_vma = vma_anon_vma(vma);
	KUNIT_ASSERT_NOT_NULL(test, anon_vma);

	/* Before anything is copied nothing lazy is left. */
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	expect_regular(test, folio, anon_vma, 1);
	KUNIT_EXPECT_PTR_EQ(test, child->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_PARENT));
	/* What is named is on the chain; the child does not count. */
	KUNIT_EXPECT_EQ(test, chain_length(child), 1);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(child, anon_vma));
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);

	switch_off();
	kunit_release_action(test, put_mm, child->vm_mm);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
}

static void fork_shares(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *shared, *own;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);

	/* Both map it, so what finds it must find both. Nothing lazy is left. */
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	expect_regular(test, shared, vma_anon_vma(vma), 2);

	/* The child's own are lazy. */
	own = fault(test, child->vm_mm, AREA);
	KUNIT_EXPECT_PTR_NE(test, own, shared);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	expect_lazy(test, own, child, AREA);
	expect_lazy(test, fault(test, child->vm_mm, AREA + PAGE_SIZE), child,
		    AREA + PAGE_SIZE);
	expect_regular(test, shared, vma_anon_vma(vma), 1);

	/* The parent's are not, any more. */
	expect_regular(test, fault(test, current->mm, AREA + 2 * PAGE_SIZE),
		       vma_anon_vma(vma), 1);

	KUNIT_EXPECT_TRUE(test, folio_maybe_same_anon_vma(own, child));
	KUNIT_EXPECT_FALSE(test, folio_maybe_same_anon_vma(own, vma));
	KUNIT_EXPECT_TRUE(test, folio_maybe_same_anon_vma(shared, child));
	KUNIT_EXPECT_TRUE(test, folio_maybe_same_anon_vma(shared, vma));
}

/* What it has not written itself a forked VMA passes on as it came. */
static void fork_passes_on(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child, *grandchild, *sibling;
	struct folio *shared, *own;
	struct anon_vma *anon_vma;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	grandchild = fork_vma(test, child, true);

	KUNIT_EXPECT_PTR_EQ(test, child->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_PARENT));
	KUNIT_EXPECT_PTR_EQ(test, grandchild->anon_vma, child->anon_vma);
	KUNIT_EXPECT_EQ(test, chain_length(child), 1);
	KUNIT_EXPECT_EQ(test, chain_length(grandchild), 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
	expect_regular(test, shared, anon_vma, 3);

	/* Its own need an anon_vma that finds them in the next child only. */
	own = fault(test, child->vm_mm, AREA + PAGE_SIZE);
	expect_lazy(test, own, child, AREA + PAGE_SIZE);
	sibling = fork_vma(test, child, true);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(child), anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, sibling->anon_vma,
			    anon_vma_tree(vma_anon_vma(child), ANON_VMA_TREE_PARENT));
	KUNIT_EXPECT_EQ(test, chain_length(sibling), 2);
	KUNIT_EXPECT_FALSE(test, anon_vma_chain_has(grandchild, vma_anon_vma(child)));
	expect_regular(test, own, vma_anon_vma(child), 2);
	expect_regular(test, shared, anon_vma, 4);
}

/* But for what KSM may merge: its pages are to be found by way of each VMA. */
static void fork_mergeable(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child, *grandchild;

	fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	mmap_write_lock(child->vm_mm);
	vm_flags_set(child, VM_MERGEABLE);
	mmap_write_unlock(child->vm_mm);
	grandchild = fork_vma(test, child, true);

	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(child), vma_anon_vma(vma));
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(grandchild, vma_anon_vma(child)));
	KUNIT_EXPECT_FALSE(test, vma_anon_vma(vma)->passed_on);
}

static struct anon_vma *upgrade_for_ksm(struct vm_area_struct *vma,
					struct folio *folio, struct folio *kfolio,
					unsigned long address)
{
	struct anon_vma *anon_vma;

	mmap_read_lock(vma->vm_mm);
	anon_vma = vma_upgrade_for_ksm(vma, folio_page(folio, 0),
				       kfolio ? folio_page(kfolio, 0) : NULL,
				       address);
	mmap_read_unlock(vma->vm_mm);
	return anon_vma;
}

/* What is not replaced or exclusive may be mapped by children of before, too. */
static void upgrade_ksm(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *sibling, *child, *grandchild;
	struct folio *shared, *own, *other;

	shared = fault(test, current->mm, AREA);
	other = fault(test, current->mm, AREA + 2 * PAGE_SIZE);
	sibling = fork_vma(test, vma, true);
	KUNIT_EXPECT_FALSE(test, vma_anon_vma(vma)->passed_on);
	KUNIT_EXPECT_PTR_NE(test, upgrade_for_ksm(sibling, shared, NULL, AREA),
			    vma_anon_vma(vma));

	child = fork_vma(test, vma, true);
	grandchild = fork_vma(test, child, true);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	KUNIT_EXPECT_TRUE(test, vma_anon_vma(vma)->passed_on);
	own = fault(test, child->vm_mm, AREA + PAGE_SIZE);

	/* Moved while nobody looked, perhaps within the VMA */
	KUNIT_EXPECT_PTR_EQ(test, upgrade_for_ksm(child, own, NULL, AREA),
			    ERR_PTR(-EFAULT));
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);

	KUNIT_EXPECT_PTR_EQ(test, upgrade_for_ksm(child, own, NULL, AREA + PAGE_SIZE),
			    vma_anon_vma(child));
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_UPGRADED);
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(child), vma_anon_vma(vma));
	KUNIT_EXPECT_FALSE(test, anon_vma_chain_has(grandchild, vma_anon_vma(child)));

	KUNIT_EXPECT_PTR_EQ(test, upgrade_for_ksm(child, shared, NULL, AREA),
			    vma_anon_vma(vma));
	KUNIT_EXPECT_PTR_EQ(test, upgrade_for_ksm(child, shared, shared, AREA),
			    vma_anon_vma(vma));
	KUNIT_EXPECT_PTR_EQ(test, upgrade_for_ksm(child, shared, other, AREA),
			    vma_anon_vma(child));
}

/* An anon_vma without an owner goes to the VMA that forks, not to its children. */
static void fork_orphan(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child, *grandchild;
	struct anon_vma *anon_vma;
	struct folio *shared;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	switch_off();
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	grandchild = fork_vma(test, child, true);

	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_PTR_EQ(test, vma_anon_vma(child), anon_vma);
	KUNIT_EXPECT_EQ(test, chain_length(child), 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(grandchild), anon_vma);
	KUNIT_EXPECT_EQ(test, chain_length(grandchild), 2);
	expect_regular(test, shared, anon_vma, 2);
}

/* Both parts of a forked VMA are linked to the ancestors; neither is an owner. */
static void fork_split(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child, *right;
	struct mm_struct *mm = new_mm(test);
	struct anon_vma *anon_vma;
	struct vma_iterator vmi;
	int err;

	fault(test, current->mm, AREA);
	child = fork_vma_to(test, mm, vma, true);
	anon_vma = vma_anon_vma(vma);

	mmap_write_lock(mm);
	vma_iter_init(&vmi, mm, AREA);
	vma_iter_load(&vmi);
	err = split_vma(&vmi, child, AREA + 4 * PAGE_SIZE, 0);
	mmap_write_unlock(mm);
	KUNIT_ASSERT_EQ(test, err, 0);

	right = vma_at(mm, AREA + 4 * PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, right);
	KUNIT_ASSERT_PTR_NE(test, right, child);
	KUNIT_EXPECT_PTR_EQ(test, right->anon_vma, child->anon_vma);
	KUNIT_EXPECT_EQ(test, vma_state(right), ANON_VMA_TREE_PARENT);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(right, anon_vma));
	KUNIT_EXPECT_EQ(test, chain_length(right), 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
}

static void fork_switched_off(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct anon_vma *anon_vma;

	fault(test, current->mm, AREA);
	switch_off();
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(child);

	KUNIT_ASSERT_NOT_NULL(test, anon_vma);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_PTR_NE(test, anon_vma, vma_anon_vma(vma));
	KUNIT_EXPECT_EQ(test, chain_length(child), 2);
	expect_regular(test, fault(test, child->vm_mm, AREA), anon_vma, 1);
}

static void fork_nothing(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;

	child = fork_vma(test, vma, true);
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_NULL(test, child->anon_vma);
	KUNIT_EXPECT_TRUE(test, list_empty(&child->anon_vma_chain));

	fault(test, child->vm_mm, AREA);
	expect_lazy_vma(test, child);
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
}

static void upgrade_parent(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct anon_vma *anon_vma, *own;
	struct folio *shared, *lazy;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	lazy = fault(test, child->vm_mm, AREA + PAGE_SIZE);
	anon_vma = vma_anon_vma(vma);
	KUNIT_ASSERT_EQ(test, upgrade(child), 0);
	own = vma_anon_vma(child);

	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_UPGRADED);
	KUNIT_ASSERT_PTR_NE(test, own, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, own->parent, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, own->root, anon_vma->root);
	KUNIT_EXPECT_EQ(test, own->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	/* The root counts as a child of itself. */
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 2);
	KUNIT_EXPECT_EQ(test, chain_length(child), 2);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(child, own));
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(child, anon_vma));

	expect_regular(test, shared, anon_vma, 2);
	expect_lazy(test, lazy, child, AREA + PAGE_SIZE);
	expect_regular(test, fault(test, child->vm_mm, AREA), own, 1);

	/* Its exit leaves the parent as it was. */
	switch_off();
	kunit_release_action(test, put_mm, child->vm_mm);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	expect_regular(test, shared, anon_vma, 1);
}

/* A chain of forks whose parents exit does not grow a chain of anon_vmas. */
static void upgrade_orphan(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct anon_vma *anon_vma;

	fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	switch_off();
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);

	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 0);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	KUNIT_ASSERT_EQ(test, upgrade(child), 0);
	KUNIT_EXPECT_PTR_EQ(test, child->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED));
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, chain_length(child), 1);
}

/* Of two that could be taken over it takes one. */
static void upgrade_orphans(struct kunit *test)
{
	struct anon_vma *anon_vma[3];
	struct vm_area_struct *vma[4];

	vma[0] = map_area(test);
	for (int i = 0; i < 3; i++) {
		fault(test, vma[i]->vm_mm, AREA);
		vma[i + 1] = fork_vma(test, vma[i], true);
		anon_vma[i] = vma_anon_vma(vma[i]);
	}
	switch_off();
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	kunit_release_action(test, put_mm, vma[1]->vm_mm);
	kunit_release_action(test, put_mm, vma[2]->vm_mm);

	/* The root counts itself as a child. */
	KUNIT_ASSERT_EQ(test, upgrade(vma[3]), 0);
	KUNIT_EXPECT_EQ(test, vma_state(vma[3]), ANON_VMA_TREE_UPGRADED);
	KUNIT_EXPECT_EQ(test, vma_anon_vma(vma[3])->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma[0]->num_active_vmas, 0);
	KUNIT_EXPECT_EQ(test, anon_vma[1]->num_active_vmas +
			      anon_vma[2]->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, chain_length(vma[3]), 3);
}

/* A write fault that finds the page exclusive takes it over as it is. */
static void reuse_makes_lazy(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *folio;
	unsigned long pfn;

	folio = fault(test, current->mm, AREA);
	pfn = folio_pfn(folio);
	/* A page that others refer to is copied. */
	kunit_release_action(test, put_folio, folio);
	child = fork_vma(test, vma, true);
	switch_off();
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	lru_add_drain_all();

	folio = fault(test, child->vm_mm, AREA);
	KUNIT_EXPECT_EQ(test, folio_pfn(folio), pfn);
	expect_lazy(test, folio, child, AREA);
}

/* Two VMAs with this between them differ in access only: they may share. */
static struct vm_area_struct *map_neighbour(struct kunit *test)
{
	return map_prot(test, AREA + AREA_SIZE, AREA_SIZE,
			PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void upgrade_shares(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct vm_area_struct *neighbour = map_neighbour(test);
	struct folio *folio = fault(test, current->mm, AREA);

	fault(test, current->mm, AREA + AREA_SIZE);
	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, neighbour->anon_vma);
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(vma, vma_anon_vma(neighbour)));
	KUNIT_EXPECT_EQ(test, vma_anon_vma(neighbour)->num_active_vmas, 2);
	expect_lazy(test, folio, vma, AREA);
}

/* A lazy neighbour has nothing to share, even if it names an anon_vma. */
static void upgrade_shares_not(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct vm_area_struct *neighbour = map_neighbour(test);
	struct mm_struct *mm;

	fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	mm = child->vm_mm;
	neighbour = fork_vma_to(test, mm, neighbour, true);
	fault(test, mm, AREA + AREA_SIZE);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
	KUNIT_EXPECT_EQ(test, chain_length(child), 1);
	expect_lazy_vma(test, neighbour);

	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	KUNIT_EXPECT_EQ(test, vma_state(neighbour), ANON_VMA_TREE_UPGRADED);
	KUNIT_ASSERT_NOT_NULL(test, vma_anon_vma(neighbour));
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(neighbour), vma_anon_vma(vma));
	KUNIT_EXPECT_EQ(test, vma_anon_vma(vma)->num_active_vmas, 1);

	/* Nor does one with another chain share: what is inherited is not on it. */
	KUNIT_ASSERT_EQ(test, upgrade(child), 0);
	KUNIT_EXPECT_PTR_NE(test, vma_anon_vma(child), vma_anon_vma(neighbour));
	KUNIT_EXPECT_EQ(test, chain_length(child), 2);
}

/* A forked VMA shares with one that has the same ancestors, before or behind it. */
static void upgrade_parent_shares(struct kunit *test)
{
	struct vm_area_struct *vmas[2] = { map_area(test), map_neighbour(test) };
	struct anon_vma *anon_vma;

	fault(test, current->mm, AREA);
	fault(test, current->mm, AREA + AREA_SIZE);
	KUNIT_ASSERT_EQ(test, upgrade(vmas[0]), 0);
	KUNIT_ASSERT_EQ(test, upgrade(vmas[1]), 0);
	KUNIT_ASSERT_PTR_EQ(test, vmas[0]->anon_vma, vmas[1]->anon_vma);
	anon_vma = vma_anon_vma(vmas[0]);

	for (int i = 0; i < 2; i++) {
		struct vm_area_struct *owner, *child;
		struct mm_struct *mm = new_mm(test);
		struct anon_vma *own;
		struct folio *lazy;
		unsigned long addr;

		owner = fork_vma_to(test, mm, vmas[i], true);
		child = fork_vma_to(test, mm, vmas[!i], true);
		addr = child->vm_start;
		lazy = fault(test, mm, addr);
		KUNIT_ASSERT_EQ(test, upgrade(owner), 0);
		own = vma_anon_vma(owner);
		KUNIT_ASSERT_PTR_EQ(test, own->parent, anon_vma);
		KUNIT_EXPECT_EQ(test, own->num_active_vmas, 1);
		KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_PARENT);
		KUNIT_EXPECT_EQ(test, anon_vma->num_children, 2 + i);

		KUNIT_ASSERT_EQ(test, upgrade(child), 0);
		KUNIT_EXPECT_PTR_EQ(test, child->anon_vma,
				    anon_vma_tree(own, ANON_VMA_TREE_UPGRADED));
		KUNIT_EXPECT_EQ(test, chain_length(child), 2);
		KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(child, own));
		KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(child, anon_vma));
		/* One more owner, but no more anon_vmas. */
		KUNIT_EXPECT_EQ(test, own->num_active_vmas, 2);
		KUNIT_EXPECT_EQ(test, own->num_children, 0);
		KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 2);
		KUNIT_EXPECT_EQ(test, anon_vma->num_children, 2 + i);
		expect_lazy(test, lazy, child, addr);
		expect_regular(test, fault(test, mm, addr + PAGE_SIZE), own, 1);
	}
}

/*
 * That a VMA was passed on is noted where it will be looked for, also if what the
 * neighbour's anon_vma is a child of is another one of the same chain: of ancestors
 * without owners each VMA takes over one.
 */
static void upgrade_shares_note(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *neighbour = map_neighbour(test);
	struct mm_struct *mm = new_mm(test), *child_mm = new_mm(test);
	struct anon_vma *anon_vma, *own;

	fault(test, current->mm, AREA);
	fault(test, current->mm, AREA + AREA_SIZE);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	anon_vma = vma_anon_vma(vma);
	vma = fork_vma_to(test, mm, vma, true);
	neighbour = fork_vma_to(test, mm, neighbour, true);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	own = vma_anon_vma(vma);
	KUNIT_ASSERT_PTR_EQ(test, vma_anon_vma(neighbour), own);
	vma = fork_vma_to(test, child_mm, vma, true);
	neighbour = fork_vma_to(test, child_mm, neighbour, true);
	KUNIT_ASSERT_EQ(test, chain_length(vma), 2);

	vma->anon_vma = anon_vma_tree(anon_vma, ANON_VMA_TREE_PARENT);
	anon_vma->passed_on = true;
	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	KUNIT_EXPECT_PTR_EQ(test, vma_anon_vma(neighbour)->parent, own);
	KUNIT_EXPECT_FALSE(test, own->passed_on);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	KUNIT_EXPECT_PTR_EQ(test, vma_anon_vma(vma), vma_anon_vma(neighbour));
	KUNIT_EXPECT_TRUE(test, own->passed_on);
}

/* Two threads find a VMA lazy. What the slower one then does changes nothing. */
static void upgrade_too_late(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct vm_area_struct *neighbour = map_neighbour(test);
	struct anon_vma *anon_vma;
	anon_vma_tree_t tree;
	struct mm_struct *mm;
	int err;

	fault(test, current->mm, AREA);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	tree = vma->anon_vma;
	anon_vma = vma_anon_vma(vma);
	mmap_read_lock(current->mm);
	err = __anon_vma_prepare(vma);
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, tree);
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);

	/* With a neighbour whose anon_vma it could have, it gets as far as that. */
	child = fork_vma(test, vma, true);
	mm = child->vm_mm;
	neighbour = fork_vma_to(test, mm, neighbour, true);
	fault(test, mm, AREA + AREA_SIZE);
	KUNIT_ASSERT_EQ(test, upgrade(neighbour), 0);
	KUNIT_ASSERT_EQ(test, upgrade(child), 0);
	tree = child->anon_vma;
	mmap_read_lock(mm);
	err = anon_vma_prepare_child(child, anon_vma);
	mmap_read_unlock(mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_PTR_EQ(test, child->anon_vma, tree);
	KUNIT_EXPECT_EQ(test, chain_length(child), 2);
	KUNIT_EXPECT_EQ(test, vma_anon_vma(child)->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, vma_anon_vma(neighbour)->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 2);
}

static const struct merge {
	const char *desc;
	enum anon_vma_tree_state left, merged;
} merges[] = {
	{ "vma", ANON_VMA_TREE_VMA, ANON_VMA_TREE_VMA },
	{ "upgraded", ANON_VMA_TREE_UPGRADED, ANON_VMA_TREE_UPGRADED },
	{ "regular", ANON_VMA_TREE_REGULAR, ANON_VMA_TREE_UPGRADED },
};

KUNIT_ARRAY_PARAM_DESC(merges, merges, desc);

/* Both parts of a split keep its state; what fills the gap merges them all. */
static void split_and_merge(struct kunit *test)
{
	const unsigned long third = AREA_SIZE / 3, right_addr = AREA + 2 * third;
	const struct merge *merge = test->param_value;
	struct vm_area_struct *left, *right;
	struct folio *left_folio, *right_folio;
	struct anon_vma *anon_vma;

	map_area(test);
	left_folio = fault(test, current->mm, AREA);
	right_folio = fault(test, current->mm, right_addr);
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA + third, third), 0);
	left = vma_at(current->mm, AREA);
	right = vma_at(current->mm, right_addr);
	KUNIT_ASSERT_NOT_NULL(test, left);
	KUNIT_ASSERT_NOT_NULL(test, right);
	expect_lazy_vma(test, left);
	expect_lazy_vma(test, right);
	expect_lazy(test, left_folio, left, AREA);
	expect_lazy(test, right_folio, right, right_addr);

	if (merge->left != ANON_VMA_TREE_VMA)
		KUNIT_ASSERT_EQ(test, upgrade(left), 0);
	if (merge->left == ANON_VMA_TREE_REGULAR)
		make_regular(left);
	KUNIT_ASSERT_EQ(test, vma_state(left), merge->left);
	anon_vma = vma_anon_vma(left);

	left = map(test, AREA + third, third);
	KUNIT_ASSERT_PTR_EQ(test, vma_at(current->mm, AREA), left);
	KUNIT_ASSERT_PTR_EQ(test, vma_at(current->mm, right_addr), left);
	KUNIT_EXPECT_PTR_EQ(test, left->anon_vma, anon_vma_tree(anon_vma, merge->merged));
	KUNIT_EXPECT_EQ(test, chain_length(left), anon_vma ? 1 : 0);

	if (merge->left == ANON_VMA_TREE_REGULAR)
		expect_regular(test, left_folio, anon_vma, 1);
	else
		expect_lazy(test, left_folio, left, AREA);
	expect_lazy(test, right_folio, left, right_addr);
}

/* Wait until @vma is lazy or, if there is one, only until @folio is. */
static bool becomes_lazy(struct vm_area_struct *vma, const struct folio *folio,
			 unsigned long timeout)
{
	const unsigned long end = jiffies + timeout;

	while (folio ? !folio_test_anon_vma_lazy(folio) :
		       READ_ONCE(vma->anon_vma) != lazy_tree()) {
		if (time_after(jiffies, end))
			return false;
		msleep(50);
	}
	/* Whoever has stored that holds this until the end. */
	mmap_write_lock(vma->vm_mm);
	mmap_write_unlock(vma->vm_mm);
	return true;
}

/* REGULAR, UPGRADED and PARENT to VMA: once nobody shares the memory any more. */
static void back_in_parent(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child, *second;
	struct folio *shared, *lazy;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	second = fork_vma(test, vma, true);
	lazy = fault(test, child->vm_mm, AREA + PAGE_SIZE);
	expect_regular(test, shared, vma_anon_vma(vma), 3);

	/* One process is left that shares it. */
	kunit_release_action(test, put_mm, second->vm_mm);
	KUNIT_EXPECT_FALSE(test, becomes_lazy(vma, NULL, 2 * HZ));
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	expect_regular(test, shared, vma_anon_vma(vma), 2);

	kunit_release_action(test, put_mm, child->vm_mm);
	KUNIT_EXPECT_TRUE(test, becomes_lazy(vma, NULL, PATIENCE));
	expect_lazy_vma(test, vma);
	expect_lazy(test, shared, vma, AREA);
	KUNIT_EXPECT_NULL(test, resolve(lazy));
}

static void back_in_child(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *shared, *lazy;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	lazy = fault(test, child->vm_mm, AREA + PAGE_SIZE);

	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, becomes_lazy(child, NULL, PATIENCE));
	expect_lazy_vma(test, child);
	expect_lazy(test, shared, child, AREA);
	expect_lazy(test, lazy, child, AREA + PAGE_SIZE);
}

/* From UPGRADED, with folios of all kinds. */
static void back_in_upgraded(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *shared, *lazy, *regular;
	struct anon_vma *anon_vma, *own;
	bool went_back;

	shared = fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	lazy = fault(test, child->vm_mm, AREA + PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, upgrade(child), 0);
	own = vma_anon_vma(child);
	regular = fault(test, child->vm_mm, AREA + 2 * PAGE_SIZE);
	expect_regular(test, shared, anon_vma, 2);
	expect_lazy(test, lazy, child, AREA + PAGE_SIZE);
	expect_regular(test, regular, own, 1);
	KUNIT_EXPECT_EQ(test, vma_state(child), ANON_VMA_TREE_UPGRADED);

	get_anon_vma(anon_vma);
	get_anon_vma(own);
	KUNIT_EXPECT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	went_back = becomes_lazy(child, NULL, PATIENCE);
	if (went_back) {
		KUNIT_EXPECT_EQ(test, own->num_active_vmas, 0);
		KUNIT_EXPECT_EQ(test, own->num_children, 0);
		KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 0);
		KUNIT_EXPECT_EQ(test, anon_vma->num_children, 0);
	}
	put_anon_vma(own);
	put_anon_vma(anon_vma);

	KUNIT_ASSERT_TRUE(test, went_back);
	expect_lazy_vma(test, child);
	expect_lazy(test, shared, child, AREA);
	expect_lazy(test, lazy, child, AREA + PAGE_SIZE);
	expect_lazy(test, regular, child, AREA + 2 * PAGE_SIZE);
}

/* What stops half way has lost nothing, and goes on when it can. */
static void back_half_way(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *first, *last;
	struct anon_vma *anon_vma;

	first = fault(test, current->mm, AREA);
	last = fault(test, current->mm, AREA + PAGE_SIZE);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);

	/* As a walker does that has found it by its anon_vma: that is not waited for. */
	folio_lock(last);
	kunit_release_action(test, put_mm, child->vm_mm);
	KUNIT_EXPECT_TRUE(test, becomes_lazy(vma, first, PATIENCE));
	/* Keep out what tries again meanwhile. */
	mmap_read_lock(current->mm);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	KUNIT_EXPECT_TRUE(test, anon_vma_chain_has(vma, anon_vma));
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
	expect_lazy(test, first, vma, AREA);
	expect_rmap_locked(test, last, anon_rmap_from_anon_vma(anon_vma));
	folio_unlock(last);
	expect_regular(test, last, anon_vma, 1);
	mmap_read_unlock(current->mm);

	KUNIT_EXPECT_TRUE(test, becomes_lazy(vma, NULL, PATIENCE));
	expect_lazy_vma(test, vma);
	expect_lazy(test, first, vma, AREA);
	expect_lazy(test, last, vma, AREA + PAGE_SIZE);
}

/* What cannot be lazy keeps its anon_vma, the others do without. */
static void back_not_large(struct kunit *test)
{
	const unsigned long large_addr = AREA + LARGE_PAGES * PAGE_SIZE;
	struct vm_area_struct *vma = map_area(test), *child;
	struct folio *small, *large;
	struct anon_vma *anon_vma;

	small = fault(test, current->mm, AREA);
	large = fault_large(test, vma, large_addr);
	child = fork_vma(test, vma, true);
	anon_vma = vma_anon_vma(vma);
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	expect_regular(test, small, anon_vma, 2);
	expect_regular(test, large, anon_vma, 2 * LARGE_PAGES);

	kunit_release_action(test, put_mm, child->vm_mm);
	KUNIT_EXPECT_TRUE(test, becomes_lazy(vma, small, PATIENCE));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
			    anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
	expect_lazy(test, small, vma, AREA);
	expect_regular(test, large, anon_vma, LARGE_PAGES);
}

/*
 * Who finds the VMA of a folio.
 */

static void resolve_locks(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *folio = fault(test, current->mm, AREA);
	const int refs = refcount_read(&vma->vm_refcnt);
	anon_rmap_t rmap;
	int refs_locked;

	folio_lock(folio);
	rmap = folio_trylock_anon_rmap_lazy(folio);
	refs_locked = refcount_read(&vma->vm_refcnt);
	if (!IS_ERR_OR_NULL(rmap))
		anon_rmap_unlock_read(rmap);
	folio_unlock(folio);

	KUNIT_EXPECT_PTR_EQ(test, rmap, anon_rmap_from_vma(vma));
	KUNIT_EXPECT_EQ(test, refs_locked, refs + 1);
	KUNIT_EXPECT_EQ(test, refcount_read(&vma->vm_refcnt), refs);
}

/* What migration keeps: a VMA read locked, or a reference to an anon_vma. */
static void resolve_get(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *lazy = fault(test, current->mm, AREA), *regular;
	int refs, refs_got, refs_put, vma_refs;
	struct anon_vma *anon_vma;
	anon_rmap_t rmap;
	bool is_locked;

	refs = refcount_read(&vma->vm_refcnt);
	folio_lock(lazy);
	rmap = folio_get_anon_rmap(lazy);
	refs_got = refcount_read(&vma->vm_refcnt);
	if (!IS_ERR(rmap))
		folio_put_anon_rmap(rmap);
	refs_put = refcount_read(&vma->vm_refcnt);
	folio_unlock(lazy);
	KUNIT_EXPECT_PTR_EQ(test, rmap, anon_rmap_from_vma(vma));
	KUNIT_EXPECT_EQ(test, refs_got, refs + 1);
	KUNIT_EXPECT_EQ(test, refs_put, refs);

	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	anon_vma = vma_anon_vma(vma);
	regular = fault(test, current->mm, AREA + PAGE_SIZE);
	expect_rmap(test, lazy, anon_rmap_from_vma(vma));
	expect_rmap(test, regular, anon_rmap_from_anon_vma(anon_vma));

	refs = atomic_read(&anon_vma->refcount);
	folio_lock(regular);
	rmap = folio_get_anon_rmap(regular);
	refs_got = atomic_read(&anon_vma->refcount);
	vma_refs = refcount_read(&vma->vm_refcnt);
	/* Nothing is locked: it may take a while. */
	is_locked = rwsem_is_locked(&anon_vma->root->rwsem);
	if (!IS_ERR(rmap))
		folio_put_anon_rmap(rmap);
	refs_put = atomic_read(&anon_vma->refcount);
	folio_unlock(regular);
	KUNIT_EXPECT_PTR_EQ(test, rmap, anon_rmap_from_anon_vma(anon_vma));
	KUNIT_EXPECT_EQ(test, refs_got, refs + 1);
	KUNIT_EXPECT_EQ(test, refs_put, refs);
	KUNIT_EXPECT_EQ(test, vma_refs, refcount_read(&vma->vm_refcnt));
	KUNIT_EXPECT_FALSE(test, is_locked);

	/* What they say is still there, but nothing maps them. */
	get_anon_vma(anon_vma);
	KUNIT_EXPECT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	map_area(test);
	KUNIT_EXPECT_TRUE(test, folio_test_anon_vma_lazy(lazy));
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(regular), anon_vma);
	expect_rmap(test, lazy, NULL);
	expect_rmap(test, regular, NULL);
	put_anon_vma(anon_vma);
}

static const struct tag {
	const char *desc;
	unsigned long tag;
	bool is_lazy;
} tags[] = {
	{ "lazy", FOLIO_MAPPING_ANON_VMA_LAZY, .is_lazy = true },
	{ "ksm", FOLIO_MAPPING_KSM },
	{ "file", 0 },
};

KUNIT_ARRAY_PARAM_DESC(tags, tags, desc);

/* What is not lazy does not name an mm, even if there is one at its address. */
static void resolve_tag(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *folio = new_folio(test, 0);
	const struct tag *tag = test->param_value;

	/* So there is a VMA that would be found. The folio looks as if mapped. */
	fault(test, current->mm, AREA);
	folio_lock(folio);
	folio->mapping = (void *)current->mm + tag->tag;
	folio->index = AREA >> PAGE_SHIFT;
	atomic_set(&folio->_mapcount, 0);
	expect_rmap_locked(test, folio, tag->is_lazy ? anon_rmap_from_vma(vma) : NULL);
	atomic_set(&folio->_mapcount, -1);
	folio->mapping = NULL;
	folio_unlock(folio);
}

/* In a private mapping of a file only what was written is lazy. */
static void resolve_file(struct kunit *test)
{
	struct vm_area_struct *vma;
	struct folio *file_folio, *folio;
	struct file *file;

	file = shmem_file_setup("anon_vma_lazy", AREA_SIZE,
				mk_vma_flags(VMA_NORESERVE_BIT));
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	vma = map_file(test, file, AREA_SIZE);

	file_folio = fault_any(test, current->mm, AREA, 0);
	KUNIT_EXPECT_FALSE(test, folio_test_anon(file_folio));
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	expect_rmap(test, file_folio, NULL);
	KUNIT_EXPECT_EQ(test, nr_found(file_folio), 1);

	/* A copy, whose offset is not the file's. */
	folio = fault(test, current->mm, AREA);
	KUNIT_EXPECT_PTR_NE(test, folio, file_folio);
	expect_lazy_vma(test, vma);
	expect_lazy(test, folio, vma, AREA);
	expect_rmap(test, folio, anon_rmap_from_vma(vma));
	expect_rmap(test, file_folio, NULL);
	KUNIT_EXPECT_EQ(test, nr_found(file_folio), 0);
}

/* Beside a lazy folio in the same VMA. */
static void resolve_large(struct kunit *test)
{
	const unsigned long large_addr = AREA + LARGE_PAGES * PAGE_SIZE;
	struct vm_area_struct *vma = map_area(test);
	struct folio *small, *large;

	small = fault(test, current->mm, AREA);
	expect_lazy_vma(test, vma);
	large = fault_large(test, vma, large_addr);

	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_UPGRADED);
	expect_lazy(test, small, vma, AREA);
	expect_regular(test, large, vma_anon_vma(vma), LARGE_PAGES);
	expect_rmap(test, small, anon_rmap_from_vma(vma));
	expect_rmap(test, large, anon_rmap_from_anon_vma(vma_anon_vma(vma)));
}

static void resolve_hugetlb(struct kunit *test)
{
	struct vm_area_struct *vma = map_hugetlb(test);
	struct folio *folio = fault_any(test, current->mm, AREA, FOLL_WRITE);

	KUNIT_EXPECT_TRUE(test, folio_test_hugetlb(folio));
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_ASSERT_NOT_NULL(test, vma_anon_vma(vma));
	expect_regular(test, folio, vma_anon_vma(vma), 1);
	expect_rmap(test, folio, anon_rmap_from_anon_vma(vma_anon_vma(vma)));
}

/* What was found last is looked at first, as long as it is there. */
static void resolve_hint(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *other, *child;
	struct folio *folio = fault(test, current->mm, AREA), *other_folio;
	struct mm_struct *mm = current->mm;

	other = map(test, AREA + 2 * AREA_SIZE, AREA_SIZE);
	other_folio = fault(test, mm, AREA + 2 * AREA_SIZE);

	KUNIT_EXPECT_PTR_EQ(test, resolve(folio), vma);
	KUNIT_EXPECT_PTR_EQ(test, mm->anon_vma_lazy_hint, vma);
	KUNIT_EXPECT_PTR_EQ(test, resolve(other_folio), other);
	KUNIT_EXPECT_PTR_EQ(test, mm->anon_vma_lazy_hint, other);

	/* Another VMA that is freed does not matter. */
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, mm->anon_vma_lazy_hint, other);
	KUNIT_ASSERT_EQ(test, vm_munmap(AREA + 2 * AREA_SIZE, AREA_SIZE), 0);
	KUNIT_EXPECT_NULL(test, mm->anon_vma_lazy_hint);

	/* A child has its own. */
	vma = map_area(test);
	folio = fault(test, mm, AREA);
	KUNIT_EXPECT_PTR_EQ(test, resolve(folio), vma);
	child = fork_vma(test, vma, false);
	KUNIT_EXPECT_NULL(test, child->vm_mm->anon_vma_lazy_hint);
	other_folio = fault(test, child->vm_mm, AREA);
	KUNIT_EXPECT_PTR_EQ(test, resolve(other_folio), child);
	KUNIT_EXPECT_PTR_EQ(test, mm->anon_vma_lazy_hint, vma);
	KUNIT_EXPECT_PTR_EQ(test, child->vm_mm->anon_vma_lazy_hint, child);
}

/* Contended is not the same as not mapped. */
static void resolve_write_locked(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *resolved;
	struct folio *folio = fault(test, current->mm, AREA);
	struct rmap_walk_control rwc = { .try_lock = true };
	bool damon = IS_ENABLED(CONFIG_DAMON_PADDR), young = true;
	anon_rmap_t got, locked;

	if (damon) {
		/* It looks at nothing else. */
		lru_add_drain_all();
		damon_folio_mkold(folio);
		KUNIT_EXPECT_FALSE(test, damon_folio_young(folio));
	}
	mmap_write_lock(current->mm);
	/* The mmap_lock alone does not matter. */
	KUNIT_EXPECT_PTR_EQ(test, resolve(folio), vma);

	vma_start_write(vma);
	resolved = resolve(folio);
	folio_lock(folio);
	got = folio_get_anon_rmap(folio);
	locked = folio_lock_anon_rmap_read(folio, &rwc);
	if (!IS_ERR(got))
		folio_put_anon_rmap(got);
	if (locked)
		anon_rmap_unlock_read(locked);
	folio_unlock(folio);
	if (damon)
		young = damon_folio_young(folio);
	mmap_write_unlock(current->mm);

	/* Not looked at is not old. */
	KUNIT_EXPECT_TRUE(test, young);
	KUNIT_EXPECT_PTR_EQ(test, resolved, ERR_PTR(-EAGAIN));
	KUNIT_EXPECT_PTR_EQ(test, got, ERR_PTR(-EAGAIN));
	KUNIT_EXPECT_NULL(test, locked);
	KUNIT_EXPECT_TRUE(test, rwc.contended);
	expect_lazy(test, folio, vma, AREA);
}

static void resolve_no_vma(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *before, *behind;
	struct folio *folio = fault(test, current->mm, AREA);

	/* As a walker may see it that is late: what it looks for has moved. */
	WRITE_ONCE(folio->index, (AREA >> PAGE_SHIFT) - 1);
	before = resolve(folio);
	WRITE_ONCE(folio->index, (AREA + AREA_SIZE) >> PAGE_SHIFT);
	behind = resolve(folio);
	WRITE_ONCE(folio->index, AREA >> PAGE_SHIFT);

	KUNIT_EXPECT_PTR_EQ(test, before, ERR_PTR(-EAGAIN));
	KUNIT_EXPECT_PTR_EQ(test, behind, ERR_PTR(-EAGAIN));
	expect_lazy(test, folio, vma, AREA);
}

static void resolve_moved(struct kunit *test)
{
	const unsigned long to = AREA - 2 * AREA_SIZE;
	struct vm_area_struct *vma = map_area(test), *other;
	struct folio *folio = fault(test, current->mm, AREA + PAGE_SIZE);
	struct folio *other_folio;
	int err;

	mmap_write_lock(current->mm);
	err = relocate_vma_down(vma, AREA - to);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, err, 0);

	/* Lazy as before, and found at its new address. */
	KUNIT_EXPECT_EQ(test, vma->vm_start, to);
	KUNIT_EXPECT_TRUE(test, vma_is_address_based(vma));
	expect_lazy_vma(test, vma);
	expect_lazy(test, folio, vma, to + PAGE_SIZE);

	/* What has come to the old one has nothing to do with it. */
	other = map_area(test);
	other_folio = fault(test, current->mm, AREA + PAGE_SIZE);
	expect_lazy(test, folio, vma, to + PAGE_SIZE);
	expect_lazy(test, other_folio, other, AREA + PAGE_SIZE);
}

/* An owner keeps its offsets, so what is inside must not be lazy afterwards. */
static void resolve_moved_upgraded(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *folio = fault(test, current->mm, AREA), *other;
	int err;

	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	mmap_write_lock(current->mm);
	err = relocate_vma_down(vma, 2 * AREA_SIZE);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, err, 0);

	KUNIT_EXPECT_FALSE(test, vma_is_address_based(vma));
	KUNIT_EXPECT_EQ(test, vma_state(vma), ANON_VMA_TREE_REGULAR);
	KUNIT_EXPECT_EQ(test, folio->index, AREA >> PAGE_SHIFT);
	expect_regular(test, folio, vma_anon_vma(vma), 1);

	/* What has come to the old place has the same offset, and is not its. */
	map_area(test);
	other = fault(test, current->mm, AREA);
	KUNIT_EXPECT_EQ(test, other->index, folio->index);
	KUNIT_EXPECT_FALSE(test, folio_maybe_same_anon_vma(other, vma));
	KUNIT_EXPECT_EQ(test, page_address_in_vma(other, folio_page(other, 0), vma),
			-EFAULT);
}

static void resolve_unmapped(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test);
	struct folio *folio = fault(test, current->mm, AREA), *other;

	KUNIT_ASSERT_EQ(test, vm_munmap(AREA, AREA_SIZE), 0);
	vma = map_area(test);
	other = fault(test, current->mm, AREA);

	/* It still says the same, but the address is another's. */
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_mm_lazy(folio), current->mm);
	KUNIT_EXPECT_NULL(test, resolve(folio));
	KUNIT_EXPECT_EQ(test, nr_found(folio), 0);
	KUNIT_EXPECT_TRUE(test, folio_anon_rmap_is_stale(folio));
	KUNIT_EXPECT_FALSE(test, folio_anon_rmap_is_stale(other));
	expect_lazy(test, other, vma, AREA);
	expect_rmap(test, other, anon_rmap_from_vma(vma));

	/* Nor does it matter if a swap cache keeps it. Locked: nobody looks there. */
	folio_lock(folio);
	folio_set_swapcache(folio);
	KUNIT_EXPECT_EQ(test, folio_test_swapcache(folio), IS_ENABLED(CONFIG_SWAP));
	expect_rmap_locked(test, folio, NULL);
	KUNIT_EXPECT_TRUE(test, folio_anon_rmap_is_stale(folio));
	folio_clear_swapcache(folio);
	folio_unlock(folio);
}

/*
 * How long an mm_struct lasts (R4).
 */

/* What exit_mmap() leaves can be looked up in, and leads nowhere. */
static void mm_tree_after_exit(struct kunit *test)
{
	struct vm_area_struct *vma, *child;
	struct mm_struct *mm;
	bool in_rcu;

	vma = map_area(test);
	fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	mm = child->vm_mm;
	KUNIT_EXPECT_TRUE(test, mt_in_rcu(&mm->mm_mt));

	mmgrab(mm);
	kunit_release_action(test, put_mm, mm);
	in_rcu = mt_in_rcu(&mm->mm_mt);
	rcu_read_lock();
	child = vma_trylock_read_rcu(mm, AREA);
	rcu_read_unlock();
	mmdrop(mm);

	KUNIT_EXPECT_TRUE(test, in_rcu);
	KUNIT_EXPECT_NULL(test, child);
}

/* A remnant that names an mm whose memory has been given back. */
static void mm_named_after_free(struct kunit *test)
{
	struct vm_area_struct *vma = map_area(test), *child;
	struct mm_struct *mm;
	struct folio *folio;

	fault(test, current->mm, AREA);
	child = fork_vma(test, vma, true);
	mm = child->vm_mm;
	folio = fault(test, mm, AREA);
	expect_lazy(test, folio, child, AREA);

	kunit_release_action(test, put_mm, mm);
	kvfree_rcu_barrier();
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_mm_lazy(folio), mm);
	KUNIT_EXPECT_NULL(test, resolve(folio));
	KUNIT_EXPECT_EQ(test, nr_found(folio), 0);
}

struct mm_reader {
	struct mm_struct *mm;
	struct completion reading;
	bool done;		/* by the test: enough */
	bool changed;		/* by the reader */
	bool timed_out;
};

/* A walker that takes its time: what it reads of the mm does not change. */
static int read_mm(void *arg)
{
	struct mm_reader *reader = arg;
	struct mm_struct *mm = reader->mm;
	const unsigned long end = jiffies + PATIENCE / 4;
	unsigned int flags, sequence;
	bool done;

	rcu_read_lock();
	flags = READ_ONCE(mm->mm_mt.ma_flags);
	sequence = READ_ONCE(mm->mm_lock_seq.sequence);
	complete(&reader->reading);
	do {
		/* Once more after the test has done all it can. */
		done = smp_load_acquire(&reader->done);
		reader->timed_out = !done && time_after(jiffies, end);
		reader->changed = READ_ONCE(mm->mm_mt.ma_flags) != flags ||
				  READ_ONCE(mm->mm_lock_seq.sequence) != sequence ||
				  vma_trylock_read_rcu(mm, AREA);
		cpu_relax();
	} while (!done && !reader->changed && !reader->timed_out);
	rcu_read_unlock();
	return 0;
}

static void mm_lasts(struct kunit *test)
{
	struct mm_reader reader = { .mm = new_mm(test) };
	struct mm_struct *mms[16] = {};
	struct task_struct *task;
	bool reused = false;

	init_completion(&reader.reading);
	mmgrab(reader.mm);
	kunit_release_action(test, put_mm, reader.mm);

	task = kthread_create(read_mm, &reader, "mm_reader");
	if (IS_ERR(task))
		mmdrop(reader.mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&reader.reading);

	/* The last of it, for all but the reader. */
	mmdrop(reader.mm);
	for (int i = 0; i < ARRAY_SIZE(mms); i++) {
		mms[i] = mm_alloc();
		reused |= mms[i] == reader.mm;
	}
	/* Pairs with the acquire in read_mm(), which looks once more then. */
	smp_store_release(&reader.done, true);
	kthread_stop_put(task);
	for (int i = 0; i < ARRAY_SIZE(mms); i++) {
		if (mms[i])
			mmput(mms[i]);
	}

	if (reader.timed_out)
		kunit_skip(test, "the reader kept us out");
	KUNIT_EXPECT_FALSE(test, reused);
	KUNIT_EXPECT_FALSE(test, reader.changed);
}

static struct kunit_case anon_vma_lazy_test_cases[] = {
	KUNIT_CASE(handle_round_trip),
	KUNIT_CASE(handle_set),
	KUNIT_CASE(handle_compatible),
	KUNIT_CASE(handle_merge),
	KUNIT_CASE(rmap_handle),
	KUNIT_CASE(prepare_from_each_state),
	KUNIT_CASE_PARAM(prepare_refused, refusals_gen_params),
	KUNIT_CASE_PARAM(fork_refused, refusals_gen_params),
	KUNIT_CASE(mapping_decision),
	KUNIT_CASE(mapping_bugs),
	KUNIT_CASE(mapping_device),
	KUNIT_CASE(mapping_kinds),
	KUNIT_CASE(first_fault),
	KUNIT_CASE(first_fault_switched_off),
	KUNIT_CASE(first_fault_vma_lock),
	KUNIT_CASE(outgrow),
	KUNIT_CASE(large_from_the_start),
	KUNIT_CASE(upgrade_vma),
	KUNIT_CASE(upgrade_others),
	KUNIT_CASE(upgraded_to_regular),
	KUNIT_CASE(others_stay_irregular),
	KUNIT_CASE_PARAM(unlink, unlinks_gen_params),
	KUNIT_CASE(folio_stays_lazy),
	KUNIT_CASE(fork_upgrades_parent),
	KUNIT_CASE(fork_shares),
	KUNIT_CASE(fork_passes_on),
	KUNIT_CASE(fork_mergeable),
	KUNIT_CASE(fork_orphan),
	KUNIT_CASE(fork_split),
	KUNIT_CASE(fork_switched_off),
	KUNIT_CASE(fork_nothing),
	KUNIT_CASE(upgrade_parent),
	KUNIT_CASE(upgrade_orphan),
	KUNIT_CASE(upgrade_orphans),
	KUNIT_CASE(reuse_makes_lazy),
	KUNIT_CASE(upgrade_ksm),
	KUNIT_CASE(upgrade_shares),
	KUNIT_CASE(upgrade_shares_not),
	KUNIT_CASE(upgrade_parent_shares),
	KUNIT_CASE(upgrade_shares_note),
	KUNIT_CASE(upgrade_too_late),
	KUNIT_CASE_PARAM(split_and_merge, merges_gen_params),
	KUNIT_CASE_SLOW(back_in_parent),
	KUNIT_CASE_SLOW(back_in_child),
	KUNIT_CASE_SLOW(back_in_upgraded),
	KUNIT_CASE_SLOW(back_half_way),
	KUNIT_CASE_SLOW(back_not_large),
	KUNIT_CASE(resolve_locks),
	KUNIT_CASE(resolve_get),
	KUNIT_CASE_PARAM(resolve_tag, tags_gen_params),
	KUNIT_CASE(resolve_file),
	KUNIT_CASE(resolve_large),
	KUNIT_CASE(resolve_hugetlb),
	KUNIT_CASE(resolve_hint),
	KUNIT_CASE(resolve_write_locked),
	KUNIT_CASE(resolve_no_vma),
	KUNIT_CASE(resolve_moved),
	KUNIT_CASE(resolve_moved_upgraded),
	KUNIT_CASE(resolve_unmapped),
	KUNIT_CASE(mm_tree_after_exit),
	KUNIT_CASE(mm_named_after_free),
	KUNIT_CASE(mm_lasts),
	{}
};

static int suite_init(struct kunit_suite *suite)
{
	switch_was_on = anon_vma_lazy_is_enabled();
	return 0;
}

static void suite_exit(struct kunit_suite *suite)
{
	if (switch_was_on)
		static_branch_enable(&anon_vma_lazy_enabled);
	else
		static_branch_disable(&anon_vma_lazy_enabled);
}

static int test_init(struct kunit *test)
{
	static_branch_enable(&anon_vma_lazy_enabled);
	return 0;
}

static struct kunit_suite anon_vma_lazy_test_suite = {
	.name = "anon_vma_lazy",
	.suite_init = suite_init,
	.suite_exit = suite_exit,
	.init = test_init,
	.test_cases = anon_vma_lazy_test_cases,
};

kunit_test_suite(anon_vma_lazy_test_suite);

MODULE_DESCRIPTION("KUnit tests for lazy anon_vmas");
MODULE_LICENSE("GPL");
