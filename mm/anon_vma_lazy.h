/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lazy anon_vmas: reverse mapping from folio to VMA without an anon_vma, until
 * memory can be shared. See Documentation/mm/anon_vma_lazy.rst.
 *
 * Included by mm/internal.h.
 */
#ifndef __MM_ANON_VMA_LAZY_H
#define __MM_ANON_VMA_LAZY_H

/**
 * enum anon_vma_lazy_cause - Why a lazy VMA gets an anon_vma, and why a lazy folio
 *			      becomes regular.
 * @ANON_VMA_LAZY_FORK: It is to be shared with a child.
 * @ANON_VMA_LAZY_LARGE: A large folio is to be mapped, which is never lazy.
 * @ANON_VMA_LAZY_SIZE: The VMA has grown to ANON_VMA_LAZY_MAX.
 * @ANON_VMA_LAZY_MREMAP: It moves with what others may share.
 * @ANON_VMA_LAZY_SWAP: A folio that may be shared is swapped in.
 * @ANON_VMA_LAZY_KSM: Its pages are to be merged.
 * @ANON_VMA_LAZY_DEVICE: It is to be migrated to device memory.
 */
enum anon_vma_lazy_cause {
	ANON_VMA_LAZY_FORK,
	ANON_VMA_LAZY_LARGE,
	ANON_VMA_LAZY_SIZE,
	ANON_VMA_LAZY_MREMAP,
	ANON_VMA_LAZY_SWAP,
	ANON_VMA_LAZY_KSM,
	ANON_VMA_LAZY_DEVICE,
};

#ifdef CONFIG_ANON_VMA_LAZY

/*
 * Only VMAs below this size become lazy. The bound keeps the work small that fork,
 * mremap and reclaim do for each lazy VMA; above it one anon_vma does not count.
 */
#define ANON_VMA_LAZY_MAX SZ_2M

DECLARE_STATIC_KEY_TRUE(anon_vma_lazy_enabled);

/**
 * anon_vma_lazy_is_enabled() - may VMAs become lazy?
 *
 * Context: Any. Nothing that is lazy already depends on it.
 *
 * Return: what vm.anon_vma_lazy says.
 */
static inline bool anon_vma_lazy_is_enabled(void)
{
	return static_branch_likely(&anon_vma_lazy_enabled);
}

bool __vma_prepare_anon_vma_lazy(struct vm_area_struct *vma);
bool vma_fork_anon_vma_lazy(struct vm_area_struct *vma,
			    const struct vm_area_struct *pvma);
int anon_vma_prepare_child(struct vm_area_struct *vma, struct anon_vma *parent);
int __vma_upgrade_anon_vma_lazy(struct vm_area_struct *vma,
				enum anon_vma_lazy_cause cause);
int mm_upgrade_anon_vma_lazy(struct mm_struct *mm, unsigned long address,
			     enum anon_vma_lazy_cause cause);
vm_fault_t __vmf_upgrade_anon_vma_lazy(struct vm_fault *vmf,
				       enum anon_vma_lazy_cause cause);
vm_fault_t __vmf_prepare_swapin(struct vm_fault *vmf, struct folio *folio);

void __folio_make_anon_regular(struct folio *folio,
			       struct vm_area_struct *vma,
			       enum anon_vma_lazy_cause cause);
void move_ptes_anon_vma_lazy(struct vm_area_struct *old, unsigned long old_addr,
			     struct vm_area_struct *new, unsigned long new_addr,
			     pte_t *ptep, unsigned long nr);
void vma_make_anon_regular(struct vm_area_struct *vma,
			   enum anon_vma_lazy_cause cause);
int __vma_share_anon_vma_lazy(struct vm_area_struct *vma);
void __anon_vma_left(struct anon_vma *anon_vma, const struct vm_area_struct *vma);
void mm_exit_anon_vma_lazy(struct mm_struct *mm);

/**
 * mm_init_anon_vma_lazy() - initialise what an mm_struct has for lazy VMAs
 * @mm: The mm, new, or a copy of another.
 *
 * Context: Nobody else can see @mm.
 */
