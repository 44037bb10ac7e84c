/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol of mm/anon_vma_lazy.c, small enough to look at every order of
 * events. run.sh has spin do that; it also takes away the rules one by one (the
 * NO_... macros below) and expects spin to find out each time.
 *
 * What there is:
 *
 *	one anonymous order-0 folio (and its copy, while it migrates)
 *	two mms, 0 and 1, with two addresses each, each its own page table
 *	three vm_area_structs, a page long each, which get reused
 *	one anon_vma for whom sharing or moving has made regular, and in the
 *	scenario LAZY_AGAIN one that comes after it and one of strangers
 *
 * What a step is: each statement, or what stands together in atomic or d_step
 * because it is one access to memory in the kernel, or is done under a lock
 * that hides it. Between any two steps any other process may take any number.
 *
 * What is left out, so nothing is proved about it:
 *
 *  - Weak memory order. The model is sequentially consistent; who pairs with
 *    whom is said in the comments of the C code.
 *  - Reference counts of folio and anon_vma. Everybody here has a reference to
 *    the folio, as reclaim and migration do; the anon_vma is not freed but in
 *    the scenario UPGRADE, where it is counted.
 *  - Page tables that are freed while the VMA stays: empty ones by madvise(), those
 *    of files, and khugepaged. Here it is munmap, mremap and exit that do that.
 *  - TLBs, GUP, device memory, and VMAs longer than a page: what a merge does to
 *    a handle is for tools/testing/vma to test. Large folios and KSM, but for
 *    what LAZY_AGAIN says about them.
 *  - Walks by anon_vma, but for what lazy folios need of them: mremap holds its
 *    lock where upstream may rely on the order of the interval tree.
 *  - Sequence numbers: vma->vm_lock_seq == mm->mm_lock_seq is the bit wlocked,
 *    which cannot wrap. The check for it before taking a reference is left out,
 *    a hint that the check afterwards repeats.
 *  - Fairness and lost wake-ups. Whoever waits is woken when what it waits for
 *    is so; that waking a VMA writer touches the mm is in the model.
 *
 * No scenario has all of it, which would be too much to search: -DSCENARIO=name
 */
#define FORK		1	/* reclaim; fork, exit of the parent, reuse by the child */
#define MREMAP		2	/* reclaim; mremap there and back; a fault at the old place */
#define MUNMAP		3	/* reclaim; munmap, or MAP_FIXED, and another mapping there */
#define EXIT		4	/* reclaim; exit; mm and VMA become those of other processes */
#define MIGRATE		5	/* migration; fork, mremap, munmap or exit; a fault that waits */
#define LOCKS		6	/* reclaim; UFFDIO_MOVE; mprotect, munmap: who waits for whom */
#define SWAP		7	/* reclaim; swap-in by parent and child; parent exits */
#define COPY		8	/* reclaim of a page that fork copies for the child */
#define POISON		9	/* memory failure; mprotect, munmap or mremap; exit */
#define MERGE		10	/* reclaim; a merge frees the VMA, whose struct is reused */
#define UPGRADE		11	/* the handle: two faults, split, fork, a neighbour's fault */
#define LAZY_AGAIN	12	/* going back; reclaim or migration; swap-in, fork, exit */
#define UPGRADE_WALK	13	/* reclaim; two faults, one of which upgrades; fork */

/*
 * The claims. An assertion that fails is printed with the name of the claim,
 * which is nothing else: a bit that is never set.
 */
#define MUST(claim, condition) assert((condition) || claim)
bit mapping_not_found;	/* a walk that met no contention misses no PTE */
bit walked_wrong_pte;	/* a walk by VMA looks at the PTE that maps the folio alone */
bit mm_used_after_free;
bit vma_used_after_free;
bit tree_used_after_free;
bit page_table_used_after_free; /* R5 */
bit lazy_mapped_twice;	/* R1 */
bit lazy_elsewhere;	/* R1: not in the mm or at the address it names */
bit lazy_but_shared;	/* R8: by a swap entry that is not exclusive */
bit migration_entry_lost;
bit migration_entry_met;	/* by fork, mremap or munmap, of a lazy folio */
bit waited_in_vain;	/* memory failure found a VMA writer after all */
bit lock_order;
bit handle_went_back;	/* R11 */
bit anon_vma_lost;	/* neither owned nor freed */
bit handle_denies_folios; /* R8, R10: NULL or REGULAR, but lazy folios inside */
bit named_not_on_chain;	/* R11 */

#define NONE	7		/* no VMA, and for an rmap NULL */
#define EAGAIN	6		/* ERR_PTR(-EAGAIN) */

/*
 * struct folio. mapping: the mm, 0 or 1, of a lazy folio, or the anon_vma; NEW is
 * the one that VMA 0 gets after it was lazy again, STRANGE one of another family.
 */
#define REGULAR_MAPPING 2
#define NEW_MAPPING	3
#define STRANGE_MAPPING	4
byte mapping;
byte index;
byte mapcount;
bool anon_exclusive;		/* PageAnonExclusive() */
bool folio_locked;
bool on_lru;			/* a new folio is found by none but who maps it */

#define lazy	(mapping < REGULAR_MAPPING)	/* folio_test_anon_vma_lazy() */

/* PTEs: of the folio (mapped, or two kinds of swap entry), or of something else */
#define PTE_NONE	0
#define PTE_MAPPED	1
#define PTE_SWAP	2
#define PTE_SWAP_EXCL	3	/* pte_swp_exclusive() */
#define PTE_MIGRATION	4
#define PTE_OTHER	5

typedef mm_struct {
	bool freed;		/* and not yet another process's */
	byte users;		/* mm_users */
	bool mmap_writer;	/* mmap_lock */
	byte mmap_readers;
	byte mt[2];		/* mm_mt: the VMA at each address */
	bool mt_destroyed;
	bool mt_node_freed;
	bool ptl;		/* one PTE lock for both addresses */
	byte pte[2];
	bool pt_freed[2];	/* the page table of each address */
	byte grace_period;	/* RCU readers that free_mm() waits for */
	bool grabbed;		/* mmgrab() */
	byte hint;		/* anon_vma_lazy_hint */
};
mm_struct mm[2];

/* anon_vma_tree_t: the state. Whose anon_vma is said in the scenario UPGRADE. */
#define H_NULL		0
#define H_VMA		1
#define H_PARENT	2
#define H_REGULAR	3
#define H_UPGRADED	4
#define owns(h)		((h) >= H_REGULAR)
#define may_hold_lazy(h) ((h) != H_NULL && (h) != H_REGULAR)

#define EXCLUDE	8		/* VM_REFCNT_EXCLUDE_READERS_FLAG */

typedef vm_area_struct {
	byte vm_mm;
	byte addr;
	byte anon_pgoff;	/* address based: the same as addr */
	byte refcnt;		/* vm_refcnt: 0 detached, 1 attached, more: readers */
	bool wlocked;		/* vm_lock_seq == mm_lock_seq */
	byte handle;		/* vma->anon_vma */
	byte anon_vma;		/* that the handle names, as in mapping */
	bool linked;		/* an AVC links it to that */
	bool other;		/* hugetlb, PFNMAP: nothing that a walk may look at */
	bool gone;		/* freed and a grace period over: not even a VMA */
};
vm_area_struct vma[3];

/* The anon_vma: its root's rwsem. */
bool anon_vma_writer;
byte anon_vma_readers;

byte rcu_readers;		/* a bit for each process in an RCU section */

bool forked;			/* the child runs */

/*
 * Each process: its locks, and room for the values of local variables in C.
 */
#define LOCALS byte held; byte m; byte i; byte rmap; bool contended; bool wake

/*
 * Lock order, from mm/rmap.c. A lock that is waited for must come after all that
 * are held. Locks that are only tried for may be taken in any order (R6).
 */
#define MMAP		1
#define VMA		2
#define FOLIO		4
#define ANON_VMA	8
#define PAGE_TABLE	16
#define PTL		32
#define took(lock) MUST(lock_order, held < lock); held = held | lock
#define dropped(lock) held = held & ~(lock)

/* A look into an mm_struct. */
#define touch(mm_) MUST(mm_used_after_free, !mm[mm_].freed)
/* Nothing but the lock of a walk keeps the tables that it goes down. */
#define touch_pt(mm_, addr_) MUST(page_table_used_after_free, !mm[mm_].pt_freed[addr_])
/* A VMA is SLAB_TYPESAFE_BY_RCU: memory of a VMA until a grace period is over. */
#define touch_vma(v_) MUST(vma_used_after_free, !vma[v_].gone)

/** Locks **/

inline rcu_read_lock()
{
	rcu_readers = rcu_readers | (1 << _pid)
}

