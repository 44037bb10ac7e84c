// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lazy anon_vmas.
 *
 * An anon_vma finds all the processes that may map a folio. As long as only one
 * process can, two facts find the mapping just as well: which mm, and at which
 * address. So a lazy folio names its mm in folio->mapping, its address in
 * folio->index, and its VMA does without an anon_vma until memory is shared, or
 * becomes part of a large folio.
 *
 * The invariant (R1): a lazy folio is order 0, not KSM, hugetlb or zone device
 * memory, and while it is mapped it is mapped once: in the mm that it names, at
 * folio->index << PAGE_SHIFT, in a VMA whose offsets are address based.
 *
 * Who may change mapping and index of a mapped lazy folio (R2):
 *
 *  a) the folio lock plus the VMA (or mmap) read lock: write faults, UFFDIO_MOVE,
 *     KSM, migration to device memory;
 *  b) the VMA write lock plus the PTE lock: fork, mremap, exec.
 *
 * A walker holds the folio lock and the VMA read lock and so excludes both. What
 * makes an exclusive regular folio lazy has the PTE lock beside those of a); going
 * back, which does so with all that a process has, holds the locks of a) and b).
 *
 * Lock order: the VMA lock is only ever tried for under the folio lock. Its
 * writers hold the mmap_lock, which nests outside the folio lock.
 *
 * Documentation/mm/anon_vma_lazy.rst has the whole of it.
 */

#define pr_fmt(fmt) "anon_vma_lazy: " fmt

#include <linux/build_bug.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/leafops.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/ratelimit.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/swapops.h>
#include <linux/sysctl.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "internal.h"
#include "swap.h"

#define CREATE_TRACE_POINTS
#include <trace/events/anon_vma_lazy.h>

/* Read where a VMA or an mm may become lazy, and to tell. */
DEFINE_STATIC_KEY_TRUE(anon_vma_lazy_enabled);

/* Who toggles the switch all the time need not be told each time. */
static void show_switch(void)
{
	pr_info_ratelimited("new VMAs %s lazy\n",
			    anon_vma_lazy_is_enabled() ? "are" : "are not");
}

/* Tell, as sysctl.vm.anon_vma_lazy= is read after the initcalls. */
static int anon_vma_lazy_sysctl(const struct ctl_table *table, int write,
				void *buffer, size_t *lenp, loff_t *ppos)
{
	const bool was_enabled = anon_vma_lazy_is_enabled();
	const int err = proc_do_static_key(table, write, buffer, lenp, ppos);

	if (anon_vma_lazy_is_enabled() != was_enabled)
		show_switch();
	return err;
}

static const struct ctl_table anon_vma_lazy_sysctl_table[] = {
	{
		.procname	= "anon_vma_lazy",
		.data		= &anon_vma_lazy_enabled.key,
		.maxlen		= sizeof(anon_vma_lazy_enabled),
		.mode		= 0644,
		.proc_handler	= anon_vma_lazy_sysctl,
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
	show_switch();
	return 0;
}
late_initcall(anon_vma_lazy_init);

/* VM_SPECIAL, which is not a constant for GCC, and what else is never lazy */
#define VM_NEVER_LAZY	(VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_DONTEXPAND | \
			 VM_HUGETLB | VM_SHARED)

/*
 * May @vma be lazy? Special mappings are few and their drivers' business;
 * hugetlb folios are large.
 */
static __always_inline bool vma_can_be_anon_vma_lazy(const struct vm_area_struct *vma)
{
	return vma_fits_anon_vma_lazy(vma) && vma_is_address_based(vma) &&
		!(vma->vm_flags & VM_NEVER_LAZY);
}

/**
 * __vma_prepare_anon_vma_lazy() - make a VMA lazy before its first anonymous page
 * @vma: The VMA.
 *
 * Context: The VMA lock or the mmap_lock held, for read at least.
 *
 * Return: true if @vma has a handle now, its own or one that another thread was
 * faster with. false if @vma must not be lazy and has to get an anon_vma.
 */
bool __vma_prepare_anon_vma_lazy(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;
	bool prepared;

	vma_assert_stabilised(vma);

	if (!vma_can_be_anon_vma_lazy(vma))
		return false;

	spin_lock(&mm->page_table_lock);
	prepared = !vma->anon_vma;
	if (likely(prepared))
		WRITE_ONCE(vma->anon_vma, anon_vma_tree(NULL, ANON_VMA_TREE_VMA));
	spin_unlock(&mm->page_table_lock);

	if (likely(prepared)) {
		count_vm_event(ANON_VMA_LAZY_PREPARED);
		trace_anon_vma_lazy_prepare(vma);
	}
	return true;
}