static inline void mm_init_anon_vma_lazy(struct mm_struct *mm)
{
	INIT_LIST_HEAD(&mm->anon_vma_unshared);
	mm->anon_vma_lazy_hint = NULL;
}

struct vm_area_struct *vma_trylock_read_rcu(struct mm_struct *mm,
					    unsigned long address);
anon_rmap_t folio_trylock_anon_rmap_lazy(const struct folio *folio);
bool vma_maps_ksm_page(struct vm_area_struct *vma, const struct mm_struct *mm,
		       const struct page *page, unsigned long address);
int unmap_poisoned_folio_lazy(struct folio *folio, unsigned long pfn,
			      bool must_kill);

/**
 * count_anon_vma_lazy_migrate_fail() - count an attempt at migration
 *
 * The folio is lazy, its VMA was busy.
 *
 * Context: Any.
 */
static inline void count_anon_vma_lazy_migrate_fail(void)
{
	count_vm_event(ANON_VMA_LAZY_MIGRATE_FAIL);
}

/**
 * folio_anon_mm_lazy() - which mm may map a folio?
 * @folio: The folio.
 *
 * Context: Any, for comparisons. To use the mm see folio_trylock_anon_rmap_lazy().
 *
 * Return: the mm. NULL if @folio is not lazy.
 */
static inline struct mm_struct *folio_anon_mm_lazy(const struct folio *folio)
{
	const unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if ((mapping & FOLIO_MAPPING_FLAGS) != FOLIO_MAPPING_ANON_VMA_LAZY)
		return NULL;
	return (struct mm_struct *)(mapping - FOLIO_MAPPING_ANON_VMA_LAZY);
}

/**
 * vma_fits_anon_vma_lazy() - is a VMA small enough to be lazy?
 * @vma: The VMA.
 *
 * Context: The VMA lock or the mmap_lock held, for read at least.
 *
 * Return: true if so.
 */
static inline bool vma_fits_anon_vma_lazy(const struct vm_area_struct *vma)
{
	return vma_pages(vma) < ANON_VMA_LAZY_MAX >> PAGE_SHIFT;
}

/**
 * folio_anon_rmap_is_stale() - may mapping and index of a folio be out of date?
 * @folio: A folio in the swap cache.
 *
 * A lazy folio that is not mapped, a remnant in the swap cache, says nothing:
 * its mm may be gone and its address may be another VMA's. Swap-in gives every
 * unmapped folio that could be lazy a new mapping and index.
 *
 * Context: The folio lock is held.
 *
 * Return: true if they are to be set anew before @folio is mapped.
 */
static inline bool folio_anon_rmap_is_stale(const struct folio *folio)
{
	return !folio_test_large(folio) && !folio_test_ksm(folio) &&
		!folio_mapped(folio);
}

#else /* CONFIG_ANON_VMA_LAZY */

static inline bool anon_vma_lazy_is_enabled(void)
{
	return false;
}

static inline bool __vma_prepare_anon_vma_lazy(struct vm_area_struct *vma)
{
	return false;
}

static inline bool vma_fork_anon_vma_lazy(struct vm_area_struct *vma,
					  const struct vm_area_struct *pvma)
{
	return false;
}

static inline int __vma_upgrade_anon_vma_lazy(struct vm_area_struct *vma,
					      enum anon_vma_lazy_cause cause)
{
	return 0;
}

static inline int mm_upgrade_anon_vma_lazy(struct mm_struct *mm,
					   unsigned long address,
					   enum anon_vma_lazy_cause cause)
{
	return 0;
}

static inline vm_fault_t
__vmf_upgrade_anon_vma_lazy(struct vm_fault *vmf, enum anon_vma_lazy_cause cause)
{
	return 0;
}

static inline vm_fault_t __vmf_prepare_swapin(struct vm_fault *vmf,
					      struct folio *folio)
{
	return 0;
}

static inline void __folio_make_anon_regular(struct folio *folio,
					     struct vm_area_struct *vma,
					     enum anon_vma_lazy_cause cause)
{
}

