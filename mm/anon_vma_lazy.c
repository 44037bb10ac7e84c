// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lazy anon_vmas.
 *
 * An anon_vma finds all the processes that may map a folio. As long as only one
 * process can, two facts find the mapping just as well: which mm, and at which
 * address. So a lazy folio names its mm in folio->mapping, its address in
 * folio->index, and its VMA does without an anon_vma until memory is shared or
 * moved, or becomes part of a large folio.
 *
 * The invariant (R1): a lazy folio is order 0, not KSM, hugetlb or zone device
 * memory, and while it is mapped it is mapped once: in the mm that it names, at
 * folio->index << PAGE_SHIFT, in a VMA whose offsets are address based.
 *
 * Who may change mapping and index of a mapped lazy folio (R2):
 *
 *  a) the folio lock plus the VMA (or mmap) read lock: UFFDIO_MOVE, KSM,
 *     migration to device memory;
 *  b) the VMA write lock plus the PTE lock: fork, mremap.
 *
 * A walker holds the folio lock and the VMA read lock and so excludes both.
 *
 * Lock order: the VMA lock is only ever tried for under the folio lock. Its
 * writers hold the mmap_lock, which nests outside the folio lock.
 *
 * Documentation/mm/anon_vma_lazy.rst has the whole of it.
 */

#include <linux/build_bug.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/leafops.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/swapops.h>
#include <linux/sysctl.h>

#include "internal.h"

/* Read where a VMA gets its first handle, and nowhere else. */
DEFINE_STATIC_KEY_TRUE(anon_vma_lazy_enabled);

static const struct ctl_table anon_vma_lazy_sysctl_table[] = {
	{
		.procname	= "anon_vma_lazy",
		.data		= &anon_vma_lazy_enabled.key,
		.maxlen		= sizeof(anon_vma_lazy_enabled),
		.mode		= 0644,
		.proc_handler	= proc_do_static_key,
	},
};

static int __init anon_vma_lazy_init(void)
{
	/* What folio->mapping can name leaves three bits for its flags. */
	BUILD_BUG_ON(__alignof__(struct mm_struct) <= FOLIO_MAPPING_FLAGS);
	BUILD_BUG_ON(__alignof__(struct anon_vma) <= FOLIO_MAPPING_FLAGS);
	BUILD_BUG_ON(__alignof__(struct address_space) <= FOLIO_MAPPING_FLAGS);
	BUILD_BUG_ON(__alignof__(struct vm_area_struct) <= ANON_RMAP_VMA);

	register_sysctl_init("vm", anon_vma_lazy_sysctl_table);
	return 0;
}
late_initcall(anon_vma_lazy_init);

/*
 * May @vma be lazy? Special mappings are few and their drivers' business;
 * hugetlb folios are large.
 */
static bool vma_can_be_anon_vma_lazy(const struct vm_area_struct *vma)
{
	return vma_fits_anon_vma_lazy(vma) && vma_is_address_based(vma) &&
		!(vma->vm_flags & (VM_SPECIAL | VM_HUGETLB | VM_SHARED));
}

/**
 * __vma_prepare_anon_vma_lazy() - make a VMA lazy before its first anonymous page
 * @vma: The VMA.
 *
 * Context: mmap_lock held, for read at least.
 *
 * Return: true if @vma has a handle now, its own or one that another thread was
 * faster with. false if @vma must not be lazy and has to get an anon_vma.
 */
bool __vma_prepare_anon_vma_lazy(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;

	mmap_assert_locked(mm);

	if (!vma_can_be_anon_vma_lazy(vma))
		return false;

	spin_lock(&mm->page_table_lock);
	if (likely(!vma->anon_vma))
		WRITE_ONCE(vma->anon_vma, anon_vma_tree(NULL, ANON_VMA_TREE_VMA));
	spin_unlock(&mm->page_table_lock);
	return true;
}

/**
 * vma_fork_anon_vma_lazy() - make the copy of a VMA in a child process lazy
 * @vma: The child's VMA, not visible to anyone yet.
 * @pvma: The parent's, which owns an anon_vma.
 *
 * The child names the parent's anon_vma. Its chain, which the caller clones,
 * links it to that and to the ancestors', where inherited folios look for it.
 *
 * Context: The parent's mmap_lock held for write, the child's too.
 *
 * Return: true if @vma is lazy. false if it is to own an anon_vma.
 */