inline rcu_read_unlock()
{
	d_step {
		rcu_readers = rcu_readers & ~(1 << _pid);
		mm[0].grace_period = mm[0].grace_period & ~(1 << _pid);
		mm[1].grace_period = mm[1].grace_period & ~(1 << _pid)
	}
}

inline mmap_read_lock(mm_)
{
	d_step {
		!mm[mm_].mmap_writer ->
		took(MMAP);
		mm[mm_].mmap_readers++
	}
}

inline mmap_read_unlock(mm_)
{
	d_step { mm[mm_].mmap_readers--; dropped(MMAP) }
}

inline mmap_write_lock(mm_)
{
	d_step {
		!mm[mm_].mmap_writer && !mm[mm_].mmap_readers ->
		took(MMAP);
		mm[mm_].mmap_writer = true
	}
}

/* vma_end_write_all(), and mmap_lock is another's or mine for read. */
#define vma_end_write(v_, mm_) \
	vma[v_].wlocked = vma[v_].wlocked && vma[v_].vm_mm != mm_

inline mmap_write_unlock(mm_)
{
	d_step {
		vma_end_write(0, mm_);
		vma_end_write(1, mm_);
		vma_end_write(2, mm_);
		mm[mm_].mmap_writer = false;
		dropped(MMAP | VMA)
	}
}

inline mmap_write_downgrade(mm_)
{
	d_step {
		vma_end_write(0, mm_);
		vma_end_write(1, mm_);
		vma_end_write(2, mm_);
		mm[mm_].mmap_writer = false;
		mm[mm_].mmap_readers++;
		dropped(VMA)
	}
}

inline folio_lock()
{
	d_step { !folio_locked -> took(FOLIO); folio_locked = true }
}

inline folio_unlock()
{
	d_step { folio_locked = false; dropped(FOLIO) }
}

inline anon_vma_lock_read()
{
	d_step { !anon_vma_writer -> took(ANON_VMA); anon_vma_readers++ }
}

inline anon_vma_unlock_read()
{
	d_step { anon_vma_readers--; dropped(ANON_VMA) }
}

inline anon_vma_lock_write()
{
	d_step {
		!anon_vma_writer && !anon_vma_readers ->
		took(ANON_VMA);
		anon_vma_writer = true
	}
}

inline anon_vma_unlock_write()
{
	d_step { anon_vma_writer = false; dropped(ANON_VMA) }
}

inline ptl_lock(mm_)
{
	d_step { !mm[mm_].ptl -> took(PTL); mm[mm_].ptl = true }
}

/* What is under the PTE lock has to be right when it is dropped: R1. */
#ifdef NO_R1
#define check_r1() skip
#else
#define check_r1() \
	MUST(lazy_mapped_twice, !lazy || mapcount <= 1); \
	MUST(lazy_elsewhere, !lazy || !mapcount || mm[mapping].pte[index] == PTE_MAPPED)
#endif

inline ptl_unlock(mm_)
{
	d_step { check_r1(); mm[mm_].ptl = false; dropped(PTL) }
}

/* fork has two at a time; the child's cannot be contended by who waits for ours */
inline ptl_lock_both()
{
	d_step {
		!mm[0].ptl && !mm[1].ptl ->
		took(PTL);
		mm[0].ptl = true;
		mm[1].ptl = true
	}
}

inline ptl_unlock_both()
{
	d_step { check_r1(); mm[0].ptl = false; mm[1].ptl = false; dropped(PTL) }
}

/** The VMA lock: mm/mmap_lock.c **/

/* vma_refcount_put(): the mm is looked into after the reference is gone. */
inline vma_end_read(v_)
{
	d_step {
		m = vma[v_].vm_mm;
		vma[v_].refcnt--;
		wake = vma[v_].refcnt == EXCLUDE || vma[v_].refcnt == EXCLUDE + 1;
		dropped(VMA)
	}
	/* rcuwait_wake_up(&mm->vma_writer_wait) */
	d_step {
		if
		:: wake -> touch(m)
		:: else
		fi;
		wake = false;
		m = 0
	}
}

/*
 * vma_trylock_read_rcu(): rmap is the VMA, or NONE. In an RCU section.
 */
inline vma_trylock_read_rcu(mm_, addr_)
{
	atomic { touch(mm_); rmap = mm[mm_].hint };
	atomic {
		if
		:: rmap != NONE ->
			touch_vma(rmap);
			if
			:: vma[rmap].addr != addr_ -> rmap = NONE
			:: else
			fi
		:: else
		fi
	}
	if
	:: rmap == NONE ->
		/* mas_walk(): the root (rmap is anything but NONE), then a node */
		atomic {
			touch(mm_);
			if
			:: !mm[mm_].mt_destroyed -> rmap = EAGAIN
			:: else -> rmap = NONE
			fi
		}
		atomic {
			if
			:: rmap != NONE ->
				MUST(tree_used_after_free, !mm[mm_].mt_node_freed);
				rmap = mm[mm_].mt[addr_]
			:: else
			fi
		}
	:: else
	fi;
#ifdef NO_TRYLOCK
	/* Waits for the writer, under the folio lock. */
	atomic {
		rmap == NONE || (vma[rmap].refcnt < EXCLUDE && !vma[rmap].wlocked) ->
		if
		:: rmap != NONE && vma[rmap].refcnt > 0 ->
			vma[rmap].refcnt++;
			held = held | VMA
		:: else -> rmap = NONE
		fi
	}
#else
	/* __refcount_inc_not_zero_limited_acquire() */
	atomic {
		if
		:: rmap != NONE ->
			touch_vma(rmap);
			if
			:: vma[rmap].refcnt > 0 && vma[rmap].refcnt < EXCLUDE ->
				vma[rmap].refcnt++;
				held = held | VMA
			:: else -> rmap = NONE
			fi
		:: else
		fi
	}
	/* Now it does not change, unless it is locked for writing already. */
	if
	:: rmap == NONE
	:: else ->
		atomic {
			touch(mm_);
			i = NONE;
			if
#ifndef NO_VM_MM_CHECK
			:: vma[rmap].vm_mm != mm_ -> i = rmap
#endif
			:: vma[rmap].wlocked -> i = rmap
#ifndef NO_RANGE_CHECK
			:: vma[rmap].addr != addr_ -> i = rmap
#endif
			:: else
			fi
		}
		if
		:: i != NONE -> vma_end_read(i); rmap = NONE; i = NONE
		:: else -> atomic { touch(mm_); mm[mm_].hint = rmap }
		fi
	fi
#endif
}

/*
 * A fault, or madvise(), locks the VMA of its own mm: lock_vma_under_rcu() or, if
 * that fails, vma_start_read_locked() under mmap_read_lock(), which has the same
 * effect as if mmap_lock was kept. rmap is the VMA, NONE if it was unmapped. The
 * mm is the caller's, who has a reference to it.
 */
inline vma_start_read(v_)
{
	if
	:: d_step {
		vma[v_].refcnt > 0 && vma[v_].refcnt < EXCLUDE && !vma[v_].wlocked ->
		took(VMA);
		vma[v_].refcnt++;
		rmap = v_
	   }
	:: d_step {
		!mm[vma[v_].vm_mm].mmap_writer ->
		if
		:: vma[v_].refcnt > 0 ->
			took(VMA);
			vma[v_].refcnt++;
			rmap = v_
		:: else -> rmap = NONE
		fi
	   }
	fi
}

/* __vma_start_write(): no more readers come, wait for those there are. */
inline vma_start_write(v_)
{
	if
	:: vma[v_].wlocked
	:: else ->
		d_step {
			assert(mm[vma[v_].vm_mm].mmap_writer);
			MUST(lock_order, held < FOLIO);
			vma[v_].refcnt = vma[v_].refcnt + EXCLUDE
		}
		d_step {
			vma[v_].refcnt == EXCLUDE + 1 ->
			held = held | VMA;
			vma[v_].wlocked = true
		}
		vma[v_].refcnt = vma[v_].refcnt - EXCLUDE
	fi
}

/* vma_mark_detached(): the readers there are will find it write locked. */
inline vma_mark_detached(v_)
{
	d_step {
		assert(vma[v_].wlocked);
		vma[v_].refcnt--;
		if
		:: vma[v_].refcnt -> vma[v_].refcnt = vma[v_].refcnt + EXCLUDE
		:: else
		fi
	}
	d_step {
		!vma[v_].refcnt || vma[v_].refcnt == EXCLUDE ->
		vma[v_].refcnt = 0;
		vma[v_].wlocked = false
	}
#ifndef NO_HINT_FORGET
	/* vm_area_free(), vma_forget_anon_vma_lazy() */
	d_step {
		if
		:: mm[vma[v_].vm_mm].hint == v_ -> mm[vma[v_].vm_mm].hint = NONE
		:: else
		fi
	}
#endif
}