static inline void move_ptes_anon_vma_lazy(struct vm_area_struct *old,
					   unsigned long old_addr,
					   struct vm_area_struct *new,
					   unsigned long new_addr,
					   pte_t *ptep, unsigned long nr)
{
}

static inline void vma_make_anon_regular(struct vm_area_struct *vma,
					 enum anon_vma_lazy_cause cause)
{
}

static inline int __vma_share_anon_vma_lazy(struct vm_area_struct *vma)
{
	return 0;
}

static inline void __anon_vma_left(struct anon_vma *anon_vma,
				   const struct vm_area_struct *vma)
{
}

static inline void mm_exit_anon_vma_lazy(struct mm_struct *mm)
{
}

static inline void mm_init_anon_vma_lazy(struct mm_struct *mm)
{
}

static inline anon_rmap_t folio_trylock_anon_rmap_lazy(const struct folio *folio)
{
	return NULL;
}

static inline bool vma_maps_ksm_page(struct vm_area_struct *vma,
				     const struct mm_struct *mm,
				     const struct page *page,
				     unsigned long address)
{
	/* Or was forked from one that does */
	return vma->vm_mm == mm;
}

static inline int unmap_poisoned_folio_lazy(struct folio *folio,
					    unsigned long pfn, bool must_kill)
{
	return -EBUSY;
}

static inline void count_anon_vma_lazy_migrate_fail(void)
{
}

static inline struct mm_struct *folio_anon_mm_lazy(const struct folio *folio)
{
	return NULL;
}

static inline bool vma_fits_anon_vma_lazy(const struct vm_area_struct *vma)
{
	return true;
}

static inline bool folio_anon_rmap_is_stale(const struct folio *folio)
{
	return false;
}

#endif /* CONFIG_ANON_VMA_LAZY */

/* mm/rmap.c: what its users in mm/anon_vma_lazy.c share with it */

/**
 * anon_vma_alloc() - allocate an anon_vma that is its own root and parent
 *
 * Context: May sleep.
 *
 * Return: the anon_vma, with a reference. NULL if there is no memory.
 */
struct anon_vma *anon_vma_alloc(void);

/**
 * anon_vma_chain_alloc() - allocate a link between a VMA and an anon_vma
 * @gfp: How.
 *
 * Context: As @gfp says.
 *
 * Return: the link, not initialised. NULL if there is no memory.
 */
struct anon_vma_chain *anon_vma_chain_alloc(gfp_t gfp);

/**
 * anon_vma_chain_free() - free a link
 * @anon_vma_chain: The link, which nothing refers to.
 *
 * Context: Any.
 */
void anon_vma_chain_free(struct anon_vma_chain *anon_vma_chain);

/**
 * anon_vma_chain_assign() - put a link on the chain of a VMA
 * @vma: The VMA.
 * @avc: The link.
 * @anon_vma: What it links @vma to, in whose tree it is not inserted yet.
 *
 * Context: mm->page_table_lock held, or the mmap_lock for write.
 */
void anon_vma_chain_assign(struct vm_area_struct *vma, struct anon_vma_chain *avc,
			   struct anon_vma *anon_vma);

/**
 * anon_vma_is_reusable() - may a VMA below it in the tree take over an anon_vma?
 * @anon_vma: The anon_vma.
 *
 * Context: The anon_vma write lock held, or what is returned is but a hint.
 *
 * Return: true if no VMA owns it, and it has a single child at most.
 */
bool anon_vma_is_reusable(const struct anon_vma *anon_vma);

/**
 * ksm_is_running() - does KSM merge pages? There must be CONFIG_KSM.
 *
 * Context: Any.
 *
 * Return: true if so, which may change at any time.
 */
bool ksm_is_running(void);

/**
 * unlink_anon_vmas() - unlink a VMA from its anon_vmas
 * @vma: The VMA, which maps nothing anonymous any more.
 *
 * Context: mmap_lock held, for read at least.
 */
