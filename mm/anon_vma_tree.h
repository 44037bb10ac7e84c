/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handle in vma->anon_vma.
 *
 * An anon_vma_tree_t says where a VMA stands in the tree of anon_vmas: which
 * anon_vma it belongs to, and in the low bits how. It cannot be dereferenced
 * or mixed with a struct anon_vma pointer; it is opened with the functions
 * below only. A handle that is not NULL means, as it always did, that the VMA
 * may contain anonymous memory.
 *
 * vma->anon_vma is stable under the VMA write lock. Under the mmap write lock
 * alone it may still become lazy from NULL, which takes the VMA read lock and
 * mm->page_table_lock; what it names is stable then. Everywhere else it may also
 * get an anon_vma while it is looked at: read it once. Back to a lazy state it
 * moves under the mmap and VMA write locks only.
 *
 * Shared with tools/testing/vma: nothing here looks into an anon_vma.
 */
#ifndef __MM_ANON_VMA_TREE_H
#define __MM_ANON_VMA_TREE_H

/**
 * enum anon_vma_tree_state - How a VMA belongs to the anon_vma of its handle.
 * @ANON_VMA_TREE_REGULAR: The VMA owns the anon_vma. Its chain finds every
 *	anonymous folio in the VMA, none is lazy. A NULL handle has this state too.
 * @ANON_VMA_TREE_VMA: There is no anon_vma and the chain is empty. Anonymous
 *	folios in the VMA are lazy: each names its mm and its address.
 * @ANON_VMA_TREE_PARENT: The VMA was forked and its chain links it to its
 *	ancestors' anon_vmas, which find inherited folios. The anon_vma is that
 *	of the closest that owns one, as a rule the parent VMA, kept alive by
 *	the chain; the VMA owns none itself. New folios are lazy.
 * @ANON_VMA_TREE_UPGRADED: As regular for new folios, but there may be lazy
 *	folios: from before the VMA had an anon_vma, or as it is to lose it.
 */
enum anon_vma_tree_state {
	ANON_VMA_TREE_REGULAR = 0,
	ANON_VMA_TREE_VMA = 1,
	ANON_VMA_TREE_PARENT = 2,
	ANON_VMA_TREE_UPGRADED = 3,
};

#define ANON_VMA_TREE_STATE_MASK 3UL

/**
 * anon_vma_tree() - make a handle
 * @anon_vma: The anon_vma that the VMA belongs to, NULL for none.
 * @state: How.
 *
 * Context: Any.
 *
 * Return: the handle.
 */
static inline anon_vma_tree_t anon_vma_tree(struct anon_vma *anon_vma,
					    enum anon_vma_tree_state state)
{
	return (anon_vma_tree_t)((unsigned long)anon_vma | state);
}

/**
 * anon_vma_tree_state() - how does a VMA belong to the anon_vma of its handle?
 * @tree: The handle.
 *
 * Context: Any.
 *
 * Return: the state.
 */
static inline enum anon_vma_tree_state anon_vma_tree_state(anon_vma_tree_t tree)
{
	if (!IS_ENABLED(CONFIG_ANON_VMA_LAZY))
		return ANON_VMA_TREE_REGULAR;
	return (unsigned long)tree & ANON_VMA_TREE_STATE_MASK;
}

/**
 * anon_vma_tree_anon_vma() - which anon_vma does a handle name?
 * @tree: The handle.
 *
 * Context: Any.
 *
 * Return: the anon_vma, owned or not. NULL if there is none.
 */
static inline struct anon_vma *anon_vma_tree_anon_vma(anon_vma_tree_t tree)
{
	return (struct anon_vma *)((unsigned long)tree -
				   anon_vma_tree_state(tree));
}

/**
 * anon_vma_tree_is_lazy() - do new order-0 folios become lazy?
 * @tree: The handle of their VMA.
 *
 * Context: Any.
 *
 * Return: true if so.
 */
static inline bool anon_vma_tree_is_lazy(anon_vma_tree_t tree)
{
	const enum anon_vma_tree_state state = anon_vma_tree_state(tree);

	return state == ANON_VMA_TREE_VMA || state == ANON_VMA_TREE_PARENT;
}

/**
 * anon_vma_tree_may_hold_lazy() - may a VMA contain lazy folios?
 * @tree: Its handle.
 *
 * Context: Any.
 *
 * Return: true if so.
 */