/* A struct that is new or was freed becomes a VMA, write locked. Not a step. */
inline vma_attach(v_, mm_, addr_)
{
	vma[v_].vm_mm = mm_;
	vma[v_].addr = addr_;
	vma[v_].anon_pgoff = addr_;
	vma[v_].refcnt = 1;
	vma[v_].wlocked = mm[mm_].mmap_writer;
	vma[v_].handle = H_NULL;
	vma[v_].anon_vma = REGULAR_MAPPING;
	vma[v_].linked = false;
	vma[v_].other = false;
	vma[v_].gone = false;
	mm[mm_].mt[addr_] = v_
}

/** The walker: mm/anon_vma_lazy.c and mm/rmap.c **/

/*
 * folio_trylock_anon_rmap_lazy(): rmap is the VMA, read locked, NONE or EAGAIN.
 * The folio is locked.
 */
inline folio_trylock_anon_rmap_lazy()
{
	rcu_read_lock();
	do
	:: true ->
		/* READ_ONCE(folio->mapping) */
		atomic { m = mapping; rmap = EAGAIN };
		atomic {
			if
			:: m >= REGULAR_MAPPING -> rmap = NONE
#ifndef NO_FIRST_MAPPED
			:: m < REGULAR_MAPPING && !mapcount -> rmap = NONE
#endif
			:: else
			fi
		}
		if
		:: rmap == NONE -> break
		:: else
		fi;

		walk_mm = m;
		walk_index = index;
		vma_trylock_read_rcu(walk_mm, walk_index);
		if
		:: rmap == NONE -> rmap = EAGAIN; break
		:: else
		fi;

		/* Again, under the VMA lock. */
		if
#ifndef NO_SECOND_MAPPED
		:: !mapcount -> i = 0
#endif
		:: else -> i = 1
		fi;
		if
#ifndef NO_MAPPING_RECHECK
		:: mapping != walk_mm -> i = 0
#endif
		:: else
		fi;
		if
#ifndef NO_INDEX_RECHECK
		:: index != walk_index -> i = 0
#endif
		:: else
		fi;
		if
		:: i == 1 -> break
		:: else -> vma_end_read(rmap)
		fi
	od;
	rcu_read_unlock();
	atomic { i = 0; m = 0; walk_mm = 0; walk_index = 0 }
}
#define WALKER_LOCALS LOCALS; byte walk_mm; byte walk_index

/*
 * folio_lock_anon_rmap_read(): as that, REGULAR_RMAP if it is the anon_vma that
 * is locked. The part for the anon_vma, folio_lock_anon_vma_read(), is upstream's
 * and shortened: it waits for the lock.
 */
#define REGULAR_RMAP 5
inline folio_lock_anon_rmap_read()
{
	rmap = NONE;
	if
	:: lazy -> folio_trylock_anon_rmap_lazy()
	:: else
	fi;
	if
	:: rmap == EAGAIN ->
#ifndef NO_CONTENDED
		contended = true;
#endif
		rmap = NONE
	:: rmap == NONE && !lazy && mapcount ->
		anon_vma_lock_read();
		if
		:: mapcount -> rmap = REGULAR_RMAP
		:: else -> anon_vma_unlock_read()
		fi
	:: else
	fi
}

/* anon_rmap_unlock_read() */
inline anon_rmap_unlock_read()
{
	if
	:: rmap == REGULAR_RMAP -> anon_vma_unlock_read()
	:: rmap < 3 ->
#ifndef NO_RCU_UNLOCK
		rcu_read_lock();
#endif
		vma_end_read(rmap);
#ifndef NO_RCU_UNLOCK
		rcu_read_unlock()
#endif
	:: else
	fi;
	rmap = NONE
}

/*
 * try_to_unmap_one() or try_to_migrate_one(): page_vma_mapped_walk(), and the PTE
 * becomes an entry.
 */
inline unmap_one(v_, migration)
{
	d_step {
		MUST(walked_wrong_pte, !vma[v_].other);
		touch_pt(vma[v_].vm_mm, vma[v_].addr)
	}
	ptl_lock(vma[v_].vm_mm);
	d_step {
		touch_pt(vma[v_].vm_mm, vma[v_].addr);
		/* Somebody may have zapped it, nothing else. */
		MUST(walked_wrong_pte, rmap == REGULAR_RMAP || !mapcount ||
		     mm[vma[v_].vm_mm].pte[vma[v_].addr] == PTE_MAPPED);
		/* R7. What is not mapped any more says nothing. */
		MUST(handle_denies_folios, !lazy || !mapcount || may_hold_lazy(vma[v_].handle));
		if
		:: mm[vma[v_].vm_mm].pte[vma[v_].addr] == PTE_MAPPED ->
			mapcount--;
			if
			:: migration -> mm[vma[v_].vm_mm].pte[vma[v_].addr] = PTE_MIGRATION
			:: !migration && anon_exclusive -> mm[vma[v_].vm_mm].pte[vma[v_].addr] = PTE_SWAP_EXCL
			:: else -> mm[vma[v_].vm_mm].pte[vma[v_].addr] = PTE_SWAP
			fi
		:: else
		fi
	}
	ptl_unlock(vma[v_].vm_mm)
}

/* One VMA of the anon_vma. vma_anon_address() says whether and where. */
#define on_the_way(v_) \
	(vma[v_].linked && vma[v_].anon_vma == mapping && vma[v_].anon_pgoff == index)

/*
 * rmap_walk_anon(). The interval tree has a parent before its child and, where
 * moving does not lock it, the old place before the new one.
 */
inline rmap_walk_unmap(migration)
{
	if
	:: rmap < 3 -> unmap_one(rmap, migration)
	:: rmap == REGULAR_RMAP ->
		if
		:: on_the_way(0) -> unmap_one(0, migration)
		:: else
		fi;
		if
		:: on_the_way(1) -> unmap_one(1, migration)
		:: else
		fi;
		if
		:: on_the_way(2) -> unmap_one(2, migration)
		:: else
		fi
	:: else
	fi
}

/* Reclaim: shrink_folio_list() and try_to_unmap(), so many times. */
proctype Reclaim(byte rounds)
{
	WALKER_LOCALS;

	on_lru;
	do
	:: rounds ->
		rounds--;
		/* folio_trylock(); waiting is no different here */
		folio_lock();
		contended = false;
		folio_lock_anon_rmap_read();
		rmap_walk_unmap(false);
		anon_rmap_unlock_read();
		/* Under the folio lock nothing becomes mapped that was not. */
		d_step {
			MUST(mapping_not_found, contended || !mapcount);
			contended = false
		}
		folio_unlock()
	:: else -> break
	od
}

/** Who changes mappings, in the way of the VMA write lock **/

/* zap_present_folio_ptes(), zap_nonpresent_ptes() */
inline zap_pte(mm_, addr_)
{
	ptl_lock(mm_);
	d_step {
		if
		:: mm[mm_].pte[addr_] == PTE_MAPPED -> mapcount--
		:: else
		fi;
		mm[mm_].pte[addr_] = PTE_NONE
	}
	ptl_unlock(mm_)
}

#if SCENARIO == LAZY_AGAIN
bool queued;		/* mm 0, in the list of the work */

/* Under the lock of the list. What has no users any more is not queued. */
#define mm_queue_anon_unshared() touch(0); queued = mm[0].users > 0
#endif

/* Are VMAs of that mm linked to the anon_vma, and no others? */
#define sole_mm(mm_, anon_vma_) \
	(links(0, mm_, anon_vma_) || links(1, mm_, anon_vma_)) && \
	!links(0, 1 - mm_, anon_vma_) && !links(1, 1 - mm_, anon_vma_)
#define links(v_, mm_, anon_vma_) \
	(vma[v_].linked && vma[v_].anon_vma == anon_vma_ && vma[v_].vm_mm == mm_)

/* unlink_anon_vmas() */
inline unlink_anon_vmas(v_)
{
	if
	:: vma[v_].linked ->
		anon_vma_lock_write();
		vma[v_].linked = false;
#if SCENARIO == LAZY_AGAIN
		/* anon_vma_left() */
		d_step {
			if
			:: vma[v_].vm_mm == 1 && sole_mm(0, vma[v_].anon_vma) ->
				mm_queue_anon_unshared()
			:: else
			fi
		}
#endif
		anon_vma_unlock_write()
	:: else
	fi;
	vma[v_].handle = H_NULL
}

/* vma_anon_mapping(): READ_ONCE of the handle, which was stored before. */
#define vma_anon_mapping(v_, exclusive) \
	((vma[v_].handle == H_VMA || (vma[v_].handle == H_PARENT && exclusive)) -> \
	 vma[v_].vm_mm : vma[v_].anon_vma)