/**
 * vma_fork_anon_vma_lazy() - make the copy of a VMA in a child process lazy
 * @vma: The child's VMA, not visible to anyone yet.
 * @pvma: The parent's, which vma_share_anon_vma_lazy() was called for.
 *
 * The child names the anon_vma that the parent owns or names. Its chain, which
 * the caller clones, links it to that and to the ancestors', where inherited
 * folios look for it.
 *
 * Context: The parent's mmap_lock held for write, the child's too.
 *
 * Return: true if @vma is lazy. false if it is to own an anon_vma.
 */
bool vma_fork_anon_vma_lazy(struct vm_area_struct *vma,
			    const struct vm_area_struct *pvma)
{
	mmap_assert_write_locked(vma->vm_mm);
	mmap_assert_write_locked(pvma->vm_mm);

	if (!anon_vma_lazy_is_enabled() ||
	    !vma_can_be_anon_vma_lazy(vma))
		return false;

	vma->anon_vma = anon_vma_tree(vma_anon_vma(pvma), ANON_VMA_TREE_PARENT);
	count_vm_event(ANON_VMA_LAZY_PREPARED);
	trace_anon_vma_lazy_prepare(vma);
	return true;
}

/*
 * Let a lazy VMA that was forked own an anon_vma on its chain that no VMA owns
 * any more, as maybe_reuse_anon_vma() does at fork: a chain of forks must not
 * grow a chain of anon_vmas. @parent is one on the chain.
 *
 * Returns true if @vma owns an anon_vma now, this or another thread's.
 */
static bool anon_vma_reuse_ancestor(struct vm_area_struct *vma,
				    struct anon_vma *parent)
{
	struct mm_struct *mm = vma->vm_mm;
	struct anon_vma_chain *avc;

	mmap_assert_locked(mm);

	anon_vma_lock_write(parent);
	/* page_table_lock to protect against threads */
	spin_lock(&mm->page_table_lock);
	list_for_each_entry_reverse(avc, &vma->anon_vma_chain, same_vma) {
		struct anon_vma *anon_vma = avc->anon_vma;

		if (!vma_is_anon_vma_lazy(vma))
			break;
		if (!anon_vma_is_reusable(anon_vma))
			continue;

		anon_vma->num_active_vmas++;
		/* It is on the chain. Paired with reusable_anon_vma(). */
		smp_store_release(&vma->anon_vma,
				  anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED));
	}
	spin_unlock(&mm->page_table_lock);
	anon_vma_unlock_write(parent);

	return !vma_is_anon_vma_lazy(vma);
}

/**
 * anon_vma_prepare_child() - give a lazy VMA that was forked its own anon_vma
 * @vma: The VMA.
 * @parent: The anon_vma of an ancestor, which its handle named.
 *
 * What anon_vma_fork() put off.
 *
 * Context: mmap_lock held, for read at least. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int anon_vma_prepare_child(struct vm_area_struct *vma, struct anon_vma *parent)
{
	struct mm_struct *mm = vma->vm_mm;
	struct anon_vma *anon_vma, *allocated = NULL;
	struct anon_vma_chain *avc;

	mmap_assert_locked(mm);
	might_sleep();

	avc = anon_vma_chain_alloc(GFP_KERNEL);
	if (!avc)
		return -ENOMEM;

	anon_vma = find_mergeable_anon_vma(vma);
	if (!anon_vma) {
		if (anon_vma_reuse_ancestor(vma, parent)) {
			anon_vma_chain_free(avc);
			return 0;
		}
		anon_vma = anon_vma_alloc();
		if (!anon_vma) {
			anon_vma_chain_free(avc);
			return -ENOMEM;
		}
		/* As in anon_vma_fork(). The chain of @vma keeps @parent. */
		anon_vma->root = parent->root;
		anon_vma->parent = parent;
		get_anon_vma(anon_vma->root);
		allocated = anon_vma;
	}

	anon_vma_lock_write(anon_vma);
	/* page_table_lock to protect against threads */
	spin_lock(&mm->page_table_lock);
	if (likely(vma_is_anon_vma_lazy(vma))) {
		/* A neighbour may have named another one of the chain. */
		if (!allocated && READ_ONCE(parent->passed_on))
			WRITE_ONCE(anon_vma->parent->passed_on, true);
		anon_vma_chain_assign(vma, avc, anon_vma);
		anon_rmap_tree_insert(avc, anon_vma);
		anon_vma->num_active_vmas++;
		if (allocated)
			parent->num_children++;
		/*
		 * Only what is on the chain may be named. Paired with the
		 * acquire in reusable_anon_vma() and its like.
		 */
		smp_store_release(&vma->anon_vma,
				  anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED));
		allocated = NULL;
		avc = NULL;
	}
	spin_unlock(&mm->page_table_lock);
	anon_vma_unlock_write(anon_vma);

	if (unlikely(allocated))
		put_anon_vma(allocated);
	if (unlikely(avc))
		anon_vma_chain_free(avc);
	return 0;
}