bool vma_fork_anon_vma_lazy(struct vm_area_struct *vma,
			    const struct vm_area_struct *pvma)
{
	mmap_assert_write_locked(pvma->vm_mm);

	if (!anon_vma_lazy_is_enabled() ||
	    !vma_can_be_anon_vma_lazy(vma))
		return false;

	vma->anon_vma = anon_vma_tree(vma_anon_vma(pvma), ANON_VMA_TREE_PARENT);
	return true;
}

/**
 * __vma_upgrade_anon_vma_lazy() - give a lazy VMA an anon_vma of its own
 * @vma: The VMA, found to be lazy a moment ago.
 *
 * Folios are not visited, lazy ones stay lazy.
 *
 * Context: mmap_lock held, for read at least. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int __vma_upgrade_anon_vma_lazy(struct vm_area_struct *vma)
{
	const anon_vma_tree_t tree = READ_ONCE(vma->anon_vma);

	mmap_assert_locked(vma->vm_mm);

	switch (anon_vma_tree_state(tree)) {
	case ANON_VMA_TREE_VMA:
		return __anon_vma_prepare(vma);
	case ANON_VMA_TREE_PARENT:
		return anon_vma_prepare_child(vma, anon_vma_tree_anon_vma(tree));
	case ANON_VMA_TREE_REGULAR:
	case ANON_VMA_TREE_UPGRADED:
		break;
	}
	return 0;
}

/* As vmf_upgrade_anon_vma_lazy(), but a VMA lock stays held in any case. */
vm_fault_t __vmf_upgrade_anon_vma_lazy(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	int err;

	if ((vmf->flags & FAULT_FLAG_VMA_LOCK) && !mmap_read_trylock(vma->vm_mm))
		return VM_FAULT_RETRY;
	err = __vma_upgrade_anon_vma_lazy(vma);
	if (vmf->flags & FAULT_FLAG_VMA_LOCK)
		mmap_read_unlock(vma->vm_mm);
	return err ? VM_FAULT_OOM : 0;
}

/*
 * A large folio is never lazy, nor is one that another process may map. A forked
 * VMA has the anon_vmas of its ancestors for these.
 */
vm_fault_t __vmf_prepare_swapin(struct vm_fault *vmf, struct folio *folio)
{
	const anon_vma_tree_t tree = READ_ONCE(vmf->vma->anon_vma);

	if (anon_vma_tree_state(tree) != ANON_VMA_TREE_VMA)
		return 0;
	if (!folio_test_large(folio) && pte_swp_exclusive(vmf->orig_pte))
		return 0;
	return vmf_upgrade_anon_vma_lazy(vmf);
}

/**
 * __vma_anon_mapping_lazy() - is a folio to become lazy?
 * @folio: The folio to be mapped, or moved within what it belongs to.
 * @vma: The VMA that maps it.
 * @tree: The handle of @vma, lazy, read once.
 * @exclusive: Is @folio exclusive to the process?
 *
 * While dup_mmap() fills a child's address space its VMA tree cannot be looked
 * up in under RCU, so what it copies goes to the parent's anon_vma.
 *
 * Context: The PTE lock held. Whoever maps a folio that cannot be lazy has
 * upgraded @vma before that.
 *
 * Return: true if so; false if the anon_vma that @tree names is to find it.
 */
bool __vma_anon_mapping_lazy(const struct folio *folio,
			     const struct vm_area_struct *vma,
			     anon_vma_tree_t tree, bool exclusive)
{
	const bool can_be_lazy = exclusive && !folio_test_large(folio) &&
				 !folio_is_zone_device(folio);

	VM_WARN_ON_ONCE_VMA(!vma_is_address_based(vma), vma);

	if (anon_vma_tree_state(tree) == ANON_VMA_TREE_PARENT)
		return can_be_lazy && mt_in_rcu(&vma->vm_mm->mm_mt);

	/* A swap entry may be exclusive where the page is not to be, see R8. */
	VM_WARN_ON_FOLIO(folio_test_large(folio) || folio_is_zone_device(folio), folio);
	return true;
}