static inline void unlink_anon_vmas(struct vm_area_struct *vma)
{
	mmap_assert_locked(vma->vm_mm);

	/* As a rule it has none, and the call would take longer than the rest. */
	if (vma_anon_vma(vma)) {
		__unlink_anon_vmas(vma, NULL);
	} else {
		VM_WARN_ON_ONCE(!list_empty(&vma->anon_vma_chain));
		WRITE_ONCE(vma->anon_vma, NULL);
	}
}

/**
 * vma_prepare_anon_vma_lazy() - make a VMA lazy before its first anonymous page
 * @vma: The VMA. It has no anon_vma handle yet.
 *
 * Context: The VMA lock or the mmap_lock held, for read at least.
 *
 * Return: true if it has one now. false if it has to get an anon_vma.
 */
static inline bool vma_prepare_anon_vma_lazy(struct vm_area_struct *vma)
{
	return anon_vma_lazy_is_enabled() && __vma_prepare_anon_vma_lazy(vma);
}

/**
 * vma_upgrade_anon_vma_lazy() - give a lazy VMA an anon_vma of its own
 * @vma: The VMA. Nothing happens if it is not lazy.
 * @cause: What makes that necessary.
 *
 * Context: mmap_lock held, for read at least. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
static inline int vma_upgrade_anon_vma_lazy(struct vm_area_struct *vma,
					    enum anon_vma_lazy_cause cause)
{
	if (!vma_is_anon_vma_lazy(vma))
		return 0;
	return __vma_upgrade_anon_vma_lazy(vma, cause);
}

/**
 * vma_share_anon_vma_lazy() - make a VMA ready for a fork to share its memory
 * @vma: The VMA. What it maps is not lazy afterwards.
 *
 * Context: mmap_lock held for write, VMA write lock held. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
static inline int vma_share_anon_vma_lazy(struct vm_area_struct *vma)
{
	if (!anon_vma_tree_may_hold_lazy(vma->anon_vma))
		return 0;
	return __vma_share_anon_vma_lazy(vma);
}

/**
 * vma_prepare_anon_vma_owned() - give a VMA an anon_vma of its own, lazy or not
 * @vma: The VMA.
 * @cause: Why what it is to map cannot be lazy.
 *
 * Context: mmap_lock held, for read at least. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
static inline int vma_prepare_anon_vma_owned(struct vm_area_struct *vma,
					     enum anon_vma_lazy_cause cause)
{
	if (likely(vma->anon_vma))
		return vma_upgrade_anon_vma_lazy(vma, cause);
	return __anon_vma_prepare(vma);
}

/**
 * vmf_upgrade_anon_vma_lazy() - upgrade the VMA of a fault that cannot be lazy
 * @vmf: The fault. Its VMA has an anon_vma handle.
 * @cause: What makes that necessary.
 *
 * Context: The VMA lock or the mmap_lock held, see FAULT_FLAG_VMA_LOCK. May
 * sleep.
 *
 * Return: 0 if the VMA owns an anon_vma now. VM_FAULT_RETRY if the mmap_lock was
 * needed and not to be had: the VMA lock has been dropped, as by
 * vmf_anon_prepare(). VM_FAULT_OOM.
 */
static inline vm_fault_t vmf_upgrade_anon_vma_lazy(struct vm_fault *vmf,
						   enum anon_vma_lazy_cause cause)
{
	vm_fault_t ret;

	if (!vma_is_anon_vma_lazy(vmf->vma))
		return 0;
	ret = __vmf_upgrade_anon_vma_lazy(vmf, cause);
	if (unlikely(ret & VM_FAULT_RETRY))
		vma_end_read(vmf->vma);
	return ret;
}

/**
 * vmf_upgrade_for_folio() - upgrade the VMA of a fault for its large folio
 * @vmf: The fault. Its VMA has an anon_vma handle.
 * @folio: The folio, which nobody else has seen yet.
 *
 * Context: As vmf_upgrade_anon_vma_lazy().
 *
 * Return: @folio. Otherwise it has been freed: NULL if there is no memory for an
 * anon_vma and a small folio is to be taken, ERR_PTR(-EBUSY) if the fault must end
 * in VM_FAULT_RETRY, as vmf_upgrade_anon_vma_lazy() says.
 */