/* Any context */
static void count_upgrade(const struct vm_area_struct *vma,
			  enum anon_vma_lazy_cause cause)
{
	static_assert(ANON_VMA_LAZY_UPGRADE_FORK + ANON_VMA_LAZY_DEVICE ==
		      ANON_VMA_LAZY_UPGRADE_DEVICE);
	count_vm_event(ANON_VMA_LAZY_UPGRADE_FORK + cause);
	trace_anon_vma_lazy_upgrade(vma, cause);
}

/**
 * __vma_upgrade_anon_vma_lazy() - give a lazy VMA an anon_vma of its own
 * @vma: The VMA, found to be lazy a moment ago.
 * @cause: What makes that necessary.
 *
 * Folios are not visited, lazy ones stay lazy.
 *
 * Context: mmap_lock held, for read at least. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int __vma_upgrade_anon_vma_lazy(struct vm_area_struct *vma,
				enum anon_vma_lazy_cause cause)
{
	const anon_vma_tree_t tree = READ_ONCE(vma->anon_vma);
	int err;

	mmap_assert_locked(vma->vm_mm);

	switch (anon_vma_tree_state(tree)) {
	case ANON_VMA_TREE_VMA:
		err = __anon_vma_prepare(vma);
		break;
	case ANON_VMA_TREE_PARENT:
		err = anon_vma_prepare_child(vma, anon_vma_tree_anon_vma(tree));
		break;
	default:
		/* Another thread was faster. */
		return 0;
	}
	if (!err)
		count_upgrade(vma, cause);
	return err;
}

/**
 * mm_upgrade_anon_vma_lazy() - give the VMA at an address an anon_vma if it is lazy
 * @mm: The mm.
 * @address: The address, of which nothing is known.
 * @cause: What makes that necessary.
 *
 * Context: No VMA lock held, nor the mmap_lock, which is taken for read. May sleep.
 *
 * Return: 0 if what was there is not lazy, or nothing was. Another VMA may be in its
 * place by now. -ENOMEM if there is no memory for an anon_vma.
 */
int mm_upgrade_anon_vma_lazy(struct mm_struct *mm, unsigned long address,
			     enum anon_vma_lazy_cause cause)
{
	struct vm_area_struct *vma;
	int err = 0;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, address);
	if (vma)
		err = vma_upgrade_anon_vma_lazy(vma, cause);
	mmap_read_unlock(mm);
	return err;
}

/**
 * __vmf_upgrade_anon_vma_lazy() - upgrade the VMA of a fault, all locks stay held
 * @vmf: The fault. Its VMA was found to be lazy a moment ago.
 * @cause: What makes that necessary.
 *
 * Context: The VMA lock or the mmap_lock held, see FAULT_FLAG_VMA_LOCK. May
 * sleep.
 *
 * Return: 0 if the VMA owns an anon_vma now. VM_FAULT_RETRY if the mmap_lock was
 * needed and not to be had. VM_FAULT_OOM.
 */
vm_fault_t __vmf_upgrade_anon_vma_lazy(struct vm_fault *vmf,
				       enum anon_vma_lazy_cause cause)
{
	struct vm_area_struct *vma = vmf->vma;
	int err;

	if ((vmf->flags & FAULT_FLAG_VMA_LOCK) && !mmap_read_trylock(vma->vm_mm))
		return VM_FAULT_RETRY;
	err = __vma_upgrade_anon_vma_lazy(vma, cause);
	if (vmf->flags & FAULT_FLAG_VMA_LOCK)
		mmap_read_unlock(vma->vm_mm);
	return err ? VM_FAULT_OOM : 0;
}

/**
 * __vmf_prepare_swapin() - upgrade a lazy VMA if a folio of it cannot be lazy
 * @vmf: The fault, orig_pte is the swap entry. Its VMA was found to be lazy.
 * @folio: The folio, not locked yet.
 *
 * Context: As vmf_upgrade_anon_vma_lazy().
 *
 * Return: As vmf_upgrade_anon_vma_lazy().
 */
vm_fault_t __vmf_prepare_swapin(struct vm_fault *vmf, struct folio *folio)
{
	if (!vma_needs_upgrade_for_swap(vmf->vma, folio, vmf->orig_pte))
		return 0;
	return vmf_upgrade_anon_vma_lazy(vmf, folio_test_large(folio) ?
					 ANON_VMA_LAZY_LARGE : ANON_VMA_LAZY_SWAP);
}