/* See folio_make_anon_regular(). */
void __folio_make_anon_regular(struct folio *folio, struct vm_area_struct *vma)
{
	struct anon_vma *anon_vma = vma_anon_vma(vma);

	VM_WARN_ON_FOLIO(folio_anon_mm_lazy(folio) != vma->vm_mm, folio);
	/* Lazy in the wrong place can be found, NULL cannot. */
	if (WARN_ON_ONCE(!anon_vma || vma_is_anon_vma_lazy(vma)))
		return;

	/*
	 * Who reads the mapping may lock the anon_vma at once. Pairs with the
	 * address dependency in folio_lock_anon_vma_read().
	 */
	smp_store_release(&folio->mapping,
			  (void *)anon_vma + FOLIO_MAPPING_ANON);
}

/* The folio that @pte maps at @addr, a device exclusive entry included. */
static struct folio *pte_mapped_folio(struct vm_area_struct *vma,
				      unsigned long addr, pte_t pte)
{
	softleaf_t entry;

	if (pte_present(pte))
		return vm_normal_folio(vma, addr, pte);

	entry = softleaf_from_pte(pte);
	if (softleaf_is_device_exclusive(entry))
		return softleaf_to_folio(entry);
	return NULL;
}

/**
 * move_pte_anon_vma_lazy() - keep a lazy folio findable when its PTE moves
 * @old: The VMA that it moves from.
 * @old_addr: The address in @old.
 * @new: The VMA that it moves to, which may be the same.
 * @new_addr: The address in @new.
 * @pte: The PTE.
 *
 * A lazy folio follows its address if offsets are addresses in @new. Otherwise
 * @new has taken over @old's anon_vma and offsets, and the folio becomes regular.
 *
 * Context: The VMA write lock of both VMAs and both PTE locks held.
 */
void move_pte_anon_vma_lazy(struct vm_area_struct *old, unsigned long old_addr,
			    struct vm_area_struct *new, unsigned long new_addr,
			    pte_t pte)
{
	struct folio *folio = pte_mapped_folio(old, old_addr, pte);

	vma_assert_write_locked(old);
	vma_assert_write_locked(new);

	if (!folio || !folio_test_anon_vma_lazy(folio))
		return;

	VM_WARN_ON_FOLIO(folio->index != old_addr >> PAGE_SHIFT, folio);

	if (vma_is_address_based(new) &&
	    anon_vma_tree_may_hold_lazy(new->anon_vma))
		WRITE_ONCE(folio->index, new_addr >> PAGE_SHIFT);
	else
		__folio_make_anon_regular(folio, new);
}

static int make_anon_regular_pmd_entry(pmd_t *pmd, unsigned long addr,
				       unsigned long end, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct folio *folio;
	spinlock_t *ptl;
	pte_t *start_pte, *pte;

	walk->action = ACTION_CONTINUE;

	/* No table, or a huge page: nothing lazy. */
	start_pte = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!start_pte)
		return 0;

	for (pte = start_pte; addr < end; pte++, addr += PAGE_SIZE) {
		folio = pte_mapped_folio(vma, addr, ptep_get(pte));
		if (folio)
			folio_make_anon_regular(folio, vma);
	}
	pte_unmap_unlock(start_pte, ptl);
	cond_resched();
	return 0;
}

static const struct mm_walk_ops make_anon_regular_walk_ops = {
	.pmd_entry	= make_anon_regular_pmd_entry,
	.walk_lock	= PGWALK_WRLOCK_VERIFY,
};

/**
 * vma_make_anon_regular() - make all that an upgraded VMA maps regular
 * @vma: The VMA, and it, too. Nothing happens if it is not upgraded.
 *
 * Context: mmap_lock held for write, VMA write lock held. May sleep.
 */
void vma_make_anon_regular(struct vm_area_struct *vma)
{
	if (anon_vma_tree_state(vma->anon_vma) != ANON_VMA_TREE_UPGRADED)
		return;

	walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
			    &make_anon_regular_walk_ops, NULL);
	vma_set_anon_regular(vma);
}