/* A migration entry of a lazy folio is for none but exit to see. */
#ifdef NO_ENTRY_CHECK
#define no_lazy_migration_entry(mm_, addr_) skip
#else
#define no_lazy_migration_entry(mm_, addr_) \
	MUST(migration_entry_met, !(lazy && mm[mm_].pte[addr_] == PTE_MIGRATION))
#endif

/* With the VMA write lock held. Whatever has an anon_vma keeps it. */
inline vma_make_anon_regular(v_)
{
	ptl_lock(0);
	if
	:: mm[0].pte[0] == PTE_MAPPED && lazy -> mapping = vma[v_].anon_vma
	:: else
	fi;
	ptl_unlock(0);
	vma[v_].handle = H_REGULAR
}

/*
 * dup_mmap(): mm 0 with VMA 0 at address 0 becomes mm 1 with VMA 1. The child's
 * mmap_lock is held, too, but there is no one yet to contend for it.
 */
inline dup_mmap()
{
	mmap_write_lock(0);
#ifndef NO_VMA_WRITE_LOCK
	vma_start_write(0);
#endif
	/* anon_vma_fork(): the parent is upgraded, the child gets its chain. */
	anon_vma_lock_write();
	d_step {
		if
		:: vma[0].handle == H_VMA -> vma[0].handle = H_UPGRADED
		:: else
		fi;
		vma[0].linked = true;
		mm[1].mmap_writer = true;
		vma_attach(1, 1, 0);
		vma[1].handle = H_PARENT;
		vma[1].anon_vma = vma[0].anon_vma;
		vma[1].linked = true
	}
	anon_vma_unlock_write();
#ifndef NO_REGULAR_FIRST
	vma_make_anon_regular(0);
#endif

	/* copy_page_range(), copy_present_ptes(), copy_nonpresent_pte() */
	ptl_lock_both();
#if SCENARIO == COPY
	/* copy_present_page(): the parent's is pinned, the folio is the child's copy */
#ifdef NO_MT_IN_RCU
	mapping = vma_anon_mapping(1, true);
#else
	mapping = REGULAR_MAPPING;
#endif
	d_step { mm[1].pte[0] = PTE_MAPPED; mapcount++ };
	/* folio_add_lru_vma() */
	on_lru = true;
#endif
	if
	:: mm[0].pte[0] == PTE_MAPPED ->
		/* folio_try_dup_anon_rmap_ptes() */
		d_step { mm[1].pte[0] = PTE_MAPPED; mapcount++; anon_exclusive = false; check_r1() }
	:: mm[0].pte[0] == PTE_MIGRATION ->
		d_step {
			no_lazy_migration_entry(0, 0);
			mm[1].pte[0] = PTE_MIGRATION;
			anon_exclusive = false
		}
	:: mm[0].pte[0] == PTE_SWAP || mm[0].pte[0] == PTE_SWAP_EXCL ->
		d_step { mm[0].pte[0] = PTE_SWAP; mm[1].pte[0] = PTE_SWAP }
	:: else
	fi;
	ptl_unlock_both();
#ifdef NO_REGULAR_FIRST
	vma_make_anon_regular(0);
#endif
	MUST(handle_denies_folios, !(mapcount && mapping == 0));
#if SCENARIO == COPY
	/* The next VMA: without RCU mode the node that it replaces is freed at once. */
	mm[1].mt_node_freed = true;
	mm[1].mt_node_freed = false;
#endif
	/* mt_set_in_rcu(): from here on the child's pages may be lazy. */
	d_step { vma[1].wlocked = false; mm[1].mmap_writer = false; forked = true }
	mmap_write_unlock(0)
}

/*
 * do_munmap() and mmap(MAP_FIXED), mmap_lock held for write and kept: detached
 * (vms_gather_munmap_vmas()), emptied, taken out of the tree and freed.
 */
inline do_munmap(v_, addr_)
{
#ifndef NO_MUNMAP_VMA_LOCK
	vma_start_write(v_);
	vma_mark_detached(v_);
#endif
	no_lazy_migration_entry(0, addr_);
	zap_pte(0, addr_);
	unlink_anon_vmas(v_);
	mm[0].pt_freed[addr_] = true;
#ifdef NO_MUNMAP_VMA_LOCK
	/* Only the struct is waited for. */
	vma_start_write(v_);
	vma_mark_detached(v_);
#endif
	mm[0].mt[addr_] = NONE
}

/*
 * mremap(): move_vma() of vo_ at from_ to the new VMA vn_ at to_. Address based
 * is what has no anon_vma to be moved within: copy_vma().
 */
inline mremap(vo_, vn_, from_, to_, dontunmap)
{
	mmap_write_lock(0);
	/* MREMAP_FIXED */
	if
	:: mm[0].mt[to_] != NONE -> do_munmap(mm[0].mt[to_], to_)
	:: else
	fi;
#ifndef NO_MREMAP_VMA_LOCK
	vma_start_write(vo_);
#endif
	if
	:: owns(vma[vo_].handle) -> anon_vma_lock_write()
	:: else
	fi;
	d_step {
		/* copy_vma(), anon_vma_clone() */
		vma_attach(vn_, 0, to_);
		vma[vn_].handle = vma[vo_].handle;
		vma[vn_].linked = vma[vo_].linked;
		if
		:: owns(vma[vo_].handle) ->
			vma[vn_].anon_pgoff = vma[vo_].anon_pgoff;
			if
			:: vma[vn_].anon_pgoff != to_ -> vma[vn_].handle = H_REGULAR
			:: else
			fi
		:: else
		fi
	}
	/* alloc_new_pmd(), pte_alloc() */
	mm[0].pt_freed[to_] = false;
	/* take_rmap_locks() is kept where move_ptes() could rely on the order. */
	ptl_lock(0);
	/* move_ptes_anon_vma_lazy() */
	if
	:: mm[0].pte[from_] == PTE_MAPPED && lazy ->
		if
		:: vma[vn_].anon_pgoff == to_ && vma[vn_].handle != H_REGULAR -> index = to_
		:: else -> mapping = REGULAR_MAPPING
		fi
	:: else -> no_lazy_migration_entry(0, from_)
	fi;
	d_step {
		mm[0].pte[to_] = mm[0].pte[from_];
		mm[0].pte[from_] = PTE_NONE
	}
	ptl_unlock(0);
	if
	:: owns(vma[vo_].handle) -> anon_vma_unlock_write()
	:: else
	fi;
	if
	:: dontunmap ->
		/* dontunmap_complete(): as if new */
		unlink_anon_vmas(vo_);
		vma[vo_].anon_pgoff = from_
	:: else -> do_munmap(vo_, from_)
	fi;
	mmap_write_unlock(0)
}

/* mmput(), exit_mmap() and free_mm() of a process that has one VMA. */
inline exit_mmap(mm_, v_)
{
	mm[mm_].users--;
	/* Here, or in the process that has the last reference. */
	!mm[mm_].users;
#if SCENARIO == LAZY_AGAIN && !defined(NO_FORGET)
	/* mm_exit_anon_vma_lazy() */
	if
	:: mm_ == 0 -> queued = false
	:: else
	fi;
#endif
	/* unmap_vmas(): no VMA write lock, it does not wait for walkers */
	mmap_read_lock(mm_);
	zap_pte(mm_, vma[v_].addr);
	mmap_read_unlock(mm_);
	mmap_write_lock(mm_);
	/* free_pgtables(): now it does */
#ifndef NO_EXIT_VMA_LOCK
	vma_start_write(v_);
#endif
	unlink_anon_vmas(v_);
	mm[mm_].pt_freed[vma[v_].addr] = true;
#ifdef NO_EXIT_VMA_LOCK
	vma_start_write(v_);
#endif
	/* tear_down_vmas(), vm_area_free(): the tree still leads there */
	vma_mark_detached(v_);
	mm[mm_].grace_period = rcu_readers;
	if
	:: d_step {
		!mm[mm_].grace_period ->
		/* There are many VMAs to free, and the slab is if it is not used again. */
		vma[v_].gone = (vma[v_].refcnt == 0)
	   }
	:: true
	fi;
	/* __mt_destroy() */
	d_step {
		mm[mm_].mt_destroyed = true;
		mm[mm_].mt[0] = NONE;
		mm[mm_].mt[1] = NONE;
#ifdef NO_MT_RCU
		mm[mm_].mt_node_freed = true;
#endif
	}
	mmap_write_unlock(mm_);
#if SCENARIO == LAZY_AGAIN
	/* mmdrop(): here, or by who has grabbed it */
	!mm[mm_].grabbed;
#endif
#ifndef NO_RCU_FREE
	/* kfree_rcu(): those who read now */
	mm[mm_].grace_period = rcu_readers;
	!mm[mm_].grace_period;
#endif
	d_step {
		mm[mm_].freed = true;
		mm[mm_].mt_node_freed = true;
		vma[v_].gone = (vma[v_].refcnt == 0)
	}
}