static inline bool anon_vma_tree_may_hold_lazy(anon_vma_tree_t tree)
{
	return anon_vma_tree_state(tree) != ANON_VMA_TREE_REGULAR;
}

/**
 * anon_vma_tree_compatible() - May VMAs with these handles become one?
 * @a: The handle of one VMA.
 * @b: The handle of the other.
 *
 * VMAs that own the same anon_vma have the same chain. Those that merely name it
 * differ from them in their chains, and perhaps from each other, which is for the
 * caller to compare. A VMA that names none adds nothing to find; whether it should
 * be merged into a fork child is for the caller to say, too.
 *
 * Context: Any.
 *
 * Return: true if at most one of them names an anon_vma, or if both name the same
 * and either both VMAs own it or neither does.
 */
static inline bool anon_vma_tree_compatible(anon_vma_tree_t a, anon_vma_tree_t b)
{
	struct anon_vma *anon_vma_a = anon_vma_tree_anon_vma(a);
	struct anon_vma *anon_vma_b = anon_vma_tree_anon_vma(b);

	if (!anon_vma_a || !anon_vma_b)
		return true;
	return anon_vma_a == anon_vma_b &&
		anon_vma_tree_is_lazy(a) == anon_vma_tree_is_lazy(b);
}

/**
 * anon_vma_tree_merge() - The handle of a VMA that absorbs part of another.
 * @dst: The handle of the VMA that grows.
 * @src: The handle of the VMA whose range, or part of it, it takes over.
 *
 * The two must be compatible. If neither owns an anon_vma the one that has
 * ancestors remains. A VMA that ends up owning an anon_vma may hold lazy folios if
 * either of the two may.
 *
 * Context: Any.
 *
 * Return: the handle for the VMA that grows.
 */
static inline anon_vma_tree_t anon_vma_tree_merge(anon_vma_tree_t dst,
						  anon_vma_tree_t src)
{
	struct anon_vma *anon_vma = anon_vma_tree_anon_vma(dst);

	if (!src)
		return dst;
	if (!dst)
		return src;
	if (anon_vma_tree_is_lazy(dst) && anon_vma_tree_is_lazy(src))
		return anon_vma ? dst : src;
	if (!anon_vma)
		anon_vma = anon_vma_tree_anon_vma(src);
	if (!anon_vma_tree_may_hold_lazy(dst) && !anon_vma_tree_may_hold_lazy(src))
		return dst;
	return anon_vma_tree(anon_vma, ANON_VMA_TREE_UPGRADED);
}

/**
 * vma_anon_vma() - which anon_vma does the handle of a VMA name?
 * @vma: The VMA.
 *
 * Context: The handle is stable, see above.
 *
 * Return: the anon_vma, owned or not. NULL if there is none.
 */
static inline struct anon_vma *vma_anon_vma(const struct vm_area_struct *vma)
{
	return anon_vma_tree_anon_vma(vma->anon_vma);
}

/**
 * vma_set_anon_vma() - let a VMA own an anon_vma, and hold nothing lazy
 * @vma: The VMA.
 * @anon_vma: The anon_vma.
 *
 * Context: The VMA write lock held, or @vma is not visible yet.
 */
static inline void vma_set_anon_vma(struct vm_area_struct *vma,
				    struct anon_vma *anon_vma)
{
	vma->anon_vma = anon_vma_tree(anon_vma, ANON_VMA_TREE_REGULAR);
}

/**
 * vma_set_anon_regular() - forget that a VMA may hold lazy folios
 * @vma: The VMA. Nothing lazy is left in it, and nothing lazy will come if it owns
 *	an anon_vma. If not, nothing happens.
 *
 * Context: The VMA write lock held, or @vma is not visible yet.
 */
static inline void vma_set_anon_regular(struct vm_area_struct *vma)
{
	if (anon_vma_tree_state(vma->anon_vma) == ANON_VMA_TREE_UPGRADED)
		vma_set_anon_vma(vma, vma_anon_vma(vma));
}

/**
 * vma_is_anon_vma_lazy() - do new order-0 folios of a VMA become lazy?
 * @vma: The VMA.
 *
 * Context: The VMA lock or the mmap_lock held, for read at least.
 *
 * Return: true if so, though another thread's upgrade may change that at once.
 */