/**
 * folio_trylock_anon_rmap_lazy() - lock the VMA that maps a lazy folio
 * @folio: The folio, lazy or not.
 *
 * What the folio says may change until the VMA is locked: fork and mremap do not
 * take the folio lock. So it is read again then. If it has stayed the same the
 * folio is mapped in this VMA, and not by whatever has come to its address since.
 *
 * The mm can be used: under the folio lock nothing that is not mapped becomes
 * mapped, and what is mapped had its mm within this RCU section, see free_mm().
 *
 * Context: The folio lock is held. Does not sleep.
 *
 * Return: the VMA, read locked. NULL if the folio is not mapped or not lazy; what
 * is not lazy then does not become lazy under the folio lock. ERR_PTR(-EAGAIN)
 * if the VMA could not be locked, which does not mean that it is not mapped.
 */
anon_rmap_t folio_trylock_anon_rmap_lazy(const struct folio *folio)
{
	struct vm_area_struct *vma;
	struct mm_struct *mm;
	pgoff_t index;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);

	guard(rcu)();

	for (;;) {
		mm = folio_anon_mm_lazy(folio);
		if (!mm || !folio_mapped(folio))
			return NULL;

		index = READ_ONCE(folio->index);
		vma = vma_trylock_read_rcu(mm, index << PAGE_SHIFT);
		if (!vma)
			return ERR_PTR(-EAGAIN);

		if (folio_mapped(folio) && folio_anon_mm_lazy(folio) == mm &&
		    READ_ONCE(folio->index) == index)
			break;

		/* Within the RCU section, for the writer that this may wake. */
		vma_end_read(vma);
	}

	VM_WARN_ON_ONCE_VMA(!vma_is_address_based(vma), vma);
	VM_WARN_ON_ONCE_VMA(!anon_vma_tree_may_hold_lazy(READ_ONCE(vma->anon_vma)),
			    vma);
	return anon_rmap_from_vma(vma);
}

/**
 * folio_locked_anon_rmap_lazy() - the VMA of a lazy folio, for who has locked it
 * @folio: The folio, lazy or not.
 *
 * Context: The folio lock is held, and the read lock of the VMA if it is lazy.
 *
 * Return: the VMA, NULL if the folio is not lazy.
 */
anon_rmap_t folio_locked_anon_rmap_lazy(const struct folio *folio)
{
	struct mm_struct *mm = folio_anon_mm_lazy(folio);
	struct vm_area_struct *vma;

	if (!mm)
		return NULL;

	/* The tree may change elsewhere, the VMA cannot while it is locked. */
	rcu_read_lock();
	vma = mtree_load(&mm->mm_mt, folio->index << PAGE_SHIFT);
	rcu_read_unlock();

	if (WARN_ON_ONCE(!vma))
		return NULL;
	vma_assert_locked(vma);
	return anon_rmap_from_vma(vma);
}

/* Drops and takes the folio lock. mmap_lock is held for read if this succeeds. */
static struct mm_struct *folio_mmap_read_lock_lazy(struct folio *folio)
{
	struct mm_struct *mm;

	/* See folio_trylock_anon_rmap_lazy() for why the mm can be used. */
	scoped_guard(rcu) {
		mm = folio_anon_mm_lazy(folio);
		if (!mm || !folio_mapped(folio) || !mmget_not_zero(mm))
			return NULL;
	}

	folio_unlock(folio);
	mmap_read_lock(mm);
	folio_lock(folio);
	return mm;
}

/**
 * unmap_poisoned_folio_lazy() - unmap a lazy folio, waiting for its VMA
 * @folio: The folio, which unmap_poisoned_folio() could not unmap.
 * @pfn: As for unmap_poisoned_folio().
 * @must_kill: As for unmap_poisoned_folio().
 *
 * With the mmap_lock held there are no VMA writers to lose against. What remains
 * are VMAs on their way out, by munmap() or exit: give these some time.
 *
 * Context: The folio lock is held, dropped and taken again. May sleep. No
 * mmap_lock held, which rules out reclaim.
 *
 * Return: 0 if the folio is not mapped any more, -EBUSY if it is.
 */
int unmap_poisoned_folio_lazy(struct folio *folio, unsigned long pfn,
			      bool must_kill)
{
	unsigned int tries = 100;
	struct mm_struct *mm;
	int err;

	do {
		mm = folio_mmap_read_lock_lazy(folio);
		err = unmap_poisoned_folio(folio, pfn, must_kill);
		if (mm) {
			mmap_read_unlock(mm);
			mmput_async(mm);
		}
		if (!err)
			break;
		folio_unlock(folio);
		fsleep(1000);
		folio_lock(folio);
	} while (--tries);
	return err;
}