static inline struct folio *vmf_upgrade_for_folio(struct vm_fault *vmf,
						  struct folio *folio)
{
	const vm_fault_t ret = vmf_upgrade_anon_vma_lazy(vmf, ANON_VMA_LAZY_LARGE);

	if (likely(!ret))
		return folio;
	folio_put(folio);
	return ret & VM_FAULT_RETRY ? ERR_PTR(-EBUSY) : NULL;
}

/**
 * vmf_outgrow_anon_vma_lazy() - upgrade the VMA of a fault if it has grown big
 * @vmf: The fault. Its VMA has an anon_vma handle.
 *
 * The size is no matter of safety: if this fails the VMA stays lazy.
 *
 * Context: As vmf_upgrade_anon_vma_lazy(), but all locks stay held.
 */
static inline void vmf_outgrow_anon_vma_lazy(struct vm_fault *vmf)
{
	if (vma_is_anon_vma_lazy(vmf->vma) && !vma_fits_anon_vma_lazy(vmf->vma))
		__vmf_upgrade_anon_vma_lazy(vmf, ANON_VMA_LAZY_SIZE);
}

/**
 * vmf_prepare_swapin() - upgrade the VMA of a fault if a folio to be swapped in
 *			  cannot be lazy
 * @vmf: The fault, orig_pte is the swap entry.
 * @folio: The folio, not locked yet.
 *
 * Context: As vmf_upgrade_anon_vma_lazy().
 *
 * Return: As vmf_upgrade_anon_vma_lazy().
 */
static inline vm_fault_t vmf_prepare_swapin(struct vm_fault *vmf,
					    struct folio *folio)
{
	if (likely(!vma_is_anon_vma_lazy(vmf->vma)))
		return 0;
	return __vmf_prepare_swapin(vmf, folio);
}

/**
 * folio_make_anon_regular() - make a folio regular before it is shared or moved
 * @folio: The folio. Nothing happens if it is not lazy.
 * @vma: A VMA that owns an anon_vma, in which the folio keeps its index.
 * @cause: Why: fork, mremap, or migration to device memory.
 *
 * Context: The VMA write lock and the PTE lock held; or the folio lock and the
 * VMA or mmap read lock.
 */
static inline void folio_make_anon_regular(struct folio *folio,
					   struct vm_area_struct *vma,
					   enum anon_vma_lazy_cause cause)
{
	if (unlikely(anon_vma_tree_may_hold_lazy(vma->anon_vma)) &&
	    folio_test_anon_vma_lazy(folio))
		__folio_make_anon_regular(folio, vma, cause);
}

/**
 * vma_makes_anon_lazy() - is a folio to become lazy?
 * @vma: The VMA that maps it.
 * @tree: The handle of @vma, read once.
 * @folio: The folio to be mapped, or moved within what it belongs to.
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
static __always_inline bool
vma_makes_anon_lazy(const struct vm_area_struct *vma, anon_vma_tree_t tree,
		    const struct folio *folio, bool exclusive)
{
	if (!anon_vma_tree_is_lazy(tree))
		return false;

	VM_WARN_ON_ONCE_VMA(!vma_is_address_based(vma), vma);

	if (anon_vma_tree_state(tree) == ANON_VMA_TREE_PARENT)
		return exclusive && !folio_test_large(folio) &&
			!folio_is_zone_device(folio) &&
			mt_in_rcu(&vma->vm_mm->mm_mt);

	/* Swap-in may not say that it is exclusive while it is written back. */
	VM_WARN_ON_FOLIO(!exclusive && !folio_test_swapcache(folio), folio);
	VM_WARN_ON_FOLIO(folio_test_large(folio) || folio_is_zone_device(folio),
			 folio);
	return true;
}