static inline bool vma_is_anon_vma_lazy(const struct vm_area_struct *vma)
{
	return anon_vma_tree_is_lazy(READ_ONCE(vma->anon_vma));
}

/**
 * anon_vma_chain_has() - is an anon_vma on the chain of a VMA?
 * @vma: The VMA.
 * @anon_vma: The anon_vma.
 *
 * Context: mm->page_table_lock held, or the mmap_lock for write.
 *
 * Return: true if so.
 */
static inline bool anon_vma_chain_has(const struct vm_area_struct *vma,
				      const struct anon_vma *anon_vma)
{
	const struct anon_vma_chain *avc;

	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		if (avc->anon_vma == anon_vma)
			return true;
	return false;
}

/**
 * anon_vma_chain_matches() - is the chain of a VMA the same as another's?
 * @vma: The VMA.
 * @old: The other one.
 * @own: What may be on the chain of @old in addition, or NULL.
 *
 * Context: mmap_lock held, for read at least.
 *
 * Return: true if so.
 */
static inline bool anon_vma_chain_matches(struct vm_area_struct *vma,
					  struct vm_area_struct *old,
					  const struct anon_vma *own)
{
	struct mm_struct *mm = vma->vm_mm;
	struct anon_vma_chain *avc;
	long nr_more = 0;
	bool ret;

	/* An upgrade of @vma by another thread adds to its chain. */
	spin_lock(&mm->page_table_lock);
	list_for_each_entry(avc, &old->anon_vma_chain, same_vma)
		nr_more++;
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		nr_more--;
	ret = nr_more == !!own;
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		/* Chains are long where every ancestor lives: no look in vain. */
		if (!ret)
			break;
		/* What is on our chain already is not what was added. */
		ret = avc->anon_vma != own && anon_vma_chain_has(old, avc->anon_vma);
	}
	spin_unlock(&mm->page_table_lock);
	return ret;
}

/**
 * vma_anon_vma_compatible() - may VMAs become one as far as anon_vmas go?
 * @a: One of them.
 * @b: The other.
 *
 * Merging leaves one of their chains. Owners of an anon_vma have the same chain,
 * but of those that merely name it one may descend from an owner that took it over
 * from an ancestor.
 *
 * Context: mmap_lock held for write.
 *
 * Return: true if so.
 */
static inline bool vma_anon_vma_compatible(struct vm_area_struct *a,
					   struct vm_area_struct *b)
{
	return anon_vma_tree_compatible(a->anon_vma, b->anon_vma) &&
		(anon_vma_tree_state(a->anon_vma) != ANON_VMA_TREE_PARENT ||
		 anon_vma_tree_state(b->anon_vma) != ANON_VMA_TREE_PARENT ||
		 anon_vma_chain_matches(a, b, NULL));
}

/**
 * vma_is_address_based() - is the anonymous page offset of each page its address?
 * @vma: The VMA.
 *
 * Lazy folios depend on it.
 *
 * Context: The VMA lock or the mmap_lock held, for read at least.
 *
 * Return: true if so. A VMA that was moved with an anon_vma kept its offsets.
 */
static inline bool vma_is_address_based(const struct vm_area_struct *vma)
{
	return vma_start_anon_pgoff(vma) == vma->vm_start >> PAGE_SHIFT;
}

#ifdef CONFIG_ANON_VMA_LAZY
/**
 * vma_forget_anon_vma_lazy() - forget that a VMA was the last to be looked up
 * @vma: The VMA, about to be freed.
 *
 * Whoever set the hint had @vma read locked, so that now, detached, it does not
 * become the hint any more. Who has read the hint does so in an RCU section, in
 * which the memory of @vma remains that of a VMA.
 *
 * Context: @vma is detached.
 */
static inline void vma_forget_anon_vma_lazy(struct vm_area_struct *vma)
{
	if (READ_ONCE(vma->vm_mm->anon_vma_lazy_hint) == vma)
		WRITE_ONCE(vma->vm_mm->anon_vma_lazy_hint, NULL);
}
#else
static inline void vma_forget_anon_vma_lazy(struct vm_area_struct *vma)
{
}
#endif

#endif /* __MM_ANON_VMA_TREE_H */