/*
 * do_wp_page() in the child: wp_can_reuse_anon_folio(), if it is the last one to
 * have the folio, swap entries included. The folio lock is tried for.
 */
inline do_wp_page()
{
	vma_start_read(1);
	ptl_lock(1);
	if
	:: d_step {
		mm[1].pte[0] == PTE_MAPPED && !anon_exclusive && mapcount == 1 &&
		mm[0].pte[0] != PTE_SWAP && !folio_locked ->
		folio_locked = true
	   }
		/* folio_move_anon_rmap() */
		mapping = vma_anon_mapping(1, true);
		anon_exclusive = true;
		folio_locked = false
	:: else
	fi;
	ptl_unlock(1);
	vma_end_read(1)
}

#if SCENARIO == FORK
/*
 * A folio that the parent has alone, then two processes have, then the child
 * alone, who writes to it: lazy in 0, regular, lazy in 1.
 */
proctype Parent()
{
	LOCALS;

	dup_mmap();
	exit_mmap(0, 0)
}

proctype Child()
{
	LOCALS;

	forked;
	do_wp_page();
	exit_mmap(1, 1)
}

#define RUN run Reclaim(3); run Parent(); run Child()
#endif

#if SCENARIO == MREMAP
/* There, with MREMAP_DONTUNMAP or not, and back. */
proctype Mremap()
{
	LOCALS;

	if
	:: mremap(0, 1, 0, 1, true)
	:: mremap(0, 1, 0, 1, false)
	fi;
	mremap(1, 2, 1, 0, false)
}

/* What MREMAP_DONTUNMAP left behind gets a page of its own. */
proctype Fault()
{
	LOCALS;

	mmap_read_lock(0);
	if
	:: mm[0].mt[0] != NONE ->
		ptl_lock(0);
		if
		:: mm[0].pte[0] == PTE_NONE -> mm[0].pte[0] = PTE_OTHER
		:: else
		fi;
		ptl_unlock(0)
	:: else
	fi;
	mmap_read_unlock(0)
}

#define RUN run Reclaim(3); run Mremap(); run Fault()
#endif

#if SCENARIO == MUNMAP
/* The address is taken over by what a walk must not look at. */
proctype Munmap()
{
	LOCALS;
	byte v;

	if
	:: true ->
		/* mmap(MAP_FIXED) over it, in a new struct */
		mmap_write_lock(0);
		do_munmap(0, 0);
		v = 1
	:: true ->
		/* munmap(): empties it under mmap_lock for read; mmap(), same struct */
		mmap_write_lock(0);
#ifndef NO_MUNMAP_VMA_LOCK
		vma_start_write(0);
		vma_mark_detached(0);
#endif
		mm[0].mt[0] = NONE;
		mmap_write_downgrade(0);
		zap_pte(0, 0);
		unlink_anon_vmas(0);
		mm[0].pt_freed[0] = true;
		mmap_read_unlock(0);
		mmap_write_lock(0);
#ifdef NO_MUNMAP_VMA_LOCK
		vma_start_write(0);
		vma_mark_detached(0);
#endif
		v = 0
	fi;
	d_step {
		vma_attach(v, 0, 0);
		vma[v].other = true;
		mm[0].pt_freed[0] = false;
		mm[0].pte[0] = PTE_OTHER
	}
	mmap_write_unlock(0)
}

/* madvise(MADV_DONTNEED): empties it under the VMA read lock. */
proctype Madvise()
{
	LOCALS;

	vma_start_read(0);
	if
	:: rmap == 0 && !vma[0].other -> zap_pte(0, 0)
	:: else
	fi;
	if
	:: rmap == 0 -> vma_end_read(0)
	:: else
	fi
}

#define RUN run Reclaim(3); run Munmap(); run Madvise()
#endif

#if SCENARIO == EXIT
/*
 * The mm becomes another process's, the struct of the VMA that of a living one
 * that exits, too.
 */
proctype Exit()
{
	LOCALS;

	exit_mmap(0, 0);
	/* fork() and exec(): mm 0 is another one now */
	d_step {
		mm[0].freed = false;
		mm[0].mt_destroyed = false;
		mm[0].hint = NONE;
		mm[0].mt_node_freed = false;
		mm[0].pt_freed[0] = false;
		mm[0].pte[0] = PTE_OTHER;
		vma_attach(2, 0, 0)
	}
}

proctype Other()
{
	LOCALS;

	/* mmap(): vm_area_alloc() gets what was freed */
	mmap_write_lock(1);
	if
	:: d_step {
		vma[0].refcnt == 0 && !vma[0].gone ->
		vma_attach(0, 1, 0);
		mm[1].pte[0] = PTE_OTHER
	   }
		mmap_write_unlock(1);
		exit_mmap(1, 0)
	:: vma[0].gone -> mmap_write_unlock(1)
	fi
}

#define RUN run Reclaim(3); run Exit(); run Other()
#endif

#if SCENARIO == MIGRATE || SCENARIO == LAZY_AGAIN
/* remove_migration_pte(), for a copy of the folio that is told from it by none */
inline remove_migration_pte(v_)
{
	ptl_lock(vma[v_].vm_mm);
	d_step {
		touch_pt(vma[v_].vm_mm, vma[v_].addr);
		if
		:: mm[vma[v_].vm_mm].pte[vma[v_].addr] == PTE_MIGRATION ->
			mm[vma[v_].vm_mm].pte[vma[v_].addr] = PTE_MAPPED;
			mapcount++
		:: else
		fi
	}
	ptl_unlock(vma[v_].vm_mm)
}

/* migrate_folio_unmap() and migrate_folio_move() */
proctype Migrate()
{
	WALKER_LOCALS;

	folio_lock();
	/* folio_get_anon_rmap() */
	folio_trylock_anon_rmap_lazy();
	if
	:: rmap == NONE && !lazy && mapcount -> rmap = REGULAR_RMAP
	:: else
	fi;
	if
	:: rmap < 3 ->
		/* try_to_migrate() is told, and rmap_walk_locked() takes no lock */
		MUST(walked_wrong_pte, mm[mapping].mt[index] == rmap);
		rmap_walk_unmap(true);
		MUST(mapping_not_found, !mapcount);
#ifdef NO_MIGRATION_LOCK
		/* Unlocks the VMA, copies, and looks for it again. */
		anon_rmap_unlock_read();
		rcu_read_lock();
		walk_mm = mapping;
		walk_index = index;
		vma_trylock_read_rcu(walk_mm, walk_index);
		rcu_read_unlock();
#endif
#ifdef NO_MIGRATION_RECORD
		/* Does not know that it has the lock, and takes it again. */
		rcu_read_lock();
		walk_mm = mapping;
		walk_index = index;
		vma_trylock_read_rcu(walk_mm, walk_index);
		rcu_read_unlock();
		if
		:: rmap < 3 -> remove_migration_pte(rmap); anon_rmap_unlock_read()
		:: else
		fi;
		vma_end_read(0);
#else
		/* remove_migration_ptes() by what was recorded */
		if
		:: rmap < 3 -> remove_migration_pte(rmap)
		:: else
		fi;
		/* folio_put_anon_rmap() */
		anon_rmap_unlock_read()
#endif
	:: rmap == REGULAR_RMAP ->
		/* The anon_vma has a reference; each of the walks locks it. */
		anon_vma_lock_read();
		rmap_walk_unmap(true);
		anon_vma_unlock_read();
		MUST(mapping_not_found, !mapcount);
		anon_vma_lock_read();
		if
		:: on_the_way(0) -> remove_migration_pte(0)
		:: else
		fi;
		if
		:: on_the_way(1) -> remove_migration_pte(1)
		:: else
		fi;
		anon_vma_unlock_read()
	:: else
	fi;
	/* Exit may have zapped it, else the folio is mapped again. */
	d_step {
		MUST(migration_entry_lost,
		     mm[0].pte[0] != PTE_MIGRATION && mm[0].pte[1] != PTE_MIGRATION &&
		     mm[1].pte[0] != PTE_MIGRATION && mm[1].pte[1] != PTE_MIGRATION)
	}
	folio_unlock()
}
#endif

#if SCENARIO == MIGRATE
proctype Writer()
{
	LOCALS;

	if
	:: dup_mmap()
	:: mremap(0, 1, 0, 1, false)
	:: mmap_write_lock(0); do_munmap(0, 0); mmap_write_unlock(0)
	:: exit_mmap(0, 0)
	fi
}