/**
 * vma_anon_mapping() - what is folio->mapping to say of an anonymous folio?
 * @folio: The folio to be mapped, or moved within what it belongs to.
 * @vma: The VMA that maps it.
 * @tree: The handle of @vma, read once.
 * @exclusive: Is @folio exclusive to the process?
 *
 * One answer for all who give a folio its mapping, from one look at the handle.
 * What is not exclusive belongs to the root: others may map it, or have done so.
 *
 * Context: As vma_makes_anon_lazy().
 *
 * Return: the mapping, its flags included.
 */
static __always_inline struct address_space *
vma_anon_mapping(const struct folio *folio, const struct vm_area_struct *vma,
		 anon_vma_tree_t tree, bool exclusive)
{
	struct anon_vma *anon_vma = anon_vma_tree_anon_vma(tree);

	if (vma_makes_anon_lazy(vma, tree, folio, exclusive))
		return (void *)vma->vm_mm + FOLIO_MAPPING_ANON_VMA_LAZY;

	if (!exclusive)
		anon_vma = anon_vma->root;
	return (void *)anon_vma + FOLIO_MAPPING_ANON;
}

/**
 * vma_upgrade_for_ksm() - get the anon_vma that is to find a page of KSM
 * @vma: The VMA that maps the page which KSM is about to merge.
 * @page: That page.
 * @kpage: The page that replaces it, or the same where a merged one was inherited.
 *	NULL if @page itself is to be KSM's.
 * @address: Where @page was found in @vma, and is to be found from now on.
 *
 * A page that was lazy goes where mremap() moves it, index and all, and may be
 * elsewhere in @vma by now. UFFDIO_MOVE, which needs less than the mmap_lock, can do
 * that to any exclusive page later, too; the next scan finds it there then.
 *
 * A VMA may have been given its anon_vma after it was forked itself: then its
 * children are on the parent of that, see __vma_share_anon_vma_lazy(). They may map
 * what @vma maps unless it is replaced here, or exclusive to the process.
 *
 * Context: mmap_lock held, for read at least, which keeps the anon_vma. May sleep.
 *
 * Return: the anon_vma. ERR_PTR(-EFAULT) if the page is elsewhere, ERR_PTR(-ENOMEM).
 */
static inline struct anon_vma *vma_upgrade_for_ksm(struct vm_area_struct *vma,
						   const struct page *page,
						   const struct page *kpage,
						   unsigned long address)
{
	const struct folio *folio = page_folio(page);
	struct anon_vma *anon_vma;
	int err;

	mmap_assert_locked(vma->vm_mm);

	if (!IS_ENABLED(CONFIG_ANON_VMA_LAZY))
		return vma_anon_vma(vma);

	if (!folio_test_ksm(folio) &&
	    READ_ONCE(folio->index) + folio_page_idx(folio, page) !=
			linear_anon_page_index(vma, address))
		return ERR_PTR(-EFAULT);
	err = vma_upgrade_anon_vma_lazy(vma, ANON_VMA_LAZY_KSM);
	if (err)
		return ERR_PTR(err);

	anon_vma = vma_anon_vma(vma);
	if (READ_ONCE(anon_vma->parent->passed_on) &&
	    (!kpage || kpage == page) && !PageAnonExclusive(page))
		return anon_vma->parent;
	return anon_vma;
}

/**
 * folio_fits_anon_vma() - may a folio move to a VMA, lazy or not?
 * @folio: The folio, exclusive, but not mapped by a PMD.
 * @vma: The VMA.
 *
 * Context: The folio lock held, and the VMA lock or the mmap_lock for read.
 *
 * Return: true if so. false if @vma would have to own an anon_vma.
 */
static inline bool folio_fits_anon_vma(const struct folio *folio,
				       const struct vm_area_struct *vma)
{
	return anon_vma_tree_state(READ_ONCE(vma->anon_vma)) != ANON_VMA_TREE_VMA ||
		!folio_is_zone_device(folio);
}

/**
 * anon_vma_left() - a VMA that may have shared memory with others is gone
 * @anon_vma: An anon_vma that it belonged to, and others still do.
 * @vma: The VMA.
 *
 * If only one process is left its VMAs can be lazy again.
 *
 * Context: The anon_vma write lock held.
 */