/**
 * __folio_make_anon_regular() - make a lazy folio regular
 * @folio: The folio, found to be lazy under the locks that are held.
 * @vma: A VMA that owns an anon_vma, in which the folio keeps its index.
 * @cause: What makes that necessary.
 *
 * Context: The VMA write lock and the PTE lock held; or the folio lock and the
 * VMA or mmap read lock.
 */
void __folio_make_anon_regular(struct folio *folio, struct vm_area_struct *vma,
			       enum anon_vma_lazy_cause cause)
{
	static const enum vm_event_item events[] = {
		[ANON_VMA_LAZY_FORK]	= ANON_VMA_LAZY_REGULAR_FORK,
		[ANON_VMA_LAZY_MREMAP]	= ANON_VMA_LAZY_REGULAR_MREMAP,
		[ANON_VMA_LAZY_DEVICE]	= ANON_VMA_LAZY_REGULAR_DEVICE,
	};
	struct anon_vma *anon_vma = vma_anon_vma(vma);

	if (!folio_test_locked(folio))
		vma_assert_write_locked(vma);
	else
		vma_assert_stabilised(vma);
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
	count_vm_event(events[cause]);
}

/*
 * The folio that @pte maps, a device exclusive entry included, in a VMA that may
 * hold lazy folios. NULL if that is none: nothing lazy is special. The PTE lock
 * is held.
 */
static inline struct folio *pte_mapped_folio(pte_t pte)
{
	softleaf_t entry;

	if (likely(pte_present(pte)))
		return pte_special(pte) ? NULL : pfn_folio(pte_pfn(pte));

	entry = softleaf_from_pte(pte);
	if (softleaf_is_device_exclusive(entry))
		return softleaf_to_folio(entry);
	return NULL;
}

/**
 * move_ptes_anon_vma_lazy() - keep lazy folios findable when their PTEs move
 * @old: The VMA that they move from.
 * @old_addr: The address in @old.
 * @new: The VMA that they move to, which may be the same.
 * @new_addr: The address in @new.
 * @ptep: The PTEs in @old, none of which has moved yet.
 * @nr: Their number.
 *
 * Lazy folios follow their address if offsets are addresses in @new. Otherwise
 * @new has taken over @old's anon_vma and offsets, and they become regular.
 *
 * Context: The VMA write lock of both VMAs and both PTE locks held.
 */
void move_ptes_anon_vma_lazy(struct vm_area_struct *old, unsigned long old_addr,
			     struct vm_area_struct *new, unsigned long new_addr,
			     pte_t *ptep, unsigned long nr)
{
	const bool stay_lazy = vma_is_address_based(new) &&
			       anon_vma_tree_may_hold_lazy(new->anon_vma);
	const pgoff_t delta = (new_addr >> PAGE_SHIFT) - (old_addr >> PAGE_SHIFT);
	struct folio *folio;

	vma_assert_write_locked(old);
	vma_assert_write_locked(new);

	for (; nr; nr--, ptep++, old_addr += PAGE_SIZE) {
		folio = pte_mapped_folio(ptep_get(ptep));
		if (!folio || !folio_test_anon_vma_lazy(folio))
			continue;

		VM_WARN_ON_FOLIO(folio->index != old_addr >> PAGE_SHIFT, folio);
		if (stay_lazy)
			WRITE_ONCE(folio->index, folio->index + delta);
		else
			__folio_make_anon_regular(folio, new, ANON_VMA_LAZY_MREMAP);
	}
}

/* Of walks with the VMA write lock, takes the PTE lock */
static int make_anon_regular_pmd_entry(pmd_t *pmd, unsigned long addr,
				       unsigned long end, struct mm_walk *walk)
{
	const enum anon_vma_lazy_cause cause = *(enum anon_vma_lazy_cause *)walk->private;
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
		folio = pte_mapped_folio(ptep_get(pte));
		if (folio)
			folio_make_anon_regular(folio, vma, cause);
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
 * @vma: The VMA, which becomes regular itself. Nothing happens if it is not upgraded.
 * @cause: Why, fork or mremap.
 *
 * Context: mmap_lock held for write, VMA write lock held. May sleep.
 */
void vma_make_anon_regular(struct vm_area_struct *vma,
			   enum anon_vma_lazy_cause cause)
{
	vma_assert_write_locked(vma);

	if (anon_vma_tree_state(vma->anon_vma) != ANON_VMA_TREE_UPGRADED)
		return;

	walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
			    &make_anon_regular_walk_ops, &cause);
	vma_set_anon_regular(vma);
}

