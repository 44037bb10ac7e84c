/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a reverse mapping walk of an anonymous folio holds.
 *
 * An anon_rmap_t is an anon_vma or, for a folio that is lazy, the one VMA that
 * maps it. It cannot be dereferenced or mixed with pointers to either; it is opened
 * with the functions below. What it says is locked, unless folio_get_anon_rmap()
 * says otherwise.
 *
 * Included by mm/internal.h.
 */
#ifndef __MM_ANON_RMAP_H
#define __MM_ANON_RMAP_H

/*
 * An anon_rmap_t is the address of an anon_vma, or of a VMA with this bit set,
 * or NULL if there is nothing to walk, or an ERR_PTR(): ask for that first.
 */
#define ANON_RMAP_VMA 4UL

/**
 * anon_rmap_from_anon_vma() - what a walk of an anon_vma holds
 * @anon_vma: The anon_vma, or NULL.
 *
 * Context: @anon_vma is locked, or there is a reference.
 *
 * Return: the handle, NULL for NULL.
 */
static inline anon_rmap_t anon_rmap_from_anon_vma(struct anon_vma *anon_vma)
{
	return (anon_rmap_t)anon_vma;
}

/**
 * anon_rmap_from_vma() - what a walk of a lazy folio holds
 * @vma: The VMA that maps it.
 *
 * Context: The VMA read lock held.
 *
 * Return: the handle.
 */
static inline anon_rmap_t anon_rmap_from_vma(struct vm_area_struct *vma)
{
	return (anon_rmap_t)((unsigned long)vma | ANON_RMAP_VMA);
}

/**
 * anon_rmap_vma() - open the handle of a lazy folio's walk
 * @rmap: The handle.
 *
 * Context: Any.
 *
 * Return: the VMA that @rmap holds, NULL if it holds none.
 */
static inline struct vm_area_struct *anon_rmap_vma(anon_rmap_t rmap)
{
	const unsigned long val = (unsigned long)rmap;

	if (!IS_ENABLED(CONFIG_ANON_VMA_LAZY) || !(val & ANON_RMAP_VMA))
		return NULL;
	return (struct vm_area_struct *)(val - ANON_RMAP_VMA);
}

/**
 * anon_rmap_anon_vma() - open the handle of a regular folio's walk
 * @rmap: The handle.
 *
 * Context: Any.
 *
 * Return: the anon_vma that @rmap holds, NULL if it holds none.
 */
static inline struct anon_vma *anon_rmap_anon_vma(anon_rmap_t rmap)
{
	return anon_rmap_vma(rmap) ? NULL : (struct anon_vma *)rmap;
}

/**
 * anon_rmap_first_vma() - begin to walk the VMAs that may map some offsets
 * @rmap: What is walked.
 * @avc: Where the walk keeps its place.
 * @first: The first offset.
 * @last: The last one.
 *
 * Context: @rmap is locked.
 *
 * Return: a VMA, or NULL if there is none.
 */
static inline struct vm_area_struct *
anon_rmap_first_vma(anon_rmap_t rmap, struct anon_vma_chain **avc,
		    pgoff_t first, pgoff_t last)
{
	if (anon_rmap_vma(rmap))
		return anon_rmap_vma(rmap);
	*avc = anon_rmap_tree_iter_first(anon_rmap_anon_vma(rmap), first, last);
	return *avc ? (*avc)->vma : NULL;
}

/**
 * anon_rmap_next_vma() - go on to the next VMA that may map some offsets
 * @rmap: As for anon_rmap_first_vma().
 * @avc: As for anon_rmap_first_vma().
 * @first: As for anon_rmap_first_vma().
 * @last: As for anon_rmap_first_vma().
 *
 * Context: @rmap is locked.
 *
 * Return: a VMA, or NULL if there are no more.
 */
static inline struct vm_area_struct *
anon_rmap_next_vma(anon_rmap_t rmap, struct anon_vma_chain **avc,
		   pgoff_t first, pgoff_t last)
{
	if (anon_rmap_vma(rmap))
		return NULL;
	*avc = anon_rmap_tree_iter_next(*avc, first, last);
	return *avc ? (*avc)->vma : NULL;
}

/**
 * anon_rmap_foreach_vma() - walk the VMAs that may map some offsets
 * @vma: Each of them, in turn.
 * @avc: A struct anon_vma_chain pointer, in which the walk keeps its place.
 * @rmap: What is walked.
 * @first: The first offset.
 * @last: The last one.
 *
 * Context: @rmap is locked.
 */
#define anon_rmap_foreach_vma(vma, avc, rmap, first, last)		\
	for (vma = anon_rmap_first_vma(rmap, &(avc), first, last); vma;	\
	     vma = anon_rmap_next_vma(rmap, &(avc), first, last))

/**
 * anon_rmap_unlock_read() - end a walk
 * @rmap: What folio_lock_anon_rmap_read() returned, not NULL.
 *
 * Context: @rmap is locked, for read.
 */
static inline void anon_rmap_unlock_read(anon_rmap_t rmap)
{
	struct vm_area_struct *vma = anon_rmap_vma(rmap);

	if (!vma) {
		anon_vma_unlock_read(anon_rmap_anon_vma(rmap));
		return;
	}

	/* A writer that this wakes may free the VMA, and its mm may exit. */
	rcu_read_lock();
	vma_end_read(vma);
	rcu_read_unlock();
}

/**
 * folio_put_anon_rmap() - release what folio_get_anon_rmap() returned
 * @rmap: What that returned, or NULL.
 *
 * Context: The VMA read lock held if @rmap is a VMA, else a reference.
 */
static inline void folio_put_anon_rmap(anon_rmap_t rmap)
{
	if (anon_rmap_vma(rmap))
		anon_rmap_unlock_read(rmap);
	else if (rmap)
		put_anon_vma(anon_rmap_anon_vma(rmap));
}

#endif /* __MM_ANON_RMAP_H */