static inline void anon_vma_left(struct anon_vma *anon_vma,
				 const struct vm_area_struct *vma)
{
	if (anon_vma_lazy_is_enabled())
		__anon_vma_left(anon_vma, vma);
}

/**
 * vma_needs_upgrade_for_swap() - must a VMA own an anon_vma to swap in?
 * @vma: The VMA.
 * @folio: The folio that comes back.
 * @pte: The swap entry.
 *
 * A large folio is never lazy, nor is one that another process may map. A forked
 * VMA has the anon_vmas of its ancestors for these.
 *
 * Context: The mmap_lock held for read, or the VMA lock.
 *
 * Return: true if so.
 */
static inline bool vma_needs_upgrade_for_swap(const struct vm_area_struct *vma,
					      const struct folio *folio, pte_t pte)
{
	return anon_vma_tree_state(READ_ONCE(vma->anon_vma)) == ANON_VMA_TREE_VMA &&
		(folio_test_large(folio) || !pte_swp_exclusive(pte));
}

/**
 * vma_upgrade_for_swap() - upgrade a VMA if swapoff brings back what is not lazy
 * @vma: The VMA.
 * @folio: The folio, not locked yet.
 * @pte: The swap entry.
 *
 * Context: mmap_lock held for read. May sleep.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
static inline int vma_upgrade_for_swap(struct vm_area_struct *vma,
				       const struct folio *folio, pte_t pte)
{
	if (!vma_needs_upgrade_for_swap(vma, folio, pte))
		return 0;
	return vma_upgrade_anon_vma_lazy(vma, folio_test_large(folio) ?
					 ANON_VMA_LAZY_LARGE : ANON_VMA_LAZY_SWAP);
}

/**
 * folio_get_anon_rmap() - keep what finds an anonymous folio while it is unmapped
 * @folio: The folio, neither KSM nor hugetlb.
 *
 * For migration: once all is migration entries the folio is not mapped any more,
 * and nothing but this leads back to them.
 *
 * Context: The folio lock is held. Does not sleep.
 *
 * Return: an anon_vma with a reference or, for a lazy folio, its VMA, read
 * locked, for try_to_migrate() to use. NULL if the folio is not mapped.
 * ERR_PTR(-EAGAIN) if the VMA could not be locked. To be released with
 * folio_put_anon_rmap().
 */
static inline anon_rmap_t folio_get_anon_rmap(const struct folio *folio)
{
	anon_rmap_t rmap = NULL;

	if (folio_test_anon_vma_lazy(folio))
		rmap = folio_trylock_anon_rmap_lazy(folio);
	if (rmap)
		return rmap;
	return anon_rmap_from_anon_vma(folio_get_anon_vma(folio));
}

/**
 * folio_maybe_same_anon_vma() - may a folio be mapped by a VMA, as rmap sees it?
 * @folio: The anonymous folio.
 * @vma: The VMA that might map it.
 *
 * Context: @vma is stable. Something keeps the folio's anon_vma: the folio lock
 * together with a mapping or a swap entry in @vma, or the mmap_lock of an mm that
 * mapped the folio under it.
 *
 * Return: true if the folio belongs to the tree of anon_vmas of @vma or, being
 * lazy, to its mm, where @vma may hold such: if it was moved, and its offsets are
 * not addresses, it does not. Always false for KSM folios, they have neither.
 */
static inline bool folio_maybe_same_anon_vma(const struct folio *folio,
					     const struct vm_area_struct *vma)
{
	const struct anon_vma *folio_av = folio_anon_vma(folio);
	/* Another thread may be giving the VMA an anon_vma, below the same root. */
	const anon_vma_tree_t tree = READ_ONCE(vma->anon_vma);
	const struct anon_vma *vma_av = anon_vma_tree_anon_vma(tree);

	if (folio_test_anon_vma_lazy(folio))
		return folio_anon_mm_lazy(folio) == vma->vm_mm &&
		       anon_vma_tree_may_hold_lazy(tree);
	return folio_av && vma_av && folio_av->root == vma_av->root;
}

#endif /* __MM_ANON_VMA_LAZY_H */