/* Of walks with the VMA write lock, takes the PTE lock */
static int find_anon_lazy_pmd_entry(pmd_t *pmd, unsigned long addr,
				    unsigned long end, struct mm_walk *walk)
{
	pte_t *start_pte, *pte;
	struct folio *folio;
	bool found = false;
	spinlock_t *ptl;

	walk->action = ACTION_CONTINUE;

	start_pte = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start_pte)
		return 0;

	for (pte = start_pte; addr < end && !found; pte++, addr += PAGE_SIZE) {
		folio = pte_mapped_folio(ptep_get(pte));
		found = folio && folio_test_anon_vma_lazy(folio);
	}
	pte_unmap_unlock(start_pte, ptl);
	cond_resched();
	return found;
}

static const struct mm_walk_ops find_anon_lazy_walk_ops = {
	.pmd_entry	= find_anon_lazy_pmd_entry,
	.walk_lock	= PGWALK_WRLOCK_VERIFY,
};

/*
 * Has any VMA below @anon_vma an anon_vma of its own? The root counts itself.
 *
 * Context: mmap_lock held for write; the VMA's chain keeps @anon_vma.
 */
static bool anon_vma_has_children(const struct anon_vma *anon_vma)
{
	/* A glance without the lock: a neighbour not found is one not merged. */
	return data_race(anon_vma->num_children) > (anon_vma == anon_vma->root);
}

/**
 * __vma_share_anon_vma_lazy() - make a VMA ready for a fork to share its memory
 * @vma: The VMA, lazy or upgraded. What it maps is not lazy afterwards.
 *
 * A lazy one is upgraded. But one that was forked itself and maps nothing lazy can
 * stay as it is: what it passes on is found by its ancestors' anon_vmas, which the
 * child is linked to, too. So what a zygote has not written since it was forked
 * costs its children one anon_vma_chain less for each VMA.
 *
 * But KSM, which finds pages by way of each VMA that it has looked at, would have to
 * go by the ancestors' anon_vmas then, each time through the whole family. So where
 * it runs, or may look at @vma, that is upgraded; for later it is noted, see
 * vma_upgrade_for_ksm(). If a neighbour has an anon_vma that can be shared it is, for
 * the two to be merged. And an anon_vma on the chain that no VMA owns any more is
 * taken over: else the first child that needs one would own the one that all of them
 * are on.
 *
 * Context: mmap_lock held for write, VMA write lock held. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int __vma_share_anon_vma_lazy(struct vm_area_struct *vma)
{
	struct anon_vma *anon_vma = vma_anon_vma(vma);
	struct anon_vma_chain *avc;
	int err;

	mmap_assert_write_locked(vma->vm_mm);
	vma_assert_write_locked(vma);

	if (anon_vma_tree_state(vma->anon_vma) != ANON_VMA_TREE_PARENT ||
	    vma->vm_flags & VM_MERGEABLE ||
	    (IS_ENABLED(CONFIG_KSM) && ksm_is_running()) ||
	    walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
				&find_anon_lazy_walk_ops, NULL) ||
	    (anon_vma_has_children(anon_vma) && find_mergeable_anon_vma(vma))) {
		err = vma_upgrade_anon_vma_lazy(vma, ANON_VMA_LAZY_FORK);
		if (!err)
			vma_make_anon_regular(vma, ANON_VMA_LAZY_FORK);
		return err;
	}

	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		/* Looked at again under the lock, which most forks need not take. */
		if (!data_race(anon_vma_is_reusable(avc->anon_vma)))
			continue;
		if (anon_vma_reuse_ancestor(vma, anon_vma)) {
			count_upgrade(vma, ANON_VMA_LAZY_FORK);
			vma_set_anon_regular(vma);
			return 0;
		}
		break;
	}
	WRITE_ONCE(anon_vma->passed_on, true);
	return 0;
}

/*
 * Can @pte, not present, stay in a VMA that leaves its anon_vma? Migration and
 * devices find their way back by it, a folio in the swap cache that swap-in does
 * not give a new mapping keeps it. The PTE lock is held, the mmap_lock for write.
 */
static int leaf_pte_can_be_lazy(pte_t pte)
{
	const softleaf_t entry = softleaf_from_pte(pte);
	struct folio *folio;
	int err = 0;

	if (softleaf_is_migration(entry))
		return -EAGAIN;
	if (softleaf_has_pfn(entry))
		return -EBUSY;
	if (!softleaf_is_swap(entry))
		return 0;

	folio = swap_cache_get_folio(entry);
	if (!folio)
		return 0;
	if (folio_test_large(folio) || folio_test_ksm(folio))
		err = -EBUSY;
	folio_put(folio);
	return err;
}