/* do_swap_page(): migration_entry_wait() waits for the folio with the VMA locked. */
proctype Fault()
{
	LOCALS;

	vma_start_read(0);
	if
	:: rmap == 0 ->
		ptl_lock(0);
		if
		:: mm[0].pte[0] == PTE_MIGRATION ->
			ptl_unlock(0);
			MUST(lock_order, held < FOLIO);
			!folio_locked
		:: else -> ptl_unlock(0)
		fi;
		vma_end_read(0)
	:: else
	fi;
	mm[0].users--
}

#define RUN mm[0].users = 2; run Migrate(); run Writer(); run Fault()
#endif

#if SCENARIO == LOCKS
/* UFFDIO_MOVE of address 0 in VMA 0 to address 1 in VMA 1: R2a, and it waits. */
proctype UffdMove()
{
	LOCALS;

#ifdef NO_UFFD_VMA_LOCK
	rmap = 0;
#else
	/* uffd_move_lock(): both or none, then again under mmap_read_lock() */
	if
	:: d_step {
		vma[0].refcnt < EXCLUDE && !vma[0].wlocked &&
		vma[1].refcnt > 0 && vma[1].refcnt < EXCLUDE && !vma[1].wlocked ->
		vma[0].refcnt++;
		vma[1].refcnt++;
		took(VMA)
	   }
	:: true ->
		mmap_read_lock(0);
		d_step {
			if
			:: vma[1].refcnt > 0 ->
				vma[0].refcnt++;
				vma[1].refcnt++;
				held = held | VMA
			:: else -> rmap = NONE
			fi
		}
		d_step { mm[0].mmap_readers--; dropped(MMAP) }
	fi;
#endif
	if
	:: rmap == NONE
	:: else ->
#ifndef NO_UFFD_FOLIO_LOCK
		/* move_pages_pte(): waits for the folio lock without the PTE lock */
		folio_lock();
#endif
		ptl_lock(0);
		if
		:: mm[0].pte[0] == PTE_MAPPED ->
			touch_pt(0, 1);
			/* folio_move_anon_rmap(), index */
			mapping = vma_anon_mapping(1, true);
			index = 1;
			d_step { mm[0].pte[1] = PTE_MAPPED; mm[0].pte[0] = PTE_NONE }
		:: else
		fi;
		ptl_unlock(0);
#ifndef NO_UFFD_FOLIO_LOCK
		folio_unlock();
#endif
#ifndef NO_UFFD_VMA_LOCK
		vma_end_read(0);
		vma_end_read(1)
#endif
	fi
}

/* mprotect() of both, or munmap() of where the folio is to go. */
proctype Writer()
{
	LOCALS;

	mmap_write_lock(0);
	if
	:: true -> vma_start_write(0); vma_start_write(1)
	:: true -> do_munmap(1, 1)
	fi;
	mmap_write_unlock(0)
}

#define RUN run Reclaim(3); run UffdMove(); run Writer()
#endif

#if SCENARIO == SWAP || SCENARIO == LAZY_AGAIN
#if SCENARIO == LAZY_AGAIN
bool kept;		/* large or KSM: swap-in leaves it what it says */

/* vmf_prepare_swapin(): mmap_lock is tried for, else VM_FAULT_RETRY. */
inline vmf_prepare_swapin(mm_, v_)
{
	if
	:: vma[v_].handle == H_VMA && (kept || m == PTE_SWAP) ->
		if
		:: d_step { !mm[mm_].mmap_writer -> mm[mm_].mmap_readers++ }
			d_step {
				vma[v_].anon_vma = NEW_MAPPING;
				vma[v_].linked = true;
				vma[v_].handle = H_UPGRADED
			}
			mm[mm_].mmap_readers--
		:: mm[mm_].mmap_writer -> retry = true
		fi
	:: else
	fi
}

/*
 * ksm_might_need_to_copy(): is the folio mapped, but not by the family of this
 * VMA, or not here? What was merged, and then swapped out, has one swap entry.
 * Where there are no strangers there is no KSM to help.
 */
#ifdef NO_KSM_COPY
#define copies_lazy false
#else
#define copies_lazy true
#endif
#define needs_copy(mm_, v_) \
	(mapcount && vma[1].anon_vma == STRANGE_MAPPING && \
	 (lazy -> copies_lazy && mapping != mm_ : mapping != vma[v_].anon_vma))
#else
#define vmf_prepare_swapin(mm_, v_) skip
#define needs_copy(mm_, v_) false
#define kept false
#define retry false
#endif

/*
 * do_swap_page() of who runs in mm_. The folio is in the swap cache and stays
 * there. In the scenario SWAP, VMA state and an entry that is not exclusive do not
 * meet: fork, which makes it so, has upgraded the parent, and the child is PARENT.
 */
inline do_swap_page(mm_, v_)
{
	vma_start_read(v_);
	/* vmf->orig_pte */
	m = mm[mm_].pte[0];
	if
	:: m == PTE_SWAP || m == PTE_SWAP_EXCL -> vmf_prepare_swapin(mm_, v_)
	:: else
	fi;
	if
	:: (m == PTE_SWAP || m == PTE_SWAP_EXCL) && !retry ->
		folio_lock();
		ptl_lock(mm_);
		if
		:: mm[mm_].pte[0] == m && needs_copy(mm_, v_) -> mm[mm_].pte[0] = PTE_OTHER
		:: mm[mm_].pte[0] == m && !needs_copy(mm_, v_) ->
			anon_exclusive = (m == PTE_SWAP_EXCL);
#ifndef NO_RENEW
			/* folio_renew_anon_rmap() */
			if
			:: !mapcount && !kept ->
				MUST(lazy_but_shared, anon_exclusive || vma[v_].handle != H_VMA);
				mapping = vma_anon_mapping(v_, anon_exclusive);
				index = vma[v_].anon_pgoff
			:: else
			fi;
#endif
			d_step { mm[mm_].pte[0] = PTE_MAPPED; mapcount++ }
		:: else
		fi;
		ptl_unlock(mm_);
		folio_unlock()
	:: else
	fi;
	vma_end_read(v_)
}
#endif

#if SCENARIO == SWAP
proctype Parent()
{
	LOCALS;

	do_swap_page(0, 0);
	dup_mmap();
	exit_mmap(0, 0)
}

proctype Child()
{
	LOCALS;

	forked;
	do_swap_page(1, 1);
	do_wp_page();
	exit_mmap(1, 1)
}

#define RUN run Reclaim(3); run Parent(); run Child()
#endif

#if SCENARIO == LAZY_AGAIN
/*
 * vma_make_anon_lazy() of VMA 0, with the mmap_lock held for write. left_out: not
 * all of it can be lazy, or not now; it may be another page that is in the way.
 */
inline vma_make_anon_lazy()
{
#ifndef NO_AGAIN_VMA_LOCK
	vma_start_write(0);
#endif
#ifndef NO_UPGRADED_FIRST
	/* PARENT may hold lazy folios as well. */
	if
	:: vma[0].handle == H_REGULAR -> vma[0].handle = H_UPGRADED
	:: else
	fi;
#endif
	/* make_anon_lazy_pmd_entry() */
	ptl_lock(0);
	if
	:: mm[0].pte[0] == PTE_MAPPED && !lazy ->
		if
#ifndef NO_FOLIO_TRYLOCK
		:: folio_locked -> left_out = true
		:: d_step { !folio_locked -> folio_locked = true }
#else
		:: true ->
#endif
			if
			:: kept || mapcount != 1 -> left_out = true
			:: else -> mapping = 0
			fi;
#ifndef NO_FOLIO_TRYLOCK
			folio_locked = false
#endif
		fi
#ifndef NO_MIGRATION_CHECK
	:: mm[0].pte[0] == PTE_MIGRATION -> left_out = true
#endif
#ifndef NO_SWAP_CACHE_CHECK
	:: (mm[0].pte[0] == PTE_SWAP || mm[0].pte[0] == PTE_SWAP_EXCL) && kept ->
		left_out = true
#endif
	:: else
	fi;
	ptl_unlock(0);
	if
	:: true
	:: left_out = true
	fi;
	if
#ifndef NO_LEFT_OUT
	:: left_out
#endif
	:: else ->
		unlink_anon_vmas(0);
		vma[0].handle = H_VMA
	fi;
	left_out = false
}