/* Of walks with the VMA write lock, takes the PTE lock and folio locks, if free */
static int make_anon_lazy_pmd_entry(pmd_t *pmd, unsigned long addr,
				    unsigned long end, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct address_space *mapping = (void *)vma->vm_mm +
					FOLIO_MAPPING_ANON_VMA_LAZY;
	pte_t *start_pte, *pte;
	struct folio *folio;
	spinlock_t *ptl;
	int err = 0;

	walk->action = ACTION_CONTINUE;

	start_pte = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!start_pte)
		return pmd_none(pmdp_get_lockless(pmd)) ? 0 : -EBUSY;

	for (pte = start_pte; addr < end && !err; pte++, addr += PAGE_SIZE) {
		const pte_t ptent = ptep_get(pte);

		if (pte_none(ptent))
			continue;
		if (!pte_present(ptent)) {
			err = leaf_pte_can_be_lazy(ptent);
			continue;
		}

		folio = vm_normal_folio(vma, addr, ptent);
		if (!folio || !folio_test_anon(folio) ||
		    folio_test_anon_vma_lazy(folio))
			continue;
		/* Its lock keeps out who has found it by its anon_vma. */
		if (!folio_trylock(folio)) {
			err = -EAGAIN;
			continue;
		}
		if (folio_test_large(folio) || folio_test_ksm(folio) ||
		    folio_is_zone_device(folio) || folio_mapcount(folio) != 1)
			err = -EBUSY;
		else
			WRITE_ONCE(folio->mapping, mapping);
		VM_WARN_ON_FOLIO(!err && folio->index != addr >> PAGE_SHIFT, folio);
		folio_unlock(folio);
	}
	pte_unmap_unlock(start_pte, ptl);
	return err;
}

static const struct mm_walk_ops make_anon_lazy_walk_ops = {
	.pmd_entry	= make_anon_lazy_pmd_entry,
	.walk_lock	= PGWALK_WRLOCK_VERIFY,
};

/*
 * The mm that all VMAs of @anon_vma belong to. NULL if there are several, or if
 * it would take long to tell. The anon_vma lock is held, for read at least.
 */
static struct mm_struct *anon_vma_sole_mm(struct anon_vma *anon_vma)
{
	unsigned int nr = 0;
	struct anon_vma_chain *avc;
	struct mm_struct *mm = NULL;

	rwsem_assert_held(&anon_vma->root->rwsem);

	anon_rmap_tree_foreach(avc, anon_vma, 0, ULONG_MAX) {
		if (!mm)
			mm = avc->vma->vm_mm;
		if (avc->vma->vm_mm != mm || ++nr > 8)
			return NULL;
	}
	return mm;
}

/*
 * Does everything that @vma's anon_vmas can find belong to its process? It stays
 * so while the mmap_lock is held, for write: only a fork could change it.
 */
static bool vma_is_anon_unshared(struct vm_area_struct *vma)
{
	struct anon_vma *anon_vma = vma_anon_vma(vma);
	struct anon_vma_chain *avc;
	bool unshared = true;

	anon_vma_lock_read(anon_vma);
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		unshared = anon_vma_sole_mm(avc->anon_vma) == vma->vm_mm;
		if (!unshared)
			break;
	}
	anon_vma_unlock_read(anon_vma);
	return unshared;
}

/*
 * Make @vma lazy again that has an anon_vma, if its memory is not shared any
 * more. If not all of it can be lazy the VMA keeps its anon_vmas, and may hold
 * folios of both kinds.
 *
 * What is swapped out gets its mapping when it is swapped in. With KSM others may
 * look for pages by the anon_vma.
 *
 * The mmap_lock is held for write. May sleep. Returns -EAGAIN if something was
 * in the way that will be gone soon, else 0.
 */
static int vma_make_anon_lazy(struct vm_area_struct *vma)
{
	int err;

	mmap_assert_write_locked(vma->vm_mm);

	if (!vma_anon_vma(vma) || !vma_can_be_anon_vma_lazy(vma) ||
	    (vma->vm_flags & VM_MERGEABLE) || !vma_is_anon_unshared(vma))
		return 0;
	/* Do not wait for a fault to end, nor let others wait for it. */
	if (refcount_read(&vma->vm_refcnt) > 1)
		return -EAGAIN;

	vma_start_write(vma);
	if (!anon_vma_tree_may_hold_lazy(vma->anon_vma))
		WRITE_ONCE(vma->anon_vma, anon_vma_tree(vma_anon_vma(vma),
							ANON_VMA_TREE_UPGRADED));
	err = walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
				  &make_anon_lazy_walk_ops, NULL);
	if (err)
		return err == -EAGAIN ? err : 0;

	__unlink_anon_vmas(vma, anon_vma_tree(NULL, ANON_VMA_TREE_VMA));
	count_vm_event(ANON_VMA_LAZY_AGAIN);
	return 0;
}

/*
 * As vma_make_anon_lazy(), for all VMAs of @mm, which the caller keeps by a
 * reference that is not a user's. Tries for the mmap_lock, as others are to be
 * looked at, too, and drops it whenever someone wants it: VMAs that come meanwhile
 * are lazy anyway.
 *
 * Holding the mmap_lock keeps exit_mmap() waiting if there were users left then.
 */
static int mm_make_anon_lazy(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	unsigned long addr = 0;
	int err = 0;

	do {
		vma = NULL;
		if (!mmap_write_trylock(mm))
			return -EAGAIN;
		if (atomic_read(&mm->mm_users) && !check_stable_address_space(mm)) {
			vma_iter_set(&vmi, addr);
			for_each_vma(vmi, vma) {
				addr = vma->vm_end;
				if (vma_make_anon_lazy(vma))
					err = -EAGAIN;
				if (need_resched() || mmap_lock_is_contended(mm))
					break;
			}
		}
		mmap_write_unlock(mm);
		cond_resched();
	} while (vma);
	return err;
}

static void anon_vma_unshared_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(anon_vma_unshared_work, anon_vma_unshared_work_fn);

/*
 * mm_structs with users, under the lock; nothing else keeps them. Who takes one
 * off to use it has a reference before that can be seen, see
 * mm_exit_anon_vma_lazy().
 */
static LIST_HEAD(anon_vma_unshared_mms);
static DEFINE_SPINLOCK(anon_vma_unshared_lock);

/*
 * Something keeps @mm for the moment: a reference, or the lock of an anon_vma that
 * one of its VMAs belongs to.
 */
static void mm_queue_anon_unshared(struct mm_struct *mm)
{
	spin_lock(&anon_vma_unshared_lock);
	if (list_empty(&mm->anon_vma_unshared)) {
		list_add_tail(&mm->anon_vma_unshared, &anon_vma_unshared_mms);
		/* Pairs with the last mmput(): one of us sees the other. */
		smp_mb();
		if (atomic_read(&mm->mm_users))
			/* Soon, but not for each fork of a busy shell. */
			queue_delayed_work(system_dfl_wq, &anon_vma_unshared_work, HZ);
		else
			list_del_init(&mm->anon_vma_unshared);
	}
	spin_unlock(&anon_vma_unshared_lock);
}

/**
 * mm_exit_anon_vma_lazy() - forget an mm that has no users any more
 * @mm: The mm, before exit_mmap().
 *
 * Context: Called by the last mmput(), whose atomic_dec_and_test() is a full
 * barrier. No locks held.
 */
void mm_exit_anon_vma_lazy(struct mm_struct *mm)
{
	if (list_empty_careful(&mm->anon_vma_unshared))
		return;

	spin_lock(&anon_vma_unshared_lock);
	list_del_init(&mm->anon_vma_unshared);
	spin_unlock(&anon_vma_unshared_lock);
}

static void anon_vma_unshared_work_fn(struct work_struct *work)
{
	struct mm_struct *mm;
	LIST_HEAD(mms);

	/* Not those that are queued meanwhile: once a second is enough. */
	spin_lock(&anon_vma_unshared_lock);
	list_splice_init(&anon_vma_unshared_mms, &mms);
	while (!list_empty(&mms)) {
		mm = list_first_entry(&mms, struct mm_struct, anon_vma_unshared);
		mmgrab(mm);
		/* Pairs with mm_exit_anon_vma_lazy(), which takes no lock then. */
		list_del_init_careful(&mm->anon_vma_unshared);
		spin_unlock(&anon_vma_unshared_lock);

		if (anon_vma_lazy_is_enabled() && mm_make_anon_lazy(mm))
			mm_queue_anon_unshared(mm);
		mmdrop(mm);

		spin_lock(&anon_vma_unshared_lock);
	}
	spin_unlock(&anon_vma_unshared_lock);
}

/**
 * __anon_vma_left() - see if a single process is left that has an anon_vma
 * @anon_vma: The anon_vma, which VMAs still belong to.
 * @vma: The VMA that has just left it.
 *
 * Context: The anon_vma write lock held.
 */
void __anon_vma_left(struct anon_vma *anon_vma, const struct vm_area_struct *vma)
{
	struct mm_struct *mm = rb_entry(rb_first_cached(&anon_vma->rb_root),
					struct anon_vma_chain, rb)->vma->vm_mm;

	rwsem_assert_held_write(&anon_vma->root->rwsem);

	/* An exit comes here for each VMA: let only the first look around. */
	if (mm == vma->vm_mm || !list_empty_careful(&mm->anon_vma_unshared))
		return;
	if (anon_vma_sole_mm(anon_vma) == mm)
		mm_queue_anon_unshared(mm);
}