/* anon_vma_unshared_work_fn(), mm_make_anon_lazy(): it tries once. */
proctype Work()
{
	LOCALS;
	bool left_out;
	bool unshared;

end:	do
	:: d_step { queued -> queued = false; touch(0); mm[0].grabbed = true }
#ifdef NO_SOLE_MM_LOCK
		/* Looks before it has the lock, and trusts that. */
		unshared = vma[0].linked && sole_mm(0, vma[0].anon_vma);
#endif
		mmap_write_lock(0);
		if
		:: mm[0].users && mm[0].mt[0] == 0 && vma[0].linked ->
#if defined(NO_SOLE_MM)
			unshared = true;
#elif !defined(NO_SOLE_MM_LOCK)
			/* vma_is_anon_unshared() */
			anon_vma_lock_read();
			unshared = sole_mm(0, vma[0].anon_vma);
			anon_vma_unlock_read();
#endif
			if
			:: unshared -> vma_make_anon_lazy()
			:: else
			fi
		:: else
		fi;
		d_step {
			MUST(handle_denies_folios, !(mapcount && mapping == 0 &&
			     (vma[0].handle == H_NULL || vma[0].handle == H_REGULAR)));
			unshared = false
		}
		mmap_write_unlock(0);
		mm[0].grabbed = false
	od
}

proctype Parent(bool forks; bool exits)
{
	LOCALS;
	bool retry;

	if
	:: forks -> dup_mmap()
	:: else
	fi;
	do_swap_page(0, 0);
	if
	:: exits -> exit_mmap(0, 0)
	:: else
	fi
}

/* The child, or a stranger that KSM has made share a swap entry. */
proctype Child(bool exits)
{
	LOCALS;
	bool retry;

	forked;
	do_swap_page(1, 1);
	if
	:: exits -> exit_mmap(1, 1)
	:: else
	fi
}

/*
 * VMA 0 has an anon_vma, and the folio belongs to it, mapped or swapped out. What
 * is in the swap cache may be what swap-in does not give another mapping.
 */
inline lazy_again_init()
{
	vma[0].handle = H_REGULAR;
	vma[0].linked = true;
	mapping = REGULAR_MAPPING;
	anon_exclusive = false;
	queued = true;
	if
	:: true
	:: mm[0].pte[0] = PTE_SWAP; mapcount = 0
	fi;
	if
	:: /* A process that is alone */
		if
		:: mapcount -> run Migrate()
		:: run Reclaim(1)
		:: !mapcount -> kept = true; run Reclaim(1)
		fi;
		run Parent(false, false)
	:: /* and that exits, */
		run Parent(false, true)
	:: /* or forks. */
		run Parent(true, false);
		run Child(false);
		run Reclaim(1)
	:: /* One with a child that exits, and may have the page, swapped out. */
		forked = true;
		vma_attach(1, 1, 0);
		vma[1].handle = H_PARENT;
		vma[1].linked = true;
		if
		:: mm[1].pte[0] = PTE_SWAP
		:: true
		fi;
		run Parent(false, false);
		run Child(true);
		run Reclaim(1)
	:: /* One of two that are strangers. */
		forked = true;
		vma_attach(1, 1, 0);
		vma[1].handle = H_REGULAR;
		vma[1].linked = true;
		vma[1].anon_vma = STRANGE_MAPPING;
		mm[1].pte[0] = PTE_SWAP;
		run Parent(false, false);
		run Child(false)
	fi;
	run Work()
}

#define RUN lazy_again_init()
#endif

#if SCENARIO == COPY
proctype Parent()
{
	LOCALS;

	dup_mmap()
}

#define RUN \
	mm[0].pte[0] = PTE_OTHER; \
	mapcount = 0; \
	on_lru = false; \
	run Reclaim(2); run Parent()
#endif

#if SCENARIO == MERGE
/*
 * The folio stays where it is and so does what it says; the VMA does not. VMA 2,
 * let it be the neighbour that has grown, takes over from VMA 0, whose struct may
 * be a VMA elsewhere at once: in this mm, or in another one.
 */
proctype Merge()
{
	LOCALS;

	mmap_write_lock(0);
	vma_start_write(0);
	/* commit_merge(), vma_complete() */
	d_step { vma_attach(2, 0, 0); vma[2].handle = vma[0].handle };
	vma_mark_detached(0);
	mmap_write_unlock(0);
	if
	:: d_step { !mm[0].mmap_writer -> vma_attach(0, 0, 1); vma[0].handle = H_VMA }
	:: d_step { vma_attach(0, 1, 0); vma[0].handle = H_VMA }
		exit_mmap(1, 0)
	:: mm[0].grace_period = rcu_readers;
		/* The slab is not used any more. */
		d_step { !mm[0].grace_period -> vma[0].gone = true }
	fi
}

#define RUN run Reclaim(2); run Merge()
#endif

#if SCENARIO == POISON
/*
 * folio_mmap_read_lock_lazy(): poison_mm is the mm whose mmap_lock is held then, or
 * NONE.
 */
inline folio_mmap_read_lock_lazy()
{
	rcu_read_lock();
	poison_mm = mapping;
	if
	:: poison_mm == REGULAR_MAPPING || !mapcount -> poison_mm = NONE
	:: else ->
		/* mmget_not_zero() */
		d_step {
			touch(poison_mm);
			if
#ifndef NO_MMGET_NOT_ZERO
			:: !mm[poison_mm].users -> poison_mm = NONE
#endif
			:: else -> mm[poison_mm].users++
			fi
		}
	fi;
	rcu_read_unlock();
	if
	:: poison_mm != NONE ->
#ifndef NO_FOLIO_UNLOCK
		folio_unlock();
#endif
		touch(poison_mm);
#ifndef NO_MMAP_WAIT
		mmap_read_lock(poison_mm);
#endif
#ifndef NO_FOLIO_UNLOCK
		folio_lock()
#endif
	:: else
	fi
}

/* memory_failure(): hwpoison_user_mappings(), unmap_poisoned_folio_lazy() */
proctype Poison(byte tries)
{
	WALKER_LOCALS;
	byte poison_mm;

	folio_lock();
	do
	:: tries ->
		tries--;
		folio_mmap_read_lock_lazy();
		folio_lock_anon_rmap_read();
		rmap_walk_unmap(false);
		anon_rmap_unlock_read();
		d_step {
			MUST(mapping_not_found, contended || !mapcount);
			/* VMAs on their way out are left. */
			MUST(waited_in_vain, !contended || poison_mm != mapping ||
			     mm[mapping].mt[index] == NONE ||
			     !vma[mm[mapping].mt[index]].refcnt);
			contended = false
		}
		if
		:: poison_mm != NONE ->
#ifndef NO_MMAP_WAIT
			mmap_read_unlock(poison_mm);
#endif
			/* mmput_async() */
			mm[poison_mm].users--
		:: else
		fi;
		/* fsleep() */
		folio_unlock();
		folio_lock()
	:: else -> break
	od;
	folio_unlock()
}

proctype Writer()
{
	LOCALS;

	if
	:: dup_mmap(); exit_mmap(0, 0)
	:: mremap(0, 1, 0, 1, false); exit_mmap(0, 1)
	:: mmap_write_lock(0); vma_start_write(0); mmap_write_unlock(0); exit_mmap(0, 0)
	:: mmap_write_lock(0);
		vma_start_write(0);
		vma_mark_detached(0);
		mm[0].mt[0] = NONE;
		mmap_write_downgrade(0);
		zap_pte(0, 0);
		mm[0].pt_freed[0] = true;
		mmap_read_unlock(0)
	fi
}

#define RUN run Poison(2); run Writer()
#endif

#if SCENARIO == UPGRADE || SCENARIO == UPGRADE_WALK
/*
 * The handle of VMA 0, in mm 0. Here anon_vmas are counted: number 1 is the
 * parent's, whose chain VMA 0 has if it was forked, others are allocated by who
 * needs them, with the number of the process.
 */
byte own;		/* the anon_vma that VMA 0 owns */
byte chain;		/* a bit for each anon_vma that an AVC links VMA 0 to */
byte allocated;
bool page_table_lock;
bool fault_lazy[4];	/* what the page of this fault says, if it is mapped */

/* Walks are by the lock of the root: whichever anon_vma it is, they come here. */
#define link_chain(bits) d_step { chain = chain | (bits); vma[0].linked = true }

inline spin_lock_page_table()
{
	d_step { !page_table_lock -> took(PAGE_TABLE); page_table_lock = true }
}

inline spin_unlock_page_table()
{
	d_step { page_table_lock = false; dropped(PAGE_TABLE) }
}

/* WRITE_ONCE or smp_store_release to vma->anon_vma */
inline set_handle(state, anon_vma_)
{
	d_step {
		MUST(handle_went_back, own == 0 || own == anon_vma_);
		MUST(handle_went_back, vma[0].handle == H_NULL || state != H_REGULAR);
		vma[0].handle = state;
		own = anon_vma_
	}
}