/**
 * vma_trylock_read_rcu() - look up a VMA of any mm and try to read lock it, once
 * @mm: The mm, which cannot be freed before the RCU section ends.
 * @address: The address to look up.
 *
 * For reverse mapping, under the folio lock. Unlike lock_vma_under_rcu() this
 * neither drops the RCU lock nor looks for another VMA if the one that it found
 * is going away, which might not end in an mm that dies. It counts no statistics,
 * they are about page faults.
 *
 * Context: In an RCU section, which must last until the VMA is unlocked if the
 * caller cannot rely on @mm otherwise.
 *
 * Return: the VMA that contains @address, read locked. NULL if there is none or
 * it could not be locked.
 */
struct vm_area_struct *vma_trylock_read_rcu(struct mm_struct *mm,
					    unsigned long address)
{
	struct vm_area_struct *vma = READ_ONCE(mm->anon_vma_lazy_hint);
	int oldcnt;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "no rcu lock held");

	/* Pages are often looked for twice, or after their neighbours. */
	if (!vma || data_race(address < vma->vm_start || address >= vma->vm_end)) {
		MA_STATE(mas, &mm->mm_mt, address, address);

		vma = mas_walk(&mas);
		if (!vma)
			return NULL;
	}

	/* See vma_start_read() for these steps and their memory order. */
	if (READ_ONCE(vma->vm_lock_seq) == READ_ONCE(mm->mm_lock_seq.sequence))
		return NULL;
	if (unlikely(!__refcount_inc_not_zero_limited_acquire(&vma->vm_refcnt,
							      &oldcnt,
							      VM_REFCNT_LIMIT)))
		return NULL;
	__vma_lockdep_acquire_read(vma);

	/*
	 * VMAs are SLAB_TYPESAFE_BY_RCU: until now this one may have been freed
	 * and become a VMA of another mm, or one of this mm somewhere else.
	 */
	if (likely(vma->vm_mm == mm &&
		   vma->vm_lock_seq != raw_read_seqcount(&mm->mm_lock_seq) &&
		   address >= vma->vm_start && address < vma->vm_end)) {
		if (READ_ONCE(mm->anon_vma_lazy_hint) != vma)
			WRITE_ONCE(mm->anon_vma_lazy_hint, vma);
		return vma;
	}

	/* If the VMA is another mm's by now, RCU keeps that one, too. */
	vma_refcount_put(vma);
	return NULL;
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
 * So can what its tree leads to: exit frees VMAs that are still in the tree, but
 * not before it has unmapped all, and their slab stays for this RCU section.
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
		if (!vma) {
			count_vm_event(ANON_VMA_LAZY_CONTENDED);
			trace_anon_vma_lazy_contended(folio);
			return ERR_PTR(-EAGAIN);
		}

		if (folio_mapped(folio) && folio_anon_mm_lazy(folio) == mm &&
		    READ_ONCE(folio->index) == index)
			break;

		/* Within the RCU section, for the writer that this may wake. */
		vma_end_read(vma);
	}

	VM_WARN_ON_ONCE_VMA(!vma_is_address_based(vma), vma);
	VM_WARN_ON_ONCE_VMA(!anon_vma_tree_may_hold_lazy(READ_ONCE(vma->anon_vma)),
			    vma);
	count_vm_event(ANON_VMA_LAZY_WALK);
	return anon_rmap_from_vma(vma);
}

/**
 * vma_maps_ksm_page() - does a process map a page where an rmap_item leads to?
 * @vma: The VMA that it leads to.
 * @mm: The mm of the process.
 * @page: The KSM page.
 * @address: The address that the rmap_item names.
 *
 * An rmap_item may have the parent of the anon_vma that the merged VMA owns, see
 * vma_upgrade_for_ksm(). That leads to all that was forked from the VMA's parent, and
 * most of that has nothing to do with the page.
 *
 * Context: The folio lock held, and the lock of the rmap_item's anon_vma. Takes the
 * PTE lock.
 *
 * Return: true if so.
 */
bool vma_maps_ksm_page(struct vm_area_struct *vma, const struct mm_struct *mm,
		       const struct page *page, unsigned long address)
{
	struct page_vma_mapped_walk pvmw = {
		.pfn = page_to_pfn(page),
		.nr_pages = 1,
		.vma = vma,
		.address = address,
		.flags = PVMW_SYNC,
	};

	VM_WARN_ON_PAGE(!PageLocked(page), page);

	if (vma->vm_mm != mm || address < vma->vm_start ||
	    address >= vma->vm_end || !page_vma_mapped_walk(&pvmw))
		return false;
	page_vma_mapped_walk_done(&pvmw);
	return true;
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