/* __vma_prepare_anon_vma_lazy() */
inline prepare_lazy()
{
	spin_lock_page_table();
	if
#ifndef NO_LAZY_RECHECK
	:: vma[0].handle != H_NULL
#endif
	:: else -> set_handle(H_VMA, 0)
	fi;
	spin_unlock_page_table()
}

/*
 * __anon_vma_prepare() and anon_vma_prepare_child(). What comes first, the AVC or
 * the handle, matters to who looks without the lock: reusable_anon_vma().
 */
inline prepare_anon_vma()
{
	allocated++;
	anon_vma_lock_write();
	spin_lock_page_table();
	if
#ifndef NO_HANDLE_RECHECK
	:: owns(vma[0].handle) ->
		/* put_anon_vma() by the loser */
#ifdef NO_LOSER_FREE
		skip
#else
		allocated--
#endif
#endif
	:: else ->
#ifndef NO_LINK_FIRST
		link_chain(1 << _pid);
#endif
		if
		:: vma[0].handle == H_NULL -> set_handle(H_REGULAR, _pid)
#ifdef NO_UPGRADED
		/* As if all that is lazy was gone with the upgrade. */
		:: else -> d_step { vma[0].handle = H_REGULAR; own = _pid }
#else
		:: else -> set_handle(H_UPGRADED, _pid)
#endif
		fi;
#ifdef NO_LINK_FIRST
		link_chain(1 << _pid)
#endif
	fi;
	spin_unlock_page_table();
	anon_vma_unlock_write()
}

/*
 * vmf_anon_prepare() and, for a large folio or one that a swap entry shares,
 * vmf_upgrade_anon_vma_lazy().
 */
inline prepare_vma(cannot_be_lazy)
{
	if
	:: vma[0].handle == H_NULL ->
		if
		:: prepare_lazy()
		:: prepare_anon_vma()	/* the sysctl says no */
		fi
	:: else
	fi;
	if
	:: cannot_be_lazy && !owns(vma[0].handle) -> prepare_anon_vma()
	:: else
	fi
}

/* A write fault: the VMA gets its handle, then the page is mapped. */
proctype Fault(byte me)
{
	LOCALS;
	bool slow;	/* all of it under mmap_lock, not the VMA lock */
	bool large;

	if
	:: true -> large = false
	:: true -> large = true
	fi;
	if
	:: d_step {
		vma[0].refcnt < EXCLUDE && !vma[0].wlocked ->
		took(VMA);
		vma[0].refcnt++
	   }
		/* To be lazy at first takes no more than that. */
		if
		:: vma[0].handle == H_NULL ->
			if
			:: prepare_lazy()
			:: true		/* the sysctl says no */
			fi
		:: else
		fi;
		if
		:: (large -> owns(vma[0].handle) : vma[0].handle != H_NULL)
#ifdef NO_MMAP_LOCK
		:: else -> prepare_vma(large)
#else
		:: else ->
			/* mmap_read_trylock(), else VM_FAULT_RETRY */
			if
			:: d_step { !mm[0].mmap_writer -> mm[0].mmap_readers++ }
				prepare_vma(large);
				mm[0].mmap_readers--
			:: mm[0].mmap_writer ->
				vma_end_read(0);
				slow = true
			fi
#endif
		fi
	:: slow = true
	fi;
	if
	:: slow ->
		mmap_read_lock(0);
		prepare_vma(large)
	:: else
	fi;
	ptl_lock(0);
	/* __folio_set_anon(), vma_anon_mapping(): one READ_ONCE, and R8 */
	d_step {
		MUST(handle_denies_folios, vma[0].handle != H_NULL);
		MUST(handle_denies_folios, !large || owns(vma[0].handle));
		m = vma[0].handle
	}
	if
	:: m == H_VMA || m == H_PARENT -> fault_lazy[me] = true
	:: else
	fi;
	m = 0;
#if SCENARIO == UPGRADE_WALK
	/* The folio of fault 0 gets on the LRU, where reclaim finds it. */
	d_step {
		if
		:: me == 0 ->
			mapping = (fault_lazy[0] -> 0 : REGULAR_MAPPING);
			mm[0].pte[0] = PTE_MAPPED;
			mapcount = 1;
			on_lru = true
		:: else
		fi
	}
#endif
	ptl_unlock(0);
	if
	:: slow -> mmap_read_unlock(0)
	:: else -> vma_end_read(0)
	fi
}

/*
 * __split_vma(): reads the handle (vm_area_dup()) with the VMA write locked. The
 * new half is VMA 1, the page of fault 0 lies in it.
 */
proctype Split()
{
	LOCALS;

	mmap_write_lock(0);
	/* can_vma_merge_left() and its like compare anon_vmas before that. */
	i = own;
#ifdef NO_SPLIT_LOCK
	m = vma[0].handle;
	vma_start_write(0);
#else
	vma_start_write(0);
	m = vma[0].handle;
#endif
	MUST(handle_denies_folios, !(m == H_NULL && fault_lazy[0]));
	MUST(handle_went_back, m == vma[0].handle);
	MUST(handle_went_back, i == own);
	m = 0;
	i = 0;
	mmap_write_unlock(0)
}

/* fork: upgrades, makes what it meets regular, and says so in the handle. */
proctype Fork()
{
	LOCALS;

	mmap_write_lock(0);
	vma_start_write(0);
	if
	:: vma[0].handle == H_NULL
	:: else ->
		if
		:: !owns(vma[0].handle) -> prepare_anon_vma()
		:: else
		fi;
		ptl_lock(0);
		fault_lazy[0] = false;
		fault_lazy[1] = false;
#if SCENARIO == UPGRADE_WALK
		if
		:: mm[0].pte[0] == PTE_MAPPED && lazy -> mapping = REGULAR_MAPPING
		:: else
		fi;
#endif
		ptl_unlock(0);
		vma[0].handle = H_REGULAR
	fi;
	mmap_write_unlock(0)
}

/*
 * reusable_anon_vma(): the fault of a neighbour looks whether it can share what
 * VMA 0 owns. An anon_vma with ancestors on its chain is not for everyone.
 */
proctype Neighbour()
{
	LOCALS;

	d_step { !mm[0].mmap_writer -> took(MMAP); mm[0].mmap_readers++ }
	/* smp_load_acquire() */
	d_step { m = vma[0].handle; i = own }
	if
	:: owns(m) -> MUST(named_not_on_chain, chain & (1 << i))
	:: else
	fi;
	mmap_read_unlock(0)
}

/*
 * R7: with VMA 0 locked reclaim finds the folio of fault 0, whichever of them has
 * upgraded the VMA meanwhile.
 */
#if SCENARIO == UPGRADE_WALK
#define RUN_UPGRADE run Reclaim(2); run Fault(0); run Fault(1); run Fork()
#else
#define RUN_UPGRADE \
	run Fault(0); run Fault(1); run Split(); run Fork(); run Neighbour()
#endif

#define RUN \
	if \
	:: vma[0].handle = H_NULL \
	:: vma[0].handle = H_PARENT; link_chain(2) \
	fi; \
	mm[0].pte[0] = PTE_NONE; \
	mapcount = 0; \
	on_lru = false; \
	RUN_UPGRADE
#endif

init {
	atomic {
		mm[0].mt[0] = NONE;
		mm[0].mt[1] = NONE;
		mm[1].mt[0] = NONE;
		mm[1].mt[1] = NONE;
		mm[0].hint = NONE;
		mm[1].hint = NONE;
		mm[0].users = 1;
		mm[1].users = 1;
		vma_attach(0, 0, 0);
		/* Somebody was here before, or not. */
		if
		:: true
		:: mm[0].hint = 0
		fi;
		vma[0].handle = H_VMA;
		mm[0].pte[0] = PTE_MAPPED;
		mapcount = 1;
		anon_exclusive = true;
		on_lru = true;
#if SCENARIO == MREMAP || SCENARIO == MIGRATE
		/* Or upgraded since, the folio still lazy, or that, too, is over. */
		if
		:: true
		:: vma[0].handle = H_UPGRADED; vma[0].linked = true
		:: vma[0].handle = H_REGULAR; vma[0].linked = true; mapping = REGULAR_MAPPING
		fi;
#endif
#if SCENARIO == LOCKS
		vma_attach(1, 0, 1);
		vma[1].handle = H_VMA;
#endif
		RUN
	}
#if SCENARIO == UPGRADE || SCENARIO == UPGRADE_WALK
	/* All is done: an anon_vma that was allocated is owned, or was freed. */
	_nr_pr == 1;
	assert(vma[0].handle == H_NULL || owns(vma[0].handle) || !own);
	MUST(anon_vma_lost, allocated == (own != 0 -> 1 : 0));
	MUST(handle_denies_folios,
	     !(vma[0].handle == H_REGULAR && (fault_lazy[0] || fault_lazy[1])))
#endif
}
