// SPDX-License-Identifier: GPL-2.0
/*
 * Reverse mapping of anonymous memory, with and without vm.anon_vma_lazy.
 *
 * With the switch on, a private mapping that was never shared has no anon_vma:
 * its pages are found through mm and address instead.  What could go wrong is
 * always the same: after some history of forks, moves, splits, merges and swaps
 * a page is not found by the reverse map walk any more.  Such a page cannot be
 * reclaimed or migrated, or worse, one of its mappings outlives it.
 *
 * So every case here makes such a history, then has all pages reclaimed (or
 * moved to another node, or poisoned), looks into pagemap whether each of them
 * really left in every process, and last reads all contents back.  How many
 * VMAs /proc/self/maps shows is compared with what a kernel without the feature
 * does.
 *
 * All cases but the few that count objects run on any kernel: without the
 * switch they are plain rmap tests.
 */
#include "kselftest_harness.h"
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/loop.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hugepage_settings.h"
#include "vm_util.h"
#include "../../../../lib/test_hmm_uapi.h"
#include "../../../../mm/gup_test.h"

#define SWITCH		"/proc/sys/vm/anon_vma_lazy"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

#define MB(x)		((size_t)(x) << 20)
#define TABLE		(psize() / sizeof(long))	/* pages of one page table */
#define ARENA_SIZE	len(16 * TABLE)
#define MAX_KIDS	32
#define NR		16	/* pages of the usual mapping */
#define TAG		0x1000	/* first stamp of the usual contents */
#define TAG2		0x2000
#define TAG3		0x3000

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

typedef bool (*kid_fn)(char *p, size_t n, unsigned int arg);

/* A process of the test: does what it is told, one function at a time */
struct kid {
	pid_t pid;
	uint32_t go;
	uint32_t done;
	kid_fn fn;
	char *p;
	size_t n;
	unsigned int arg;
	bool ret;
};

struct bus_error {
	int nr;
	int code;
	void *addr;
};

/* Seen by all processes of a test; [0] is the test itself */
struct shared {
	int nr_kids;
	struct kid kid[MAX_KIDS];
	struct bus_error bus[MAX_KIDS];
};

struct tweak {
	char path[128];
	char old[64];
};

/* One process runs one test, so all of this can as well be global. */
static struct shared *sh;
static int me;
static char *arena;
static int backing = -1;
static char memcg[PATH_MAX], tracing[PATH_MAX];
static struct tweak tweaks[24];
static int nr_tweaks;
static char disk[32], zram[32];
static sigjmp_buf bus_jmp;
static bool bus_jmp_set;

static void __printf(1, 2) note(const char *fmt, ...)
{
	char buf[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	dprintf(STDERR_FILENO, "# [%d] %s\n", getpid(), buf);
}

static bool put(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(val);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, val, len) == len;
	close(fd);
	return ok;
}

static bool get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, buf, size - 1);
	close(fd);
	buf[len > 0 ? len : 0] = '\0';
	return len > 0;
}

static long get_num(const char *path)
{
	char buf[64];

	return get(path, buf, sizeof(buf)) ? strtol(buf, NULL, 0) : -1;
}

/* Write a setting; the end of the test restores it */
static bool tweak(const char *path, const char *val)
{
	struct tweak *t = &tweaks[nr_tweaks];
	char buf[256], *old = buf, *end;

	if (!get(path, buf, sizeof(buf)))
		return false;
	/* "always [madvise] never" */
	if (strchr(buf, '[')) {
		old = strchr(buf, '[') + 1;
		*strchrnul(old, ']') = '\0';
	}
	for (end = old + strlen(old); end > old && end[-1] == '\n'; end--)
		end[-1] = '\0';
	if (!put(path, val))
		return false;
	if (nr_tweaks < (int)ARRAY_SIZE(tweaks) - 1) {
		snprintf(t->path, sizeof(t->path), "%s", path);
		snprintf(t->old, sizeof(t->old), "%s", old);
		nr_tweaks++;
	}
	return true;
}

static size_t len(size_t n)
{
	return n * psize();
}

/*
 * Memory of the test lies in one reserved area, so that nobody else maps
 * something next to it.  A file is mapped such that its offset is the place
 * in the area: neighbours can merge as anonymous ones can.
 */
static char *at(size_t page)
{
	return arena + len(page);
}

static char *map_prot(size_t page, size_t n, int prot)
{
	int flags = MAP_PRIVATE | MAP_FIXED;

	if (backing < 0)
		flags |= MAP_ANONYMOUS;
	return mmap(at(page), len(n), prot, flags, backing,
		    backing < 0 ? 0 : len(page));
}

static char *map(size_t page, size_t n)
{
	return map_prot(page, n, PROT_READ | PROT_WRITE);
}

static bool stamp(char *p, unsigned long tag)
{
	unsigned long *w = (unsigned long *)p;

	w[0] = tag;
	w[psize() / sizeof(*w) - 1] = ~tag;
	return true;
}

static bool stamped(char *p, unsigned long tag)
{
	unsigned long *w = (unsigned long *)p;

	return FORCE_READ(w[0]) == tag &&
	       FORCE_READ(w[psize() / sizeof(*w) - 1]) == ~tag;
}

/* Page i holds tag + i */
static bool fill(char *p, size_t n, unsigned int tag)
{
	for (size_t i = 0; i < n; i++)
		stamp(p + len(i), tag + i);
	return true;
}

static bool check(char *p, size_t n, unsigned int tag)
{
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		if (stamped(p + len(i), tag + i))
			continue;
		note("page %zu at %p: %#lx instead of %#lx", i, p + len(i),
		     *(unsigned long *)(p + len(i)), tag + i);
		ok = false;
	}
	return ok;
}

static bool fill_same(char *p, size_t n, unsigned int tag)
{
	for (size_t i = 0; i < n; i++)
		stamp(p + len(i), tag);
	return true;
}

static bool check_same(char *p, size_t n, unsigned int tag)
{
	for (size_t i = 0; i < n; i++)
		if (!check(p + len(i), 1, tag))
			return false;
	return true;
}

/* Nothing written: zero, also in the file */
static bool check_zero(char *p, size_t n, unsigned int unused)
{
	for (size_t i = 0; i < len(n); i += sizeof(long)) {
		if (FORCE_READ(*(long *)(p + i))) {
			note("%p is not zero", p + i);
			return false;
		}
	}
	return true;
}

static bool do_map(char *p, size_t n, unsigned int unused)
{
	return map((p - arena) / psize(), n) == p;
}

static bool do_protect(char *p, size_t n, unsigned int prot)
{
	return !mprotect(p, len(n), prot);
}

static bool do_advise(char *p, size_t n, unsigned int advice)
{
	return !madvise(p, len(n), advice);
}

static bool move(char *p, size_t n, char *to)
{
	char *q = mremap(p, len(n), len(n), MREMAP_MAYMOVE | MREMAP_FIXED, to);

	if (q != to)
		note("mremap %p + %zu to %p: %s", p, n, to, strerror(errno));
	return q == to;
}

/* The same for a kid: the destination is a page number in the arena */
static bool do_move(char *p, size_t n, unsigned int page)
{
	return move(p, n, at(page));
}

static bool pagemap_range(pid_t pid, char *p, size_t n, uint64_t *ent)
{
	off_t off = (unsigned long)p / psize() * sizeof(*ent);
	ssize_t size = n * sizeof(*ent);
	char path[64];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ok = pread(fd, ent, size, off) == size;
	close(fd);
	return ok;
}

static uint64_t pagemap_entry(char *p)
{
	uint64_t ent;

	return pagemap_range(getpid(), p, 1, &ent) ? ent : -1;
}

/* /proc/kpage@what of a page, 0 if that cannot be read */
static uint64_t read_kpage(const char *what, unsigned long pfn)
{
	uint64_t value = 0;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/kpage%s", what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	/* All of these files have eight bytes a page. */
	if (pageflags_get(pfn, fd, &value))
		value = 0;
	close(fd);
	return value;
}

/* Why it might not go away. The number of a cgroup is that of its inode. */
static void note_page(unsigned long pfn)
{
	struct stat ours = { 0 };

	stat(memcg, &ours);
	note("page: flags %llx, mapped %llu times, in cgroup %llu, ours is %llu",
	     (unsigned long long)read_kpage("flags", pfn),
	     (unsigned long long)read_kpage("count", pfn),
	     (unsigned long long)read_kpage("cgroup", pfn),
	     (unsigned long long)ours.st_ino);
}

/* Pages of a process whose pagemap entry is not @want under @mask */
static size_t count_not(pid_t pid, char *p, size_t n, uint64_t mask,
			uint64_t want, const char *what)
{
	uint64_t ent[n];
	size_t nr = 0;

	if (!pagemap_range(pid, p, n, ent)) {
		note("no pagemap of process %d", pid);
		return n;
	}
	for (size_t i = 0; i < n; i++) {
		if ((ent[i] & mask) == want)
			continue;
		if (what && nr < 8) {
			note("process %d, %p %s: pagemap %016llx", pid,
			     p + len(i), what, (unsigned long long)ent[i]);
			if (ent[i] & PM_PRESENT)
				note_page(PAGEMAP_PFN(ent[i]));
		}
		nr++;
	}
	return nr;
}

static size_t nr_not_swapped(char *p, size_t n, const char *what)
{
	return count_not(getpid(), p, n, PM_PRESENT | PM_SWAP, PM_SWAP, what);
}

static bool is_swapped(char *p, size_t n, unsigned int unused)
{
	return !nr_not_swapped(p, n, "is not in swap");
}

/*
 * A page that is on its way to the LRU in a batch of some CPU cannot be
 * reclaimed.  Moving pages begins with flushing all batches; there are no
 * pages to move from a node to itself.
 */
static void drain_batches(void)
{
	unsigned long node0 = 1;

	if (syscall(__NR_migrate_pages, 0, 2, &node0, &node0) < 0)
		put("/proc/sys/vm/drop_caches", "1");
}

/*
 * Have all pages of the range reclaimed.  They must be mapped here only,
 * MADV_PAGEOUT leaves shared pages alone.  Somebody may hold or lock a page for
 * a moment: try again before complaining.
 */
static bool swap_out(char *p, size_t n, unsigned int unused)
{
	for (int i = 0; i < 30; i++) {
		if (madvise(p, len(n), MADV_PAGEOUT)) {
			note("MADV_PAGEOUT %p + %zu: %s", p, n, strerror(errno));
			return false;
		}
		if (!nr_not_swapped(p, n, NULL))
			return true;
		drain_batches();
		usleep(i * 8000);
	}
	return !nr_not_swapped(p, n, "stays after MADV_PAGEOUT");
}

static bool swap_out_and_check(char *p, size_t n, unsigned int tag)
{
	return swap_out(p, n, 0) && check(p, n, tag);
}

/*
 * Have all pages of the range reclaimed in all processes of the test, shared
 * ones too.  The processes are in a memory cgroup of their own: asked to
 * reclaim all anonymous memory, the kernel has to find every mapping.
 */
static size_t most_present(char *p, size_t n, const char *what)
{
	size_t most = count_not(getpid(), p, n, PM_PRESENT, 0, what);

	for (int k = 1; k <= sh->nr_kids; k++) {
		pid_t pid = sh->kid[k].pid;
		size_t nr = pid ? count_not(pid, p, n, PM_PRESENT, 0, what) : 0;

		if (nr > most)
			most = nr;
	}
	return most;
}

/* Have reclaim try once to free @bytes, or all that the test's processes have. */
static void reclaim_once(size_t bytes, const char *how)
{
	char path[PATH_MAX + 20], amount[64];

	/*
	 * Reclaim decides by the sizes of the LRU lists, and those are up to two
	 * seconds old unless somebody has asked for them.
	 */
	snprintf(path, sizeof(path), "%s/memory.stat", memcg);
	get(path, amount, sizeof(amount));
	if (!bytes) {
		snprintf(path, sizeof(path), "%s/memory.current", memcg);
		bytes = get_num(path);
	}
	snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
	snprintf(amount, sizeof(amount), "%zu%s", bytes, how);
	put(path, amount);
}

static bool reclaim_all(char *p, size_t n)
{
	size_t nr = most_present(p, n, NULL), before;

	for (int i = 0; nr && i < 60; i++) {
		/*
		 * Asked for more than there is reclaim tries hard.  But the pages
		 * may be on the active list, and as long as the program itself has
		 * enough on the inactive one they stay there: ask for all at times.
		 * MADV_FREE moves pages to the LRU lists of files.
		 */
		reclaim_once(i % 8 == 7 ? 0 : len(nr),
			     i % 4 == 2 ? "" : " swappiness=max");
		before = nr;
		nr = most_present(p, n, NULL);
		if (nr && nr == before) {
			drain_batches();
			usleep(i * 2000);
		}
	}
	return !nr || !most_present(p, n, "stays after reclaim");
}

static bool do_reclaim_all(char *p, size_t n, unsigned int unused)
{
	return reclaim_all(p, n);
}

/* Number of VMAs in a range, the reserve of the arena not counted */
static bool count_vmas(char *p, size_t n, unsigned int want)
{
	unsigned int nr = 0, lines = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		char perm[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, perm) != 3) {
			note("cannot parse %s", line);
			continue;
		}
		lines++;
		if (start < (unsigned long)p + len(n) && end > (unsigned long)p &&
		    strcmp(perm, "---p"))
			nr++;
	}
	fclose(f);
	if (nr != want)
		note("%u VMAs in %p + %zu, not %u", nr, p, n, want);
	/* Text, data and stack of this program are always there */
	return nr == want && lines > 4;
}

/* Kids */

static void futex_wait(uint32_t *addr, uint32_t val)
{
	struct timespec ts = { .tv_nsec = 200 * 1000 * 1000 };

	syscall(__NR_futex, addr, FUTEX_WAIT, val, &ts, NULL, 0);
}

static void futex_wake(uint32_t *addr)
{
	syscall(__NR_futex, addr, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void __noreturn kid_main(int nr)
{
	struct kid *k = &sh->kid[nr];

	me = nr;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		uint32_t done = k->done;

		while (__atomic_load_n(&k->go, __ATOMIC_ACQUIRE) == done)
			futex_wait(&k->go, done);
		k->ret = k->fn(k->p, k->n, k->arg);
		__atomic_store_n(&k->done, done + 1, __ATOMIC_RELEASE);
		futex_wake(&k->done);
	}
}

/* All processes are children of the test, whoever forked them. */
static bool do_fork(char *p, size_t n, unsigned int nr)
{
	unsigned long flags = SIGCHLD | (me ? CLONE_PARENT : 0);
	pid_t pid = syscall(__NR_clone, flags, 0, 0, 0, 0);

	if (!pid)
		kid_main(nr);
	if (pid > 0)
		sh->kid[nr].pid = pid;
	return pid > 0;
}

static bool kid_died(struct kid *k)
{
	siginfo_t info = {};

	waitid(P_PID, k->pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid == k->pid;
}

/* Have @k call fn(p, n, arg); NULL is the test itself */
static bool in(struct kid *k, kid_fn fn, char *p, size_t n, unsigned int arg)
{
	uint32_t go;

	if (!k)
		return fn(p, n, arg);
	if (!k->pid)
		return false;
	k->fn = fn;
	k->p = p;
	k->n = n;
	k->arg = arg;
	go = k->go + 1;
	__atomic_store_n(&k->go, go, __ATOMIC_RELEASE);
	futex_wake(&k->go);
	while (__atomic_load_n(&k->done, __ATOMIC_ACQUIRE) != go) {
		if (kid_died(k)) {
			note("process %d died", k->pid);
			return false;
		}
		futex_wait(&k->done, go - 1);
	}
	if (!k->ret)
		note("that was kid %d, process %d", (int)(k - sh->kid), k->pid);
	return k->ret;
}

/* A child of @from, or of the test itself */
static struct kid *fork_kid(struct kid *from)
{
	int nr = ++sh->nr_kids;

	if (nr >= MAX_KIDS || !in(from, do_fork, NULL, 0, nr))
		return NULL;
	return &sh->kid[nr];
}

/* When this returns, the process is gone with all it had mapped. */
static void quit(struct kid *k)
{
	kill(k->pid, SIGKILL);
	waitpid(k->pid, NULL, 0);
	k->pid = 0;
}

/* Processes that come and go, so that the memory of dead ones is used again */
static bool churn(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid) {
			map(0, 1);
			fill(at(0), 1, TAG3);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return false;
	}
	return true;
}

/* Many small VMAs that are not merged */
#define NR_VMAS	200

static void map_many(void)
{
	for (size_t i = 0; i < NR_VMAS; i++) {
		map(8 + 3 * i, 2);
		fill(at(8 + 3 * i), 2, TAG + 3 * i);
	}
}

static bool check_many(char *p, size_t n, unsigned int unused)
{
	for (size_t i = 0; i < NR_VMAS; i++)
		if (!check(at(8 + 3 * i), 2, TAG + 3 * i))
			return false;
	return true;
}

/* NUMA */

static bool have_node1(void)
{
	return !access("/sys/devices/system/node/node1/meminfo", R_OK);
}

static long move_pages(int pid, char *p, size_t n, int *nodes, int *status)
{
	void *pages[n];

	for (size_t i = 0; i < n; i++)
		pages[i] = p + len(i);
	return syscall(__NR_move_pages, pid, n, pages, nodes, status,
		       MPOL_MF_MOVE_ALL);
}

static bool on_node(char *p, size_t n, unsigned int node)
{
	int status[n];

	if (move_pages(0, p, n, NULL, status))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (status[i] != (int)node) {
			note("%p is on node %d, not %u", p + len(i),
			     status[i], node);
			return false;
		}
	}
	return true;
}

static bool move_to_node(char *p, size_t n, unsigned int node)
{
	int nodes[n], status[n];
	int try;

	for (size_t i = 0; i < n; i++)
		nodes[i] = node;
	/* Isolation or a page lock may fail for a moment. */
	for (try = 0; try < 20; try++) {
		size_t nr = 0;

		move_pages(0, p, n, nodes, status);
		if (move_pages(0, p, n, NULL, status))
			return false;
		for (size_t i = 0; i < n; i++)
			nr += status[i] == (int)node;
		if (nr == n)
			return true;
		usleep(10000);
	}
	return on_node(p, n, node);
}

/* KSM */

static bool ksm_setup(void)
{
	return tweak("/sys/kernel/mm/ksm/run", "0") &&
	       tweak("/sys/kernel/mm/ksm/sleep_millisecs", "0") &&
	       tweak("/sys/kernel/mm/ksm/pages_to_scan", "10000") &&
	       tweak("/sys/kernel/mm/ksm/use_zero_pages", "0");
}

static bool ksm_merge(char *p, size_t n, unsigned int unused)
{
	long nr = 0;

	for (int i = 0; i < 20 && nr < (long)n; i++) {
		if (ksm_start())
			break;
		nr = ksm_get_self_merging_pages();
	}
	/* Not ksm_stop(), which unmerges all. */
	put("/sys/kernel/mm/ksm/run", "0");
	nr = ksm_get_self_merging_pages();
	if (nr < (long)n)
		note("%ld pages merged, not %zu", nr, n);
	return nr >= (long)n;
}

/* Whatever has to find a page */

/* By migration, in both directions, and by reclaim */
static bool found(char *p, size_t n, unsigned int tag)
{
	if (!check(p, n, tag))
		return false;
	if (have_node1() && !(move_to_node(p, n, 1) && check(p, n, tag) &&
			      move_to_node(p, n, 0)))
		return false;
	return swap_out_and_check(p, n, tag);
}

/* By KSM as well, which makes them all the same. So this comes last. */
static bool found_by_all(char *p, size_t n, unsigned int tag)
{
	if (!found(p, n, tag))
		return false;
	if (!ksm_setup())
		return true;
	return fill_same(p, n, TAG3) && do_advise(p, n, MADV_MERGEABLE) &&
	       ksm_merge(p, n, 0) && check_same(p, n, TAG3) && reclaim_all(p, n) &&
	       check_same(p, n, TAG3);
}

/* Large folios */

static unsigned long pfn_of(char *p)
{
	uint64_t ent = pagemap_entry(p);

	return ent & PM_PRESENT ? PAGEMAP_PFN(ent) : 0;
}

static bool is_large(char *p)
{
	return read_kpage("flags", pfn_of(p)) &
	       (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL);
}

static bool allow_thp(void)
{
	return !prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

/* Swap */

/* References from a pipe keep pages in the swap cache when they are reclaimed */
static int hold_pages(char *p, size_t n)
{
	struct iovec iov = { .iov_base = p, .iov_len = len(n) };
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) != (ssize_t)len(n)) {
		close(fds[0]);
		fds[0] = -1;
	}
	close(fds[1]);
	return fds[0];
}

static int shared_fd = -1;

/* The read end of a pipe holds the page, and a child inherits it. */
static bool do_hold(char *p, size_t n, unsigned int unused)
{
	shared_fd = hold_pages(p, n);
	return shared_fd >= 0;
}

/* Read everything back from swap by switching it off and on */
static bool swap_cycle(void)
{
	char line[256], dev[128], type[32];
	int prio = -1, flags;
	FILE *f = fopen("/proc/swaps", "r");
	int nr = 0;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%127s %31s %*s %*s %d", dev, type, &prio) == 3)
			nr++;
	fclose(f);
	if (nr != 1)
		return false;
	if (swapoff(dev)) {
		note("swapoff %s: %s", dev, strerror(errno));
		return false;
	}
	flags = prio >= 0 ? SWAP_FLAG_PREFER | prio : 0;
	if (swapon(dev, flags)) {
		note("swapon %s: %s", dev, strerror(errno));
		return false;
	}
	return true;
}

/* Swap on zram alone: not the disk of somebody's machine */
static bool may_swapoff(void)
{
	char buf[1024];

	return get("/proc/swaps", buf, sizeof(buf)) &&
	       strstr(buf, "/zram") == strchr(buf, '/') + 4 &&
	       strchr(strchr(buf, '\n') + 1, '\n') == buf + strlen(buf) - 1;
}

/*
 * Swap on a device that takes its time, instead of zram: what is swapped out stays
 * in the swap cache until it is reclaimed once more, and swap-in reads ahead. The
 * file is in a ramfs that nobody else sees: its pages cannot be swapped out.
 */
static bool make_disk(void)
{
	const uint32_t header[] = { 1, MB(64) / psize() - 1, 0 };
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int fs = fsopen("ramfs", FSOPEN_CLOEXEC), dir, file, ctl, nr, dev;
	bool ok;

	fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	dir = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	file = openat(dir, "swap", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	nr = ioctl(ctl, LOOP_CTL_GET_FREE);
	snprintf(disk, sizeof(disk), "/dev/loop%d", nr);
	dev = open(disk, O_RDWR | O_CLOEXEC);
	config.fd = file;
	/* If any of these could not be had, the last one fails. */
	ok = !ftruncate(file, MB(64)) &&
	     pwrite(file, header, sizeof(header), 1024) == sizeof(header) &&
	     pwrite(file, "SWAPSPACE2", 10, psize() - 10) == 10 &&
	     !ioctl(dev, LOOP_CONFIGURE, &config) && !swapon(disk, 0);
	if (!ok)
		*disk = '\0';
	close(dev);
	close(ctl);
	close(file);
	close(dir);
	close(fs);
	return ok;
}

static bool disk_swap(void)
{
	char buf[1024];

	if (!may_swapoff() || !get("/proc/swaps", buf, sizeof(buf)) ||
	    sscanf(strchr(buf, '/'), "%31s", zram) != 1 || !make_disk())
		return false;
	if (!swapoff(zram))
		return true;
	note("swapoff %s: %s", zram, strerror(errno));
	return false;
}

/* Back to zram, with what there is on the disk */
static bool disk_swapoff(void)
{
	bool ok;

	swapon(zram, 0);
	ok = !swapoff(disk);
	if (!ok)
		note("swapoff %s: %s", disk, strerror(errno));
	*disk = '\0';
	return ok;
}

/* Swapped out, and still in the swap cache */
static bool is_swap_cached(char *p, size_t n, unsigned int unused)
{
	unsigned char vec[n];

	if (!is_swapped(p, n, 0) || mincore(p, len(n), vec))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (vec[i] & 1)
			continue;
		note("%p is not in the swap cache", p + len(i));
		return false;
	}
	return true;
}

/* Slab */

static void rcu_settle(void)
{
	syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

/* Objects in use; a shrink first frees what is only cached */
static long slab_objects(const char *name)
{
	char path[128], line[256];
	long nr = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", name);
	put(path, "1");
	f = fopen("/proc/slabinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		char cache[64];
		long active;

		if (sscanf(line, "%63s %ld", cache, &active) == 2 &&
		    !strcmp(cache, name))
			nr = active;
	}
	fclose(f);
	return nr;
}

/* Fixtures */

static const char *make_memcg(void)
{
	char root[PATH_MAX - 64] = "", buf[256], path[PATH_MAX + 32];
	FILE *f = fopen("/proc/mounts", "r");

	if (!f)
		return "no /proc/mounts";
	while (fgets(buf, sizeof(buf), f)) {
		char dir[128], type[32];

		if (sscanf(buf, "%*s %127s %31s", dir, type) == 2 &&
		    !strcmp(type, "cgroup2"))
			snprintf(root, sizeof(root), "%s", dir);
	}
	fclose(f);
	if (!*root)
		return "no cgroup2 mounted";
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	if (!put(path, "+memory"))
		return "no memory controller";
	snprintf(memcg, sizeof(memcg), "%s/anon_vma_lazy.%d", root, getpid());
	if (mkdir(memcg, 0755))
		return "cannot make a cgroup";
	snprintf(path, sizeof(path), "%s/cgroup.procs", memcg);
	if (!put(path, "0"))
		return "cannot enter a cgroup";
	snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
	if (access(path, W_OK))
		return "no memory.reclaim";
	return NULL;
}

/* Why the test cannot run, or NULL */
static const char *setup(bool on, bool file)
{
	const char *why;
	char buf[512];

	if (geteuid())
		return "must be root";
	if (access(SWITCH, F_OK)) {
		if (on)
			return "no vm.anon_vma_lazy";
	} else if (!tweak(SWITCH, on ? "1" : "0")) {
		return "cannot set vm.anon_vma_lazy";
	}
	if (!get("/proc/swaps", buf, sizeof(buf)) || !strchr(buf, '/'))
		return "no swap";
	why = make_memcg();
	if (why)
		return why;
	/* Nobody but the test moves pages or makes large ones. */
	tweak("/proc/sys/kernel/numa_balancing", "0");
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	arena = mmap(NULL, ARENA_SIZE + len(TABLE), PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sh == MAP_FAILED || arena == MAP_FAILED)
		return "no memory";
	arena = (char *)(((unsigned long)arena + len(TABLE) - 1) & -len(TABLE));
	if (file) {
		backing = memfd_create("anon_vma_lazy", MFD_CLOEXEC);
		if (backing < 0 || ftruncate(backing, ARENA_SIZE))
			return "no memfd";
	}
	return NULL;
}

static void teardown(void)
{
	char path[PATH_MAX];

	for (int k = 1; sh && k <= sh->nr_kids && k < MAX_KIDS; k++)
		if (sh->kid[k].pid)
			quit(&sh->kid[k]);
	if (*disk)
		disk_swapoff();
	while (nr_tweaks--)
		put(tweaks[nr_tweaks].path, tweaks[nr_tweaks].old);
	if (*tracing)
		rmdir(tracing);
	if (!*memcg)
		return;
	/* Back to the root, the way there is in the cgroup's own name */
	snprintf(path, sizeof(path), "%s", memcg);
	*strrchr(path, '/') = '\0';
	strcat(path, "/cgroup.procs");
	put(path, "0");
	rmdir(memcg);
}

FIXTURE(lazy)
{
};

FIXTURE_VARIANT(lazy)
{
	bool on;
	bool file;
};

FIXTURE_VARIANT_ADD(lazy, anon_on)
{
	.on = true,
};

FIXTURE_VARIANT_ADD(lazy, file_on)
{
	.on = true,
	.file = true,
};

FIXTURE_VARIANT_ADD(lazy, anon_off)
{
};

FIXTURE_VARIANT_ADD(lazy, file_off)
{
	.file = true,
};

FIXTURE_SETUP(lazy)
{
	const char *why = setup(variant->on, variant->file);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(lazy)
{
	teardown();
}

/* What cannot be done with a file, or needs no mapping of the test's choice */
FIXTURE(anon)
{
};

FIXTURE_VARIANT(anon)
{
	bool on;
};

FIXTURE_VARIANT_ADD(anon, on)
{
	.on = true,
};

FIXTURE_VARIANT_ADD(anon, off)
{
};

FIXTURE_SETUP(anon)
{
	const char *why = setup(variant->on, false);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(anon)
{
	teardown();
}

/* First fault */

TEST_F(lazy, fault)
{
	char *p = map(8, NR);

	ASSERT_EQ(p, at(8));
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	/* Once more: these folios were made by swap-in. */
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* The zero page or the page of the file first, then the copy */
TEST_F(lazy, fault_read_first)
{
	char *p = map(8, NR);

	ASSERT_TRUE(check_zero(p, NR, 0));
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
}

TEST_F(lazy, fault_populate)
{
	char *p = map(8, NR);

	ASSERT_EQ(madvise(p, len(NR), MADV_POPULATE_WRITE), 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check_zero(p, NR, 0));
}

/* Reclaim through the LRU, not through the page table */
TEST_F(lazy, reclaim_lru)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(is_swapped(p, NR, 0));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* Past the size up to which a VMA is lazy, in one step and by growing */
TEST_F(lazy, fault_big)
{
	size_t n = MB(3) / psize();
	char *p = map(8, n);

	fill(p, n, TAG);
	ASSERT_TRUE(swap_out(p, n, 0));
	ASSERT_TRUE(check(p, n, TAG));
	ASSERT_TRUE(count_vmas(p, n, 1));
}

TEST_F(lazy, grow_past_limit)
{
	size_t half = MB(1) / psize();
	char *p = map(8, half);

	fill(p, half, TAG);
	ASSERT_TRUE(count_vmas(p, half, 1));
	for (int i = 1; i < 4; i++) {
		map(8 + i * half, half);
		fill(p + i * len(half), half, TAG + i * half);
		ASSERT_TRUE(count_vmas(p, (i + 1) * half, 1));
	}
	ASSERT_TRUE(swap_out(p, 4 * half, 0));
	ASSERT_TRUE(check(p, 4 * half, TAG));
}

static bool do_ptrace_poke(pid_t pid, char *p, unsigned long tag)
{
	char *last = p + psize() - sizeof(tag);
	int status;
	bool ok;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, &status, 0) != pid)
		return false;
	ok = !ptrace(PTRACE_POKEDATA, pid, p, tag) &&
	     !ptrace(PTRACE_POKEDATA, pid, last, ~tag);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return ok;
}

static bool do_map_readonly(char *p, size_t n, unsigned int unused)
{
	return map_prot((p - arena) / psize(), n, PROT_READ) == p;
}

/* A debugger's write makes anonymous pages in a read-only VMA. */
TEST_F(lazy, ptrace_poke)
{
	struct kid *k = fork_kid(NULL);
	char *p = at(8);

	ASSERT_TRUE(in(k, do_map_readonly, p, NR, 0));
	for (size_t i = 0; i < NR; i++)
		ASSERT_TRUE(do_ptrace_poke(k->pid, p + len(i), TAG + i));
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG));
	ASSERT_TRUE(in(k, count_vmas, p, NR, 1));
}

/* A debugger writes into pages that the child shares with us. */
TEST_F(lazy, ptrace_poke_shared)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_EQ(mprotect(p, len(NR), PROT_READ), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	for (size_t i = 0; i < NR / 2; i++)
		ASSERT_TRUE(do_ptrace_poke(k->pid, p + len(i), TAG2 + i));
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG2));
	ASSERT_TRUE(in(k, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* Fork */

TEST_F(lazy, fork)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Shared pages leave both processes at once. */
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(is_swapped(p, NR, 0));
	ASSERT_TRUE(in(k, is_swapped, p, NR, 0));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
	/* And again, now that swap-in decided where they belong. */
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(in(k, count_vmas, p, NR, 1));
}

/*
 * A child that has nothing of its own mapped when it forks: only what it got, and
 * what is in swap, partly in the swap cache as well.
 */
TEST_F(lazy, fork_unwritten)
{
	const size_t own = NR / 4, rest = NR - own;
	struct kid *k, *c, *d, *e;
	char *p = map(8, NR);

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, own, TAG2));
	ASSERT_TRUE(in(k, do_hold, p, own / 2, 0));
	ASSERT_TRUE(in(k, swap_out, p, own, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	d = fork_kid(c);
	ASSERT_NE(d, NULL);
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(reclaim_all(p, NR));
		ASSERT_TRUE(check(p, NR, TAG));
		ASSERT_TRUE(in(d, check, p, own, TAG2));
		ASSERT_TRUE(in(k, check, p, own, TAG2));
		ASSERT_TRUE(in(c, check, p, own, TAG2));
		ASSERT_TRUE(in(c, check, p + len(own), rest, TAG + own));
	}
	/* Now it has something, when it forks again. */
	ASSERT_TRUE(in(c, fill, p + len(own), own, TAG3));
	e = fork_kid(c);
	ASSERT_NE(e, NULL);
	quit(k);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(e, check, p, own, TAG2));
	ASSERT_TRUE(in(e, check, p + len(own), own, TAG3));
	ASSERT_TRUE(in(c, check, p + len(own), own, TAG3));
	ASSERT_TRUE(in(d, check, p + len(own), rest, TAG + own));
	quit(c);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(e, check, p + len(own), own, TAG3));
	ASSERT_TRUE(in(d, check, p, own, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
}

/*
 * The two halves of a VMA are linked to the same anon_vma, but one of them to one
 * more, as it comes from a process that took the anon_vma over from an ancestor.
 * They must not be merged when they could be otherwise.
 */
TEST_F(lazy, fork_chains)
{
	char *p = map(8, 8), *upper = p + len(4);
	struct kid *r, *q, *o, *s;

	fill(p, 8, TAG);
	r = fork_kid(NULL);
	ASSERT_NE(r, NULL);
	ASSERT_TRUE(in(r, fill, p + len(2), 1, TAG2));
	q = fork_kid(r);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(in(q, do_advise, upper, 4, MADV_DONTDUMP));
	ASSERT_TRUE(in(q, fill, p, 1, TAG3));
	o = fork_kid(q);
	ASSERT_NE(o, NULL);
	quit(r);
	ASSERT_TRUE(in(o, fill, p + len(1), 1, TAG2));
	s = fork_kid(o);
	ASSERT_NE(s, NULL);
	ASSERT_TRUE(in(s, do_advise, upper, 4, MADV_DODUMP));
	ASSERT_TRUE(in(s, count_vmas, p, 8, 2));
	ASSERT_TRUE(reclaim_all(p, 8));
	ASSERT_TRUE(in(s, check, p, 1, TAG3));
	ASSERT_TRUE(in(s, check, p + len(1), 1, TAG2));
	ASSERT_TRUE(in(q, check, p, 1, TAG3));
	quit(q);
	quit(o);
	ASSERT_TRUE(in(s, swap_out_and_check, p, 1, TAG3));
	ASSERT_TRUE(reclaim_all(p, 8));
	ASSERT_TRUE(in(s, check, upper, 4, TAG + 4));
}

/* A child writes to a quarter, both write, then each pages out its own. */
TEST_F(lazy, fork_write)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG2));
	ASSERT_TRUE(in(k, swap_out, p, NR / 4, 0));
	ASSERT_TRUE(swap_out(p, NR / 4, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR / 4, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
	fill(p + len(NR / 2), NR / 2, TAG3);
	ASSERT_TRUE(in(k, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(swap_out(p + len(NR / 2), NR / 2, 0));
	ASSERT_TRUE(in(k, swap_out, p + len(NR / 2), NR / 2, 0));
	ASSERT_TRUE(check(p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG3));
	ASSERT_TRUE(in(k, check, p, NR / 4, TAG2));
	ASSERT_TRUE(in(k, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
}

/* Where rmap found something last in the parent it does not in the child. */
TEST_F(lazy, fork_after_walk)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG2));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Whoever of the two stays is the only owner, and need not copy. */
TEST_F(lazy, fork_child_exits)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	quit(k);
	ASSERT_TRUE(swap_out(p, NR, 0));
	fill(p, NR / 2, TAG2);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, NR / 2, TAG2));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG + NR / 2));
}

TEST_F(lazy, fork_parent_exits)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	k = fork_kid(NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(in(c, swap_out_and_check, p, NR, TAG));
	/* Reuse of a page that was the parent's */
	ASSERT_TRUE(in(c, fill, p, NR / 2, TAG2));
	ASSERT_TRUE(in(c, swap_out_and_check, p, NR / 2, TAG2));
	ASSERT_TRUE(in(c, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
}

/* Reuse without a swap-in in between */
TEST_F(lazy, fork_parent_exits_write)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	k = fork_kid(NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(in(c, fill, p, NR, TAG2));
	ASSERT_TRUE(in(c, swap_out_and_check, p, NR, TAG2));
	c = fork_kid(c);
	ASSERT_TRUE(in(c, check, p, NR, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(c, check, p, NR, TAG2));
}

/*
 * Four generations; each one adds a page before it forks and writes one after.
 * Then they exit, in every order: one bit of @order a step says from which end.
 */
static bool generations(const int *order, int nr)
{
	char *p = map(8, NR);
	struct kid *k[4];

	k[0] = fork_kid(NULL);
	for (int i = 0; i < nr; i++) {
		if (i)
			k[i] = fork_kid(k[i - 1]);
		if (!k[i] || !in(k[i], fill, p + len(i), 1, TAG + i))
			return false;
	}
	/* Page 4 + i is private to generation i, written after all forks. */
	for (int i = 0; i < nr; i++)
		if (!in(k[i], fill, p + len(4 + i), 1, TAG2 + i))
			return false;
	for (int gone = 0; gone < nr; gone++) {
		if (!reclaim_all(p, NR))
			return false;
		for (int i = 0; i < nr; i++) {
			if (!k[i]->pid)
				continue;
			if (!in(k[i], check, p, i + 1, TAG) ||
			    !in(k[i], check, p + len(4 + i), 1, TAG2 + i) ||
			    !in(k[i], swap_out_and_check, p + len(4 + i), 1,
				TAG2 + i))
				return false;
		}
		quit(k[order[gone]]);
	}
	return true;
}

/* The @nth of the 24 orders of four */
static void order_of_four(int nth, int *order)
{
	int left[] = { 0, 1, 2, 3 };

	for (int n = 4; n; nth /= n--) {
		order[4 - n] = left[nth % n];
		left[nth % n] = left[n - 1];
	}
}

TEST_F_TIMEOUT(lazy, generations_orders, 120)
{
	int order[4];

	for (int nth = 0; nth < 24; nth++) {
		order_of_four(nth, order);
		note("%d %d %d %d", order[0], order[1], order[2], order[3]);
		ASSERT_TRUE(generations(order, 4));
		/* All are gone. */
		sh->nr_kids = 0;
	}
}

/*
 * Without end: what a process has of anon_vmas does not grow with the number of
 * its ancestors, nor with that of the children it has had.
 */
static bool few_more(const long *before, long more, const char *when)
{
	static const char * const name[] = { "anon_vma", "anon_vma_chain" };
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		long now = -1;

		/* RCU may take its time. */
		for (int try = 0; try < 40; try++) {
			now = slab_objects(name[i]);
			if (now < before[i] + more)
				break;
			rcu_settle();
			usleep(50000);
		}
		if (now < before[i] + more)
			continue;
		note("%s: %ld before, %ld %s", name[i], before[i], now, when);
		ok = false;
	}
	return ok;
}

/* Each writes something, and splits or merges what it has. */
static void __noreturn descend(char *p, int nr)
{
	for (int i = 0; i < nr; i++) {
		pid_t pid;

		fill(p, 1, TAG);
		if (i % 2)
			do_protect(p + len(4), 4, PROT_READ | (i & 2 ? PROT_WRITE : 0));
		pid = syscall(__NR_clone, SIGCHLD | CLONE_PARENT, 0, 0, 0, 0);
		if (pid)
			_exit(pid < 0);
	}
	sh->kid[1].pid = getpid();
	kid_main(1);
}

TEST_F_TIMEOUT(anon, generations_1000, 240)
{
	const int nr = variant->on ? 1000 : 100;
	struct kid *k = &sh->kid[1];
	char *p = map(8, NR);
	long before[2];
	int status;
	pid_t pid;

	fill(p, NR, TAG);
	before[0] = slab_objects("anon_vma");
	before[1] = slab_objects("anon_vma_chain");
	if (before[0] < 0 || before[1] < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	pid = fork();
	if (!pid)
		descend(p, nr);
	ASSERT_GT(pid, 0);
	for (int i = 0; i < nr; i++) {
		ASSERT_GT(waitpid(-1, &status, 0), 0);
		ASSERT_EQ(status, 0);
	}
	while (!__atomic_load_n(&k->pid, __ATOMIC_ACQUIRE))
		usleep(1000);
	sh->nr_kids = 1;
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	/* It has some of its own, as any child. */
	ASSERT_TRUE(few_more(before, 100, "many generations later"));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F_TIMEOUT(anon, children_many, 90)
{
	const int nr = variant->on ? 200 : 100;
	char *p = map(8, NR);
	long before[2];
	int status;

	fill(p, NR, TAG);
	before[0] = slab_objects("anon_vma");
	before[1] = slab_objects("anon_vma_chain");
	if (before[0] < 0 || before[1] < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	for (int i = 0; i < nr; i++) {
		pid_t pid = fork();

		if (!pid) {
			fill(p, 2, TAG2);
			_exit(!check(p + len(2), 2, TAG + 2));
		}
		ASSERT_GT(pid, 0);
		/* Before the child is gone, and after */
		fill(p + len(i % 2), 1, TAG + i % 2);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_EQ(status, 0);
		fill(p + len(2), 1, TAG + 2);
	}
	ASSERT_TRUE(few_more(before, 100, "many children later"));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Two children with two children each; all share, then all write. */
TEST_F(lazy, fork_tree)
{
	char *p = map(8, NR);
	struct kid *k[6];

	fill(p, NR, TAG);
	k[0] = fork_kid(NULL);
	k[1] = fork_kid(NULL);
	for (int i = 2; i < 6; i++)
		k[i] = fork_kid(k[i / 2 - 1]);
	ASSERT_TRUE(reclaim_all(p, NR));
	for (int i = 0; i < 6; i++) {
		ASSERT_NE(k[i], NULL);
		ASSERT_TRUE(in(k[i], check, p, NR, TAG));
		ASSERT_TRUE(in(k[i], fill, p + len(i), 1, TAG2 + i));
	}
	ASSERT_TRUE(reclaim_all(p, NR));
	for (int i = 0; i < 6; i++) {
		ASSERT_TRUE(in(k[i], check, p + len(i), 1, TAG2 + i));
		ASSERT_TRUE(in(k[i], check, p + len(6), NR - 6, TAG + 6));
	}
	ASSERT_TRUE(check(p, NR, TAG));
}

/* A child's own mappings, also next to and merged with what it inherited */
TEST_F(lazy, fork_child_maps)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR / 2, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* What was never written is the child's alone. */
	ASSERT_TRUE(in(k, fill, p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(in(k, do_map, at(8 + NR), NR, 0));
	ASSERT_TRUE(in(k, fill, at(8 + NR), NR, TAG + NR));
	ASSERT_TRUE(in(k, do_map, at(100), NR, 0));
	ASSERT_TRUE(in(k, fill, at(100), NR, TAG2));
	ASSERT_TRUE(reclaim_all(p, 2 * NR));
	ASSERT_TRUE(in(k, check, p, 2 * NR, TAG));
	ASSERT_TRUE(in(k, swap_out_and_check, at(100), NR, TAG2));
	ASSERT_TRUE(check(p, NR / 2, TAG));
	ASSERT_TRUE(check_zero(p + len(NR / 2), NR / 2, 0));
}

/* The pages that were written between two forks are known to the second. */
TEST_F(lazy, fork_twice)
{
	char *p = map(8, NR);
	struct kid *a, *b;

	fill(p, NR / 2, TAG);
	a = fork_kid(NULL);
	ASSERT_NE(a, NULL);
	fill(p + len(NR / 2), NR / 2, TAG + NR / 2);
	b = fork_kid(NULL);
	ASSERT_NE(b, NULL);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(a, check, p, NR / 2, TAG));
	ASSERT_TRUE(in(a, check_zero, p + len(NR / 2), NR / 2, 0));
	ASSERT_TRUE(in(b, check, p, NR, TAG));
	quit(a);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(b, check, p, NR, TAG));
	quit(b);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Never written here, written by the child only */
TEST_F(lazy, fork_unfaulted)
{
	char *p = map(8, NR);
	struct kid *k = fork_kid(NULL), *c;

	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	fill(p, NR, TAG2);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG2));
}

/* anon_vmas that live on without a VMA must not be taken for reusable. */
TEST_F(lazy, fork_reuse)
{
	char *p = map(8, NR);
	struct kid *k[8] = {};

	fill(p, NR, TAG);
	for (int i = 0; i < 8; i++) {
		k[i] = fork_kid(i ? k[i - 1] : NULL);
		ASSERT_NE(k[i], NULL);
		ASSERT_TRUE(in(k[i], fill, p + len(i), 1, TAG2 + i));
		if (i >= 2)
			quit(k[i - 2]);
	}
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k[7], check, p, 8, TAG2));
	ASSERT_TRUE(in(k[7], check, p + len(8), NR - 8, TAG + 8));
	ASSERT_TRUE(in(k[6], check, p, 7, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(anon, wipeonfork)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	fill(p, NR, TAG);
	/* A fork first, then a move: the parent keeps an offset of its own. */
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	quit(k);
	ASSERT_TRUE(move(p, NR, at(100)));
	p = at(100);
	ASSERT_EQ(madvise(p, len(NR), MADV_WIPEONFORK), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check_zero, p, NR, 0));
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG2));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, check_zero, p, NR, 0));
	ASSERT_TRUE(in(c, fill, p, NR, TAG3));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(c, check, p, NR, TAG3));
	ASSERT_TRUE(in(k, check, p, NR, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(lazy, dontfork)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_EQ(madvise(p + len(4), len(4), MADV_DONTFORK), 0);
	ASSERT_TRUE(count_vmas(p, NR, 3));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, count_vmas, p, NR, 2));
	ASSERT_TRUE(in(k, check, p, 4, TAG));
	ASSERT_TRUE(in(k, check, p + len(8), NR - 8, TAG + 8));
	ASSERT_TRUE(swap_out(p + len(4), 4, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	/* The child fills the hole with something of its own. */
	ASSERT_TRUE(in(k, do_map, p + len(4), 4, 0));
	ASSERT_TRUE(in(k, fill, p + len(4), 4, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p + len(4), 4, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* mremap */

TEST_F(lazy, mremap)
{
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(swap_out(q, NR, 0));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(count_vmas(q, NR, 1));
	ASSERT_TRUE(count_vmas(p, NR, 0));
}

/* Pages that are in swap are moved without being touched. */
TEST_F(lazy, mremap_swapped)
{
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(is_swapped(q, NR, 0));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
}

TEST_F(lazy, mremap_twice)
{
	char *p = map(8, NR), *q = at(100), *r = at(200);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(move(q, NR, r));
	ASSERT_TRUE(swap_out_and_check(r, NR, TAG));
	fill(r, NR / 2, TAG);
	ASSERT_TRUE(move(r, NR, q));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(count_vmas(q, NR, 1));
}

TEST_F(lazy, mremap_back)
{
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(move(q, NR, p));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	/* With a swap-in at the other place in between */
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(move(q, NR, p));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
}

/* First, middle and last quarter; afterwards back, and all is one VMA again. */
static bool move_quarter(int quarter, unsigned int pieces)
{
	char *p = map(8, NR), *s = p + len(quarter * NR / 4), *q = at(100);

	fill(p, NR, TAG);
	if (!move(s, NR / 4, q))
		return false;
	if (!count_vmas(p, NR, pieces) || !count_vmas(q, NR / 4, 1))
		return false;
	for (int i = 0; i < 4; i++) {
		char *piece = i == quarter ? q : p + len(i * NR / 4);

		if (!swap_out_and_check(piece, NR / 4, TAG + i * NR / 4))
			return false;
	}
	if (!move(q, NR / 4, s))
		return false;
	return count_vmas(p, NR, 1) && found_by_all(p, NR, TAG);
}

TEST_F(lazy, mremap_first)
{
	ASSERT_TRUE(move_quarter(0, 1));
}

TEST_F(lazy, mremap_middle)
{
	ASSERT_TRUE(move_quarter(1, 2));
}

TEST_F(lazy, mremap_last)
{
	ASSERT_TRUE(move_quarter(3, 1));
}

TEST_F(lazy, mremap_dontunmap)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	if (mremap(p, len(NR), len(NR), flags, q) != q)
		SKIP(return, "no MREMAP_DONTUNMAP");
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(count_vmas(q, NR, 1));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	/* The old place is empty, but still there. */
	ASSERT_TRUE(check_zero(p, NR, 0));
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(swap_out(q, NR, 0));
	ASSERT_TRUE(found_by_all(p, NR, TAG2));
	ASSERT_TRUE(found_by_all(q, NR, TAG));
}

/* A new mapping where the pages used to be must not be taken for theirs. */
TEST_F(lazy, mremap_new_at_old)
{
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	map(8, NR);
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out(q, NR, 0));
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG2));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(count_vmas(q, NR, 1));
}

/* Of 64 KiB with arm64's small pages; 0 if there is none. */
static size_t smallest_huge_page(void)
{
	size_t smallest = 0, kb;
	glob_t g;

	if (glob("/sys/kernel/mm/hugepages/hugepages-*kB", 0, NULL, &g))
		return 0;
	for (size_t i = 0; i < g.gl_pathc; i++)
		if (sscanf(strrchr(g.gl_pathv[i], '/'), "/hugepages-%zukB", &kb) == 1 &&
		    (!smallest || kb << 10 < smallest))
			smallest = kb << 10;
	globfree(&g);
	return smallest;
}

/* A private mapping of one huge page, of @pool. That is aligned for it at @p. */
static bool map_huge(char *p, size_t size, const char *pool)
{
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_HUGETLB |
		    __builtin_ctzl(size) << MAP_HUGE_SHIFT;
	char path[80];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages",
		 size >> 10);
	return tweak(path, pool) &&
	       mmap(p, size, PROT_READ | PROT_WRITE, flags, -1, 0) == p;
}

TEST_F(lazy, mremap_hugetlb_at_old)
{
	size_t size = smallest_huge_page(), n = size / psize();
	char *p = map(512, NR), *q = at(2048);

	if (!size || size > MB(2))
		SKIP(return, "no hugetlb, or too large a page");
	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	if (!map_huge(p, size, "2"))
		SKIP(return, "no huge page");
	fill(p, n, TAG2);
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(check(p, n, TAG2));
	munmap(p, size);
}

/* Any memory of a device that is there */
static bool map_device(char *p)
{
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	char *q = MAP_FAILED;
	glob_t g;

	/* The first megabyte of a PC may always be mapped. */
	if (fd >= 0) {
		q = mmap(p, psize(), PROT_READ, MAP_SHARED | MAP_FIXED, fd,
			 0xc0000);
		close(fd);
	}
	if (q == p || glob("/sys/bus/pci/devices/*/resource[0-5]", 0, NULL, &g))
		return q == p;
	for (size_t i = 0; i < g.gl_pathc && q != p; i++) {
		fd = open(g.gl_pathv[i], O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		q = mmap(p, psize(), PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
		close(fd);
	}
	globfree(&g);
	return q == p;
}

TEST_F(lazy, mremap_pfnmap_at_old)
{
	char *p = map(8, NR), *q = at(100);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	if (!map_device(p))
		SKIP(return, "no device memory that can be mapped");
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_EQ(munmap(p, psize()), 0);
}

/* realloc() of a growing array, past the size of a lazy VMA */
TEST_F(lazy, mremap_grow)
{
	size_t n = MB(1) / psize(), slot = MB(4) / psize();
	char *p = map(0, n);

	fill(p, n, TAG);
	for (int i = 1; i < 4; i++) {
		char *q = mremap(p, len(i * n), len((i + 1) * n),
				 MREMAP_MAYMOVE | MREMAP_FIXED, at(i * slot));

		ASSERT_EQ(q, at(i * slot));
		p = q;
		fill(p + len(i * n), n, TAG + i * n);
		ASSERT_TRUE(count_vmas(p, (i + 1) * n, 1));
	}
	ASSERT_TRUE(swap_out(p, 4 * n, 0));
	ASSERT_TRUE(check(p, 4 * n, TAG));
}

/* In place, and back to a smaller size */
TEST_F(lazy, mremap_grow_in_place)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(munmap(p + len(NR), len(NR)), 0);
	ASSERT_EQ(mremap(p, len(NR), len(2 * NR), 0), p);
	fill(p + len(NR), NR, TAG + NR);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR, TAG));
	ASSERT_TRUE(count_vmas(p, 2 * NR, 1));
	ASSERT_EQ(mremap(p, len(2 * NR), len(NR / 2), 0), p);
	ASSERT_TRUE(swap_out_and_check(p, NR / 2, TAG));
}

TEST_F(lazy, mremap_then_fork)
{
	char *p = map(8, NR), *q = at(100);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(in(k, check, q, NR, TAG));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(in(k, fill, q, NR / 2, TAG2));
	ASSERT_TRUE(in(k, swap_out_and_check, q, NR / 2, TAG2));
}

/* Moved where it was shared: here the pages keep their offsets. */
TEST_F(lazy, fork_then_mremap)
{
	char *p = map(8, NR), *q = at(100);
	struct kid *k;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(move(p, NR, q));
	fill(q, NR / 2, TAG2);
	ASSERT_TRUE(swap_out(q, NR / 2, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(check(q, NR / 2, TAG2));
	ASSERT_TRUE(check(q + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	/* A fork of the moved one, with the first child gone */
	quit(k);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(in(k, check, q, NR / 2, TAG2));
	ASSERT_TRUE(in(k, fill, q, NR, TAG3));
	ASSERT_TRUE(in(k, swap_out_and_check, q, NR, TAG3));
}

TEST_F(lazy, mremap_in_child)
{
	char *p = map(8, NR), *q = at(100);
	struct kid *k, *c;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG2));
	ASSERT_TRUE(in(k, do_move, p, NR, 100));
	ASSERT_TRUE(in(k, fill, q + len(NR / 2), NR / 4, TAG3));
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, q, NR / 4, TAG2));
	ASSERT_TRUE(in(k, check, q + len(NR / 4), NR / 4, TAG + NR / 4));
	ASSERT_TRUE(in(k, check, q + len(NR / 2), NR / 4, TAG3));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, swap_out, q, NR / 4, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(in(c, check, q, NR / 4, TAG2));
	ASSERT_TRUE(in(c, check, q + len(NR / 4), NR / 4, TAG + NR / 4));
}

/*
 * Next to a neighbour at the destination.  Pages that were never shared have
 * no reason to keep the new VMA from merging; without the switch they do.
 */
TEST_F(lazy, mremap_to_neighbour)
{
	char *p = map(8, NR), *q = map(100, NR);
	unsigned int want = variant->on && !variant->file ? 1 : 2;

	fill(p, NR, TAG);
	fill(q, NR, TAG2);
	ASSERT_TRUE(move(p, NR, q + len(NR)));
	ASSERT_TRUE(count_vmas(q, 2 * NR, want));
	ASSERT_TRUE(swap_out(q, 2 * NR, 0));
	ASSERT_TRUE(found_by_all(q, NR, TAG2));
	ASSERT_TRUE(found_by_all(q + len(NR), NR, TAG));
}

/* The hole between two pieces of one VMA, from where it was taken */
TEST_F(lazy, mremap_into_hole)
{
	char *p = map(8, 3 * NR), *s = p + len(NR), *q = at(100);
	struct kid *k;

	fill(p, 3 * NR, TAG);
	ASSERT_TRUE(move(s, NR, q));
	ASSERT_TRUE(count_vmas(p, 3 * NR, 2));
	ASSERT_TRUE(move(q, NR, s));
	ASSERT_TRUE(count_vmas(p, 3 * NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, 3 * NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(move(s, NR, q));
	ASSERT_TRUE(move(q, NR, s));
	ASSERT_TRUE(count_vmas(p, 3 * NR, 1));
	ASSERT_TRUE(reclaim_all(p, 3 * NR));
	ASSERT_TRUE(check(p, 3 * NR, TAG));
	ASSERT_TRUE(in(k, check, p, 3 * NR, TAG));
}

/*
 * A populated VMA is moved right behind or in front of what stays of itself:
 * source and neighbour are the same VMA.
 */
TEST_F(lazy, mremap_self_merge)
{
	char *p = map(8, 2 * NR);

	fill(p, 2 * NR, TAG);
	ASSERT_TRUE(move(p, NR, p + len(2 * NR)));
	ASSERT_TRUE(swap_out(p + len(NR), 2 * NR, 0));
	ASSERT_TRUE(check(p + len(NR), NR, TAG + NR));
	ASSERT_TRUE(check(p + len(2 * NR), NR, TAG));
	ASSERT_TRUE(move(p + len(2 * NR), NR, p));
	ASSERT_TRUE(count_vmas(p, 2 * NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR, TAG));
}

/* The whole VMA to the place that it shares a border with */
TEST_F(lazy, mremap_adjacent)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, p + len(NR)));
	ASSERT_TRUE(swap_out_and_check(p + len(NR), NR, TAG));
	map(8, NR);
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out(p, 2 * NR, 0));
	ASSERT_TRUE(check(p, NR, TAG2));
	ASSERT_TRUE(check(p + len(NR), NR, TAG));
}

/* A neighbour that never faulted, on either side or on both, and a fork */
static bool move_between(bool left, bool right, bool forked)
{
	char *p = map(100, NR), *q = at(200);
	size_t first = left ? 100 - NR : 100;
	size_t n = NR * (1 + left + right);
	struct kid *k = NULL;

	fill(p, NR, TAG);
	if (forked)
		k = fork_kid(NULL);
	if ((forked && !k) || !move(p, NR, q))
		return false;
	if (left)
		map(100 - NR, NR);
	if (right)
		map(100 + NR, NR);
	if (!move(q, NR, p) || !count_vmas(at(first), n, 1))
		return false;
	/* All of it has to be found by the anon_vma, or none, that is left. */
	if (left)
		fill(at(100 - NR), NR, TAG2);
	if (right)
		fill(at(100 + NR), NR, TAG3);
	if (!reclaim_all(at(first), n) || !check(p, NR, TAG))
		return false;
	if (k) {
		if (!in(k, check, p, NR, TAG))
			return false;
		quit(k);
	}
	/* Whatever was shared by mistake would be freed by one of these. */
	if (left)
		munmap(at(100 - NR), len(NR));
	if (!swap_out_and_check(p, NR, TAG))
		return false;
	munmap(p, len(NR));
	return !right || swap_out_and_check(at(100 + NR), NR, TAG3);
}

TEST_F(lazy, mremap_merge_unfaulted)
{
	for (int i = 1; i < 4; i++)
		ASSERT_TRUE(move_between(i & 1, i & 2, false));
}

TEST_F(lazy, mremap_merge_unfaulted_forked)
{
	for (int i = 1; i < 4; i++)
		ASSERT_TRUE(move_between(i & 1, i & 2, true));
}

TEST_F(lazy, mremap_dontunmap_twice)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
	char *p = map(8, NR), *q = at(100), *r = at(200);

	fill(p, NR, TAG);
	if (mremap(p, len(NR), len(NR), flags, q) != q)
		SKIP(return, "no MREMAP_DONTUNMAP");
	fill(p, NR, TAG2);
	ASSERT_EQ(mremap(p, len(NR), len(NR), flags, r), r);
	fill(p, NR, TAG3);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG3));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(r, NR, TAG2));
}

/*
 * The same place in a page table, across its end, and nothing else there: then the
 * kernel moves the page table itself, folios unseen.
 */
static bool move_realigned(size_t page, size_t n, bool forked)
{
	char *p = map(page, n), *q = at(4 * TABLE + page);
	struct kid *k = NULL;

	fill(p, n, TAG);
	if (forked) {
		k = fork_kid(NULL);
		if (!k)
			return false;
	}
	munmap(at(0), len(page));
	munmap(at(page + n), len(3 * TABLE - page - n));
	munmap(at(4 * TABLE), len(4 * TABLE));
	if (!move(p, n, q) || !check(q, n, TAG))
		return false;
	if (forked) {
		if (!reclaim_all(q, n) || !reclaim_all(p, n) ||
		    !in(k, check, p, n, TAG))
			return false;
		quit(k);
	}
	fill(q, n / 2, TAG);
	return swap_out_and_check(q, n, TAG) && count_vmas(q, n, 1);
}

TEST_F(lazy, mremap_realign)
{
	ASSERT_TRUE(move_realigned(TABLE - NR, 3 * NR / 2, false));
}

TEST_F(lazy, mremap_realign_forked)
{
	ASSERT_TRUE(move_realigned(TABLE - NR, 3 * NR / 2, true));
}

TEST_F(lazy, mremap_pmd)
{
	if (len(TABLE) > MB(32))
		SKIP(return, "a page table maps too much");
	ASSERT_TRUE(move_realigned(100, 2 * TABLE, false));
}

/* Grown past the bound from a small one, then moved by page table */
TEST_F(lazy, mremap_pmd_grown)
{
	size_t half = MB(1) / psize(), n = 2 * TABLE;
	char *p = map(0, half), *q = at(4 * TABLE);

	if (len(TABLE) > MB(32))
		SKIP(return, "a page table maps too much");
	fill(p, half, TAG);
	map(half, n - half);
	fill(p + len(half), n - half, TAG + half);
	ASSERT_TRUE(count_vmas(p, n, 1));
	ASSERT_TRUE(move(p, n, q));
	ASSERT_TRUE(swap_out(q, n, 0));
	ASSERT_TRUE(check(q, n, TAG));
	ASSERT_TRUE(count_vmas(q, n, 1));
	ASSERT_TRUE(move(q, n, p));
	ASSERT_TRUE(swap_out(p, n, 0));
	ASSERT_TRUE(check(p, n, TAG));
}

/* What fails before it starts leaves all as it was. */
TEST_F(lazy, mremap_refused)
{
	char *p = map(8, NR), *q = at(100);
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	fill(p, NR, TAG);
	ASSERT_EQ(mremap(p, len(NR), len(NR), flags, q + 1), MAP_FAILED);
	ASSERT_EQ(errno, EINVAL);
	ASSERT_EQ(mremap(p, len(NR), len(NR), flags, p + len(1)), MAP_FAILED);
	ASSERT_EQ(errno, EINVAL);
	/* Part of the source is not there */
	ASSERT_EQ(munmap(p, len(1)), 0);
	ASSERT_EQ(mremap(p, len(NR), len(NR), flags, q), MAP_FAILED);
	ASSERT_EQ(errno, EFAULT);
	p += len(1);
	ASSERT_TRUE(swap_out_and_check(p, NR - 1, TAG + 1));
	/* One that cannot grow */
	ASSERT_EQ(mremap(p, len(NR - 1), len(2 * NR), 0), MAP_FAILED);
	ASSERT_EQ(errno, ENOMEM);
	ASSERT_TRUE(swap_out_and_check(p, NR - 1, TAG + 1));
	ASSERT_TRUE(count_vmas(p, NR - 1, 1));
}

TEST_F(lazy, mremap_rlimit)
{
	struct rlimit rl, old;
	char *p = map(8, NR), *q;

	fill(p, NR, TAG);
	ASSERT_EQ(getrlimit(RLIMIT_AS, &old), 0);
	rl = old;
	rl.rlim_cur = MB(1);
	ASSERT_EQ(setrlimit(RLIMIT_AS, &rl), 0);
	q = mremap(p, len(NR), len(4 * NR), MREMAP_MAYMOVE);
	ASSERT_EQ(setrlimit(RLIMIT_AS, &old), 0);
	ASSERT_EQ(q, MAP_FAILED);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
}

/*
 * Several VMAs in one call, the second of which may not be moved that way:
 * the first one is at the new place then, the others are not.
 */
TEST_F(lazy, mremap_half_way)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *p = map(8, NR), *z = p + len(NR), *q = at(100);
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no /dev/zero");
	ASSERT_EQ(mmap(z, len(NR), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED, fd, 0), z);
	fill(p, NR, TAG);
	fill(z, NR, TAG2);
	ASSERT_EQ(mremap(p, len(2 * NR), len(2 * NR), flags, q), MAP_FAILED);
	ASSERT_EQ(errno, EFAULT);
	if (count_vmas(q, NR, 0)) {
		ASSERT_TRUE(found_by_all(p, NR, TAG));
	} else {
		ASSERT_TRUE(found_by_all(q, NR, TAG));
		ASSERT_TRUE(count_vmas(p, NR, 0));
	}
	ASSERT_TRUE(swap_out_and_check(z, NR, TAG2));
	close(fd);
}

/* Several VMAs in one call, with holes between them */
TEST_F(lazy, mremap_several)
{
	char *p = map(8, 3 * NR), *q = at(100);

	fill(p, 3 * NR, TAG);
	ASSERT_EQ(mprotect(p + len(NR), len(NR), PROT_READ), 0);
	if (!move(p, 3 * NR, q))
		SKIP(return, "no move of several VMAs");
	ASSERT_TRUE(count_vmas(q, 3 * NR, 3));
	ASSERT_TRUE(swap_out_and_check(q, 3 * NR, TAG));
	ASSERT_EQ(mprotect(q + len(NR), len(NR), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(count_vmas(q, 3 * NR, 1));
	ASSERT_TRUE(swap_out_and_check(q, 3 * NR, TAG));
}

/* Split and merge */

TEST_F(lazy, split_mprotect)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(mprotect(p + len(4), len(4), PROT_READ), 0);
	ASSERT_TRUE(count_vmas(p, NR, 3));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	fill(p, 4, TAG);
	ASSERT_EQ(mprotect(p + len(4), len(4), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(lazy, split_munmap_middle)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(munmap(p + len(4), len(4)), 0);
	ASSERT_TRUE(count_vmas(p, NR, 2));
	ASSERT_TRUE(swap_out_and_check(p, 4, TAG));
	ASSERT_TRUE(swap_out_and_check(p + len(8), NR - 8, TAG + 8));
	/* Fill the hole: one VMA again, as they have an anon_vma in common. */
	map(12, 4);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	fill(p + len(4), 4, TAG + 4);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(lazy, unmap_half)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(munmap(p, len(NR / 2)), 0);
	ASSERT_TRUE(swap_out_and_check(p + len(NR / 2), NR / 2, TAG + NR / 2));
	map(8, NR / 2);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	fill(p, NR / 2, TAG);
	ASSERT_EQ(munmap(p + len(NR / 2), len(NR / 2)), 0);
	ASSERT_TRUE(swap_out_and_check(p, NR / 2, TAG));
}

/* Pieces that fault while they are apart */
TEST_F(lazy, split_fault_merge)
{
	char *p = map(8, NR);

	ASSERT_EQ(mprotect(p, len(NR / 2), PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	ASSERT_TRUE(count_vmas(p, NR, 2));
	fill(p, NR, TAG);
	ASSERT_EQ(mprotect(p, len(NR / 2), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(lazy, split_fork_merge)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_EQ(mprotect(p + len(4), len(4), PROT_READ), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, count_vmas, p, NR, 3));
	ASSERT_EQ(mprotect(p + len(4), len(4), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(in(k, do_protect, p + len(4), 4, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG2));
}

/* Split after fork, on either side */
TEST_F(lazy, fork_split)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, 2, TAG));
	ASSERT_TRUE(in(k, do_protect, p + len(4), 4, PROT_READ));
	ASSERT_TRUE(in(k, count_vmas, p, NR, 3));
	ASSERT_EQ(munmap(p + len(8), len(4)), 0);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, 8, TAG));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(k, do_protect, p + len(4), 4, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(in(k, count_vmas, p, NR, 1));
	ASSERT_TRUE(in(k, fill, p, 8, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, 8, TAG2));
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(check(p, 8, TAG));
}

/* Each page a VMA of its own and back, in a child too */
TEST_F(lazy, split_all)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	for (size_t i = 0; i < NR; i += 2)
		ASSERT_EQ(mprotect(p + len(i), psize(), PROT_READ), 0);
	ASSERT_TRUE(count_vmas(p, NR, NR));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_EQ(mprotect(p, len(NR), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(in(k, do_protect, p, NR, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
}

/*
 * Two that faulted on their own, with a hole that is filled then.  Upstream
 * gives them an anon_vma each, so they stay two; without any they need not.
 */
TEST_F(lazy, merge_separate)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	map(8 + NR + 1, NR);
	fill(p + len(NR + 1), NR, TAG + NR + 1);
	map(8 + NR, 1);
	ASSERT_TRUE(count_vmas(p, 2 * NR + 1, variant->on ? 1 : 2));
	fill(p + len(NR), 1, TAG + NR);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR + 1, TAG));
}

/* The same when one of them, or both, had to get an anon_vma */
TEST_F(lazy, merge_forked_neighbour)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	map(8 + NR + 1, NR);
	fill(p + len(NR + 1), NR, TAG + NR + 1);
	map(8 + NR, 1);
	fill(p + len(NR), 1, TAG + NR);
	ASSERT_TRUE(reclaim_all(p, 2 * NR + 1));
	ASSERT_TRUE(check(p, 2 * NR + 1, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	quit(k);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(p, 2 * NR + 1));
	ASSERT_TRUE(check(p, 2 * NR + 1, TAG));
	ASSERT_TRUE(in(k, check, p, 2 * NR + 1, TAG));
}

/* Growing by small mmaps, as malloc arenas do: always one VMA */
TEST_F(lazy, merge_growing)
{
	struct kid *k = NULL;
	char *p = at(8);

	for (size_t i = 0; i < NR; i++) {
		map(8 + i, 1);
		fill(p + len(i), 1, TAG + i);
		if (i == NR / 2)
			k = fork_kid(NULL);
	}
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR / 2 + 1, TAG));
	/* In the child and downwards, next to what it inherited */
	for (size_t i = 1; i < 8; i++) {
		ASSERT_TRUE(in(k, do_map, p - len(i), 1, 0));
		ASSERT_TRUE(in(k, fill, p - len(i), 1, TAG2 + 8 - i));
	}
	ASSERT_TRUE(reclaim_all(p - len(7), NR));
	ASSERT_TRUE(in(k, check, p - len(7), 7, TAG2 + 1));
	ASSERT_TRUE(in(k, check, p, NR / 2 + 1, TAG));
}

/* Advice splits VMAs as well. */
TEST_F(lazy, split_madvise)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(madvise(p + len(4), len(4), MADV_DONTDUMP), 0);
	ASSERT_TRUE(count_vmas(p, NR, 3));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_EQ(madvise(p + len(4), len(4), MADV_DODUMP), 0);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* A new mapping over the middle of an old one */
TEST_F(lazy, map_over)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	map(12, 4);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(check_zero(p + len(4), 4, 0));
	fill(p + len(4), 4, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	map(10, 2);
	fill(p + len(2), 2, TAG3);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, 2, TAG));
	ASSERT_TRUE(check(p + len(2), 2, TAG3));
	ASSERT_TRUE(check(p + len(4), 4, TAG2));
	ASSERT_TRUE(in(k, check, p, 4, TAG));
	ASSERT_TRUE(in(k, check, p + len(4), 4, TAG2));
}

/* Swap */

/* Written by the parent, swapped out, and the parent is gone */
TEST_F(lazy, swap_fork_parent_gone)
{
	char *p = map(8, NR);
	struct kid *k = fork_kid(NULL), *c;

	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	ASSERT_TRUE(in(k, swap_out, p, NR, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(churn(20));
	ASSERT_TRUE(in(c, check, p, NR / 2, TAG));
	ASSERT_TRUE(in(c, swap_out, p, NR, 0));
	ASSERT_TRUE(in(c, fill, p, NR, TAG2));
	ASSERT_TRUE(in(c, swap_out_and_check, p, NR, TAG2));
}

/* The youngest swaps in what the oldest maps next: found only at the root */
TEST_F(lazy, swap_generations)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(c, swap_out, p, NR, 0));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(lazy, swap_fork_both)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Child first for one half, parent first for the other */
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	/* And with writes */
	ASSERT_TRUE(in(k, fill, p, NR / 2, TAG2));
	fill(p + len(NR / 2), NR / 2, TAG3);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG2));
	ASSERT_TRUE(in(k, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(check(p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG3));
}

/* Parent swaps in what the child is to be found through later */
TEST_F(lazy, swap_fork_child_gone)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	quit(k);
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/*
 * Folios that stay in the swap cache, with the mapping they had when they were
 * reclaimed, while their owner forks, moves, or dies.
 */
TEST_F(lazy, stale_fork)
{
	char *p = map(8, NR);
	struct kid *k;
	int fd;

	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
	close(fd);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(lazy, stale_fork_write)
{
	char *p = map(8, NR);
	struct kid *k;
	int fd;

	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 2, TAG2));
	fill(p + len(NR / 2), NR / 2, TAG3);
	ASSERT_TRUE(reclaim_all(p, NR));
	close(fd);
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG2));
	ASSERT_TRUE(in(k, check, p + len(NR / 2), NR / 2, TAG + NR / 2));
	ASSERT_TRUE(check(p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(NR / 2), NR / 2, TAG3));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR / 2, TAG));
}

/* No fork: the process gets back what it swapped out itself. */
TEST_F(lazy, stale_same)
{
	char *p = map(8, NR);
	int fd;

	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, NR / 2, TAG));
	fill(p + len(NR / 2), NR / 2, TAG + NR / 2);
	ASSERT_TRUE(swap_out(p, NR, 0));
	close(fd);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Owner dead, its mm_struct used again, and the pages wanted by its child */
TEST_F(lazy, stale_mm_reused)
{
	char *p = map(8, NR);
	struct kid *k = fork_kid(NULL), *c;
	int fd;

	/* The pages are the kid's, the pipe is ours: take them by its memory */
	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	fill(p, NR, TAG2);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(in(k, swap_out, p, NR, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(churn(30));
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	close(fd);
	ASSERT_TRUE(in(c, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG2));
}

TEST_F(lazy, stale_owner_dead)
{
	char *p = map(8, NR);
	struct kid *k = fork_kid(NULL), *c, *d;

	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	ASSERT_TRUE(in(k, do_hold, p, NR, 0));
	ASSERT_TRUE(in(k, swap_out, p, NR, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	quit(k);
	ASSERT_TRUE(churn(30));
	/* More that come to the old place with pages of their own */
	d = fork_kid(NULL);
	ASSERT_NE(d, NULL);
	ASSERT_TRUE(in(d, fill, p, NR, TAG2));
	ASSERT_TRUE(in(c, check, p, NR / 2, TAG));
	ASSERT_TRUE(in(c, fill, p + len(NR / 2), NR / 2, TAG3));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(d, check, p, NR, TAG2));
	ASSERT_TRUE(in(c, check, p, NR / 2, TAG));
	ASSERT_TRUE(in(c, check, p + len(NR / 2), NR / 2, TAG3));
}

TEST_F(lazy, stale_mremap)
{
	char *p = map(8, NR), *q = at(100);
	int fd;

	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(move(p, NR, q));
	map(8, NR);
	fill(p, NR, TAG2);
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(swap_out(q, NR, 0));
	close(fd);
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/* Written to while a reference from before the fork is on the shared page */
TEST_F(lazy, vmsplice_fork)
{
	char *p = map(8, NR), *buf;
	struct kid *k;
	int fd;

	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	fill(p, NR, TAG2);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	buf = map(100, NR);
	for (size_t i = 0; i < len(NR);) {
		ssize_t r = read(fd, buf + i, len(NR) - i);

		ASSERT_GT(r, 0);
		i += r;
	}
	ASSERT_TRUE(check(buf, NR, TAG));
	close(fd);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG2));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
}

TEST_F(lazy, swapoff)
{
	char *p = map(8, NR);

	if (!may_swapoff())
		SKIP(return, "swap is not on one zram alone");
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(swap_cycle());
	ASSERT_EQ(count_not(getpid(), p, NR, PM_PRESENT, PM_PRESENT,
			    "is not back"), 0);
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(lazy, swapoff_forked)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	if (!may_swapoff())
		SKIP(return, "swap is not on one zram alone");
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG2));
	ASSERT_TRUE(in(k, swap_out, p, NR / 4, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(swap_cycle());
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR / 4, TAG2));
	ASSERT_TRUE(in(k, check, p + len(NR / 4), NR / 4, TAG + NR / 4));
	quit(k);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(swap_cycle());
	ASSERT_TRUE(in(c, check, p, NR / 4, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(c, check, p + len(NR / 4), NR / 4, TAG + NR / 4));
}

TEST_F(lazy, swapoff_stale)
{
	char *p = map(8, NR);
	struct kid *k;
	int fd;

	if (!may_swapoff())
		SKIP(return, "swap is not on one zram alone");
	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(move(p, NR, at(100)));
	p = at(100);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(swap_cycle());
	close(fd);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
}

/*
 * Read ahead: most pages come into the swap cache for nobody in particular. And
 * swapoff meets them there, mapped by one process and not by the other.
 */
TEST_F(lazy, swap_disk)
{
	char *p = map(8, 2 * NR);
	struct kid *k;

	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	fill(p, 2 * NR, TAG);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR, TAG));
	ASSERT_TRUE(swap_out(p, 2 * NR, 0));
	/* None is in the swap cache any more */
	ASSERT_EQ(madvise(p, len(2 * NR), MADV_WILLNEED), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, 4, TAG));
	ASSERT_TRUE(in(k, fill, p + len(4), 4, TAG2));
	fill(p + len(6), 4, TAG3);
	ASSERT_TRUE(reclaim_all(p, 2 * NR));
	ASSERT_TRUE(in(k, check, p + len(NR), NR / 2, TAG + NR));
	ASSERT_TRUE(check(p + len(NR), 2, TAG + NR));
	ASSERT_TRUE(disk_swapoff());
	ASSERT_EQ(count_not(getpid(), p, 2 * NR, PM_SWAP, 0, "is not back"), 0);
	ASSERT_TRUE(reclaim_all(p, 2 * NR));
	ASSERT_TRUE(in(k, check, p, 4, TAG));
	ASSERT_TRUE(in(k, check, p + len(4), 4, TAG2));
	ASSERT_TRUE(check(p, 6, TAG));
	ASSERT_TRUE(check(p + len(6), 4, TAG3));
	ASSERT_TRUE(check(p + len(10), 2 * NR - 10, TAG + 10));
	ASSERT_TRUE(in(k, check, p + len(8), 2 * NR - 8, TAG + 8));
	quit(k);
	ASSERT_TRUE(swap_out(p, 2 * NR, 0));
	ASSERT_TRUE(check(p + len(10), 2 * NR - 10, TAG + 10));
}

/*
 * A page that is read back while it is still being written to a device that must
 * not see it change is mapped as if it was shared: the next write is a fault.
 */
static long nr_hits;

static long minor_faults(void)
{
	struct rusage ru;

	return getrusage(RUSAGE_SELF, &ru) ? 0 : ru.ru_minflt;
}

static bool rewrite(char *p, size_t n, unsigned int tag)
{
	bool ok = check(p, n, tag);
	long before = minor_faults();

	/* Half of them early, so they are copied; the others when that is over */
	fill(p, n / 2, tag + n);
	usleep(20000);
	fill(p + len(n / 2), n / 2, tag + n + n / 2);
	nr_hits += minor_faults() - before;
	return ok && swap_out_and_check(p, n, tag + n);
}

static bool rewrite_early(char *p, size_t n, unsigned int tag)
{
	bool ok = true;

	nr_hits = 0;
	for (int try = 0; ok && nr_hits < (long)n && try < 20; try++) {
		fill(p, n, tag);
		madvise(p, len(n), MADV_PAGEOUT);
		ok = rewrite(p, n, tag);
	}
	note("%ld pages were rewritten early", nr_hits);
	return ok;
}

/* The test, which is to be on one CPU with the device's worker, comes first. */
static const char *stable_disk_swap(void)
{
	const struct sched_param param = { .sched_priority = 1 };
	char path[64];
	cpu_set_t cpus;
	bool ok;
	int fd;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (!tweak("/sys/devices/virtual/workqueue/cpumask", "1") ||
	    sched_setaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setscheduler(0, SCHED_FIFO, &param))
		return "no way to be faster than the device";
	if (!disk_swap())
		return "no loop device to swap to";
	/* Without a user the device would go away. */
	fd = open(disk, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/sys/block/%s/queue/stable_writes",
		 strrchr(disk, '/') + 1);
	ok = put(path, "1") && swap_cycle();
	close(fd);
	return ok ? NULL : "no stable writes";
}

TEST_F_TIMEOUT(lazy, swap_stable_writes, 60)
{
	const char *why = stable_disk_swap();
	char *p = map(8, NR);
	struct kid *k;

	if (why)
		SKIP(return, "%s", why);
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR, 0));
	sleep(1);
	/* Written by now */
	ASSERT_TRUE(rewrite(p, NR, TAG));
	if (nr_hits >= NR)
		SKIP(return, "the first write to any page is a fault");
	ASSERT_TRUE(rewrite_early(p, NR, TAG));
	if (nr_hits < NR)
		SKIP(return, "never early enough");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, rewrite_early, p, NR, TAG3));
	ASSERT_TRUE(check(p, NR, TAG + NR));
}

/* Migration */

TEST_F(lazy, migrate)
{
	char *p = map(8, NR);

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, NR, TAG);
	for (int i = 0; i < 4; i++) {
		ASSERT_TRUE(move_to_node(p, NR, !(i & 1)));
		ASSERT_TRUE(check(p, NR, TAG));
	}
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(lazy, migrate_moved)
{
	char *p = map(8, NR), *q = at(100);

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	map(8, NR);
	fill(p, NR, TAG2);
	ASSERT_EQ(mprotect(q + len(4), len(4), PROT_READ), 0);
	ASSERT_TRUE(move_to_node(q, NR, 1));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(move_to_node(q, NR, 0));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

TEST_F(lazy, migrate_forked)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG2));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	for (int i = 0; i < 4; i++) {
		ASSERT_TRUE(move_to_node(p, NR, !(i & 1)));
		/* The shared ones moved for all. */
		ASSERT_TRUE(in(k, on_node, p + len(NR / 4), NR / 4, !(i & 1)));
		ASSERT_TRUE(in(c, move_to_node, p, NR / 4, i & 1));
		ASSERT_TRUE(in(k, on_node, p, NR / 4, i & 1));
		ASSERT_TRUE(check(p, NR, TAG));
		ASSERT_TRUE(in(k, check, p, NR / 4, TAG2));
		ASSERT_TRUE(in(c, check, p, NR / 4, TAG2));
	}
	quit(k);
	ASSERT_TRUE(in(c, move_to_node, p, NR, 1));
	ASSERT_TRUE(on_node(p + len(NR / 4), NR / 4, 1));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(c, check, p, NR / 4, TAG2));
}

TEST_F(lazy, migrate_policy)
{
	unsigned long node0 = 1, node1 = 2;
	char *p = map(8, NR);
	long ret;

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, NR, TAG);
	ASSERT_TRUE(move_to_node(p, NR, 0));
	ASSERT_EQ(syscall(__NR_mbind, p, len(NR), MPOL_BIND, &node1, 3,
			  MPOL_MF_MOVE), 0);
	ASSERT_TRUE(on_node(p, NR, 1));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_EQ(syscall(__NR_mbind, p, len(NR), MPOL_DEFAULT, NULL, 0, 0), 0);
	/* All of the process, its stack and heap too */
	for (int i = 0; i < 10; i++) {
		ret = syscall(__NR_migrate_pages, getpid(), 3, &node1, &node0);
		if (!ret)
			break;
		usleep(10000);
	}
	ASSERT_GE(ret, 0);
	ASSERT_TRUE(on_node(p, NR, 0));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/*
 * mbind() asks one VMA after the other for the address of the first page that it
 * moves. It is not in the first of them, which has none, and cannot.
 */
TEST_F(lazy, migrate_policy_shared)
{
	unsigned long node1 = 2;
	char *p = map(8 + NR, NR);

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, NR, TAG);
	ASSERT_TRUE(move_to_node(p, NR, 0));
	ASSERT_NE(mmap(at(8), len(NR), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
	ASSERT_EQ(syscall(__NR_mbind, at(8), len(2 * NR), MPOL_INTERLEAVE, &node1, 3,
			  MPOL_MF_MOVE), 0);
	ASSERT_TRUE(on_node(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Compaction does as it likes; nothing may be lost, and all be found after. */
TEST_F(lazy, compact)
{
	char *p = map(8, 4 * NR);
	struct kid *k;

	fill(p, 4 * NR, TAG);
	if (!put("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "no compaction");
	ASSERT_TRUE(check(p, 4 * NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	put("/proc/sys/vm/compact_memory", "1");
	ASSERT_TRUE(check(p, 4 * NR, TAG));
	ASSERT_TRUE(reclaim_all(p, 4 * NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG2));
	ASSERT_TRUE(check(p, 4 * NR, TAG));
}

/*
 * Another thread is forever changing the VMA, so its lock is often not to be had.
 * That may take its time, but must not mean that a page is not mapped.
 */
struct writer {
	pthread_t thread;
	char *p;
	size_t n;
	unsigned int pause;	/* microseconds */
	size_t nr_done;
	bool stop;
};

static void *write_lock(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); i++) {
		do_protect(w->p, w->n, PROT_READ | (i & 1 ? PROT_WRITE : 0));
		if (w->pause)
			usleep(w->pause);
	}
	do_protect(w->p, w->n, PROT_READ | PROT_WRITE);
	return NULL;
}

static bool start_thread(struct writer *w, void *(*fn)(void *), char *p, size_t n)
{
	*w = (struct writer){ .p = p, .n = n };
	return !pthread_create(&w->thread, NULL, fn, w);
}

static bool start_writer(struct writer *w, char *p, size_t n)
{
	return start_thread(w, write_lock, p, n);
}

static bool stop_writer(struct writer *w)
{
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	return !pthread_join(w->thread, NULL);
}

TEST_F_TIMEOUT(lazy, contended, 60)
{
	char *p = map(8, NR);
	struct writer w;

	fill(p, NR, TAG);
	ASSERT_TRUE(start_writer(&w, p, NR));
	/* One that never pauses may win each time. */
	w.pause = 100;
	if (have_node1())
		EXPECT_TRUE(move_to_node(p, NR, 1));
	EXPECT_TRUE(reclaim_all(p, NR));
	EXPECT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(stop_writer(&w));
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Between the nodes, in whichever of two places they are */
static void *keep_travelling(void *arg)
{
	struct writer *w = arg;
	char * const places[] = { w->p, at(2000) };
	int nodes[w->n], status[w->n];

	for (int node = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); node = !node) {
		for (size_t i = 0; i < w->n; i++)
			nodes[i] = node;
		for (int place = 0; place < 2; place++) {
			if (move_pages(0, places[place], w->n, nodes, status) < 0)
				continue;
			for (size_t i = 0; i < w->n; i++)
				w->nr_done += status[i] == node;
		}
	}
	return NULL;
}

/* Fork, exit, mprotect, mremap and munmap meet pages that are being migrated. */
TEST_F_TIMEOUT(lazy, migrate_races, 60)
{
	char *p = map(8, NR), *half = p + len(NR / 2), *q = at(2000);
	struct writer w;

	if (!have_node1())
		SKIP(return, "no second node");
	fill(p, NR, TAG);
	ASSERT_TRUE(start_thread(&w, keep_travelling, p, NR));
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();
		int status = -1;

		ASSERT_GE(pid, 0);
		if (!pid) {
			fill(p, NR / 4, TAG2);
			_exit(!check(p, NR / 4, TAG2) ||
			      !check(p + len(NR / 4), 3 * NR / 4, TAG + NR / 4));
		}
		EXPECT_TRUE(do_protect(p + len(4), 4, PROT_READ));
		EXPECT_TRUE(do_protect(p + len(4), 4, PROT_READ | PROT_WRITE));
		EXPECT_TRUE(check(p, NR, TAG));
		EXPECT_TRUE(move(p, NR, q));
		EXPECT_TRUE(check(q, NR, TAG));
		EXPECT_TRUE(move(q, NR, p));
		EXPECT_EQ(munmap(half, len(NR / 2)), 0);
		map(8 + NR / 2, NR / 2);
		fill(half, NR / 2, TAG + NR / 2);
		EXPECT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		ASSERT_TRUE(check(p, NR, TAG));
	}
	ASSERT_TRUE(stop_writer(&w));
	note("%zu pages have moved", w.nr_done);
	EXPECT_GT(w.nr_done, 0);
	ASSERT_TRUE(found(p, NR, TAG));
}

/*
 * Somebody else refers to the pages, so each is unmapped, found to be in use, and
 * mapped again, while the VMA is wanted for writing. Nobody could touch a page that
 * is not found the second time.
 */
TEST_F_TIMEOUT(lazy, migrate_undo, 60)
{
	int nodes[] = { 1, 1 }, status[2], fd;
	char *p = map(8, 2);
	struct writer w;

	if (!have_node1())
		SKIP(return, "one node only");
	fill(p, 2, TAG);
	ASSERT_TRUE(move_to_node(p, 2, 0));
	fd = hold_pages(p, 2);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(start_writer(&w, p, 2));
	for (int i = 0; i < 50; i++) {
		move_pages(0, p, 2, nodes, status);
		ASSERT_TRUE(check(p, 2, TAG));
	}
	ASSERT_TRUE(stop_writer(&w));
	ASSERT_TRUE(on_node(p, 2, 0));
	close(fd);
	ASSERT_TRUE(move_to_node(p, 2, 1));
	ASSERT_TRUE(swap_out_and_check(p, 2, TAG));
}

/* KSM */

TEST_F(lazy, ksm)
{
	char *p = map(8, NR);

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	ASSERT_EQ(madvise(p, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check_same(p, NR, TAG));
	fill(p, NR / 2, TAG2);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR / 2, TAG2));
	ASSERT_EQ(madvise(p, len(NR), MADV_UNMERGEABLE), 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, NR / 2, TAG2));
	ASSERT_TRUE(check_same(p + len(NR / 2), NR / 2, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
}

TEST_F(lazy, ksm_fork)
{
	char *p = map(8, NR);
	struct kid *k;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	ASSERT_EQ(madvise(p, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check_same, p, NR, TAG));
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG2));
	ASSERT_TRUE(check_same(p, NR, TAG));
	/* Merged in the child: it has no anon_vma of its own yet. */
	ASSERT_TRUE(in(k, fill_same, p, NR, TAG2));
	ASSERT_TRUE(in(k, ksm_merge, p, NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check_same, p, NR, TAG2));
	ASSERT_TRUE(check_same(p, NR, TAG));
}

/* KSM hears of pages from @k alone, but the mappings of its child @c are found, too. */
static bool ksm_finds_child(struct kid *k, struct kid *c, char *p)
{
	return in(k, do_advise, p, NR, MADV_MERGEABLE) &&
	       in(k, ksm_merge, p, NR, 0) &&
	       in(c, do_reclaim_all, p, NR, 0) &&
	       in(c, check_same, p, NR, TAG) && in(k, check_same, p, NR, TAG);
}

/* Who had a child before it had an anon_vma of its own */
TEST_F(lazy, ksm_children_first)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	/* Which leaves the pages to those two, but not the anon_vma. */
	fill_same(p, NR, TAG2);
	ASSERT_TRUE(ksm_finds_child(k, c, p));
}

/*
 * The same for a page that is KSM's when it is inherited, and of which KSM knows by
 * those two alone in the end: who had it merged has other memory now.
 */
TEST_F(lazy, ksm_children_late)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_EQ(madvise(p, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	ASSERT_EQ(madvise(p, len(NR), MADV_UNMERGEABLE), 0);
	/* What it knows of this process it forgets when it looks at the other. */
	ASSERT_TRUE(ksm_finds_child(k, c, p));
	ASSERT_TRUE(check_same(p, NR, TAG));
}

TEST_F(lazy, ksm_moved)
{
	char *p = map(8, NR), *q = at(100);

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_EQ(madvise(q, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(q, NR, 0));
	ASSERT_TRUE(move(q, NR, p));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check_same(p, NR, TAG));
	if (have_node1()) {
		unsigned long pfn = pfn_of(p);

		move_pages(0, p, 1, (int []){ 1 }, (int []){ 0 });
		note("KSM page at %lx, then %lx", pfn, pfn_of(p));
		ASSERT_TRUE(check_same(p, NR, TAG));
	}
	ASSERT_EQ(madvise(p, len(NR), MADV_UNMERGEABLE), 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check_same(p, NR, TAG));
}

TEST_F(lazy, ksm_prctl)
{
	char *p = map(8, NR);

	if (!ksm_setup())
		SKIP(return, "no KSM");
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		SKIP(return, "no PR_SET_MEMORY_MERGE");
	fill_same(p, NR, TAG);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check_same(p, NR, TAG));
	ASSERT_EQ(prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0), 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check_same(p, NR, TAG));
}

/*
 * A VMA that had to get an anon_vma while it had pages that do not know of it:
 * here because it grew.  Both kinds of page in one VMA go through everything.
 */
TEST_F(lazy, upgraded)
{
	size_t half = MB(1) / psize(), n = 3 * half;
	char *p = map(0, half), *m = p + len(half - 4), *q = at(4 * half);
	struct kid *k, *c;

	fill(m, 4, TAG);
	map(half, 2 * half);
	fill(m + len(4), 4, TAG + 4);
	ASSERT_TRUE(count_vmas(p, n, 1));
	ASSERT_TRUE(check(m, 8, TAG));
	/* Split, and merge again */
	ASSERT_EQ(mprotect(m + len(2), len(4), PROT_READ), 0);
	ASSERT_TRUE(swap_out_and_check(m, 8, TAG));
	ASSERT_EQ(mprotect(m + len(2), len(4), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(count_vmas(p, n, 1));
	fill(m, 8, TAG);
	/* Part of it is moved away, and the rest forked */
	ASSERT_TRUE(move(m + len(2), 4, q));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(m, 2));
	ASSERT_TRUE(reclaim_all(q, 4));
	ASSERT_TRUE(check(q, 4, TAG + 2));
	ASSERT_TRUE(in(k, check, q, 4, TAG + 2));
	ASSERT_TRUE(in(k, check, m, 2, TAG));
	ASSERT_TRUE(in(k, fill, m, 2, TAG2));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(move(q, 4, m + len(2)));
	ASSERT_TRUE(count_vmas(p, n, 1));
	ASSERT_TRUE(reclaim_all(m, 8));
	ASSERT_TRUE(check(m, 8, TAG));
	ASSERT_TRUE(in(c, check, m, 2, TAG2));
	ASSERT_TRUE(in(c, check, m + len(6), 2, TAG + 6));
}

/* The same by KSM, which takes only some of the pages */
TEST_F(lazy, upgraded_ksm)
{
	char *p = map(8, 2 * NR), *q = at(100);
	struct kid *k;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	fill(p + len(NR), NR, TAG2);
	ASSERT_EQ(madvise(p, len(2 * NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	ASSERT_TRUE(swap_out_and_check(p + len(NR), NR, TAG2));
	ASSERT_TRUE(move(p + len(NR / 2), NR, q));
	ASSERT_TRUE(swap_out_and_check(q + len(NR / 2), NR / 2, TAG2));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(reclaim_all(p, NR / 2));
	ASSERT_TRUE(in(k, check, q + len(NR / 2), NR / 2, TAG2));
	ASSERT_TRUE(in(k, check_same, q, NR / 2, TAG));
	ASSERT_TRUE(in(k, check_same, p, NR / 2, TAG));
	ASSERT_TRUE(check(p + len(3 * NR / 2), NR / 2, TAG2 + NR / 2));
}

/* Large folios */

/* Folios of NR pages. If their pages are 64 KiB, two do not fit into a lazy VMA. */
static const char *mthp(const char *file)
{
	static char path[128];

	snprintf(path, sizeof(path), THP "hugepages-%zukB/%s", len(NR) >> 10, file);
	return path;
}

static bool mthp_setup(void)
{
	return len(2 * NR) < MB(2) && tweak(mthp("enabled"), "always") && allow_thp();
}

static bool fill_large(char *p, size_t n, unsigned int tag)
{
	fill(p, n, tag);
	return is_large(p);
}

TEST_F(anon, mthp)
{
	char *p = map(16, 4 * NR);

	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p, 4 * NR, TAG))
		SKIP(return, "no large folio to be had");
	ASSERT_TRUE(swap_out(p, 4 * NR, 0));
	ASSERT_TRUE(check(p, 4 * NR, TAG));
	ASSERT_TRUE(reclaim_all(p, 4 * NR));
	ASSERT_TRUE(check(p, 4 * NR, TAG));
	ASSERT_TRUE(count_vmas(p, 4 * NR, 1));
}

/*
 * Small pages that lie in swap as a large folio would come back as one, to a VMA that
 * was lazy until then. Which addresses would do depends on where in swap they are:
 * have two times NR swapped out and moved to where those at page 128 are such. NULL
 * if that fails.
 */
static char *swap_out_to_be_large(char *p)
{
	size_t slot;
	char *q;

	if (!swap_out(p, 2 * NR, 0))
		return NULL;
	/* Five bits say which device. */
	slot = PAGEMAP_PFN(pagemap_entry(p)) >> 5;
	q = at(112 + slot % NR);
	return move(p, 2 * NR, q) ? q : NULL;
}

TEST_F(anon, mthp_swapin)
{
	char *p = map(16, 2 * NR), *q;

	fill(p, 2 * NR, TAG);
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	q = swap_out_to_be_large(p);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(check(q, 2 * NR, TAG));
	if (!is_large(at(128)))
		SKIP(return, "no large folio to be had");
	ASSERT_TRUE(reclaim_all(q, 2 * NR));
	ASSERT_TRUE(check(q, 2 * NR, TAG));
	ASSERT_TRUE(count_vmas(q, 2 * NR, 1));
}

/* One large folio in two VMAs */
TEST_F(anon, mthp_split_vma)
{
	char *p = map(16, 2 * NR);
	struct kid *k;

	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p, 2 * NR, TAG))
		SKIP(return, "no large folio to be had");
	ASSERT_EQ(mprotect(p + len(NR / 2), len(NR), PROT_READ), 0);
	ASSERT_TRUE(count_vmas(p, 2 * NR, 3));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(p, 2 * NR));
	ASSERT_TRUE(check(p, 2 * NR, TAG));
	ASSERT_TRUE(in(k, check, p, 2 * NR, TAG));
	quit(k);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR, TAG));
}

/* One large folio half of which is unmapped, or moved away */
TEST_F(anon, mthp_partial)
{
	char *p = map(16, 3 * NR), *q = at(104);

	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p, 3 * NR, TAG))
		SKIP(return, "no large folio to be had");
	ASSERT_TRUE(move(p + len(NR / 2), NR, q));
	ASSERT_EQ(munmap(p + len(2 * NR + 4), len(4)), 0);
	ASSERT_TRUE(swap_out_and_check(p, NR / 2, TAG));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG + NR / 2));
	ASSERT_TRUE(swap_out_and_check(p + len(3 * NR / 2), NR / 2 + 4,
				       TAG + 3 * NR / 2));
	ASSERT_TRUE(swap_out_and_check(p + len(2 * NR + 8), NR - 8,
				       TAG + 2 * NR + 8));
}

/* Small ones first, large ones by a fault in the same VMA later */
TEST_F(anon, mthp_after_small)
{
	char *p = map(16, 4 * NR);

	fill(p, NR, TAG);
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p + len(NR), 3 * NR, TAG + NR))
		SKIP(return, "no large folio to be had");
	ASSERT_TRUE(swap_out_and_check(p, 4 * NR, TAG));
}

TEST_F(anon, mthp_child)
{
	char *p = map(16, 4 * NR);
	struct kid *k, *c;

	fill(p, NR, TAG);
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	if (!in(k, fill_large, p + len(NR), 3 * NR, TAG + NR))
		SKIP(return, "no large folio to be had");
	ASSERT_TRUE(in(k, swap_out, p + len(NR), 3 * NR, 0));
	ASSERT_TRUE(in(k, check, p, 4 * NR, TAG));
	ASSERT_TRUE(in(k, fill_large, p + len(NR), 3 * NR, TAG + NR) || true);
	ASSERT_TRUE(in(k, do_protect, p + len(NR + 4), NR, PROT_READ));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(reclaim_all(p, 4 * NR));
	ASSERT_TRUE(in(k, check, p, 4 * NR, TAG));
	quit(k);
	ASSERT_TRUE(reclaim_all(p, 4 * NR));
	ASSERT_TRUE(in(c, check, p, 4 * NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
}

static void *keep_advising(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); i++)
		madvise(w->p, len(w->n), i & 1 ? MADV_DODUMP : MADV_DONTDUMP);
	return NULL;
}

/* A fault waits for the mmap_lock, it does not take a small folio instead. */
TEST_F_TIMEOUT(anon, mthp_contended, 60)
{
	char *p = map(16, NR), *q = map(100, NR);
	long before, nr_small = 0;
	struct writer w;

	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p, NR, TAG))
		SKIP(return, "no large folio to be had");
	before = get_num(mthp("stats/anon_fault_fallback"));
	ASSERT_TRUE(start_thread(&w, keep_advising, q, NR));
	for (int i = 0; i < 500; i++) {
		map(16, NR);
		fill(p, 1, TAG);
		nr_small += pfn_of(p) && !is_large(p);
	}
	ASSERT_TRUE(stop_writer(&w));
	/* But for those that there was no memory for */
	EXPECT_LE(nr_small, get_num(mthp("stats/anon_fault_fallback")) - before);
}

static bool is_huge(char *p)
{
	return check_huge_anon(p, MB(2), 1, read_pmd_pagesize());
}

/* The pages of a mapping that was only read from: one each if that is small */
static bool is_huge_zero(char *p)
{
	return pfn_of(p) && pfn_of(p + psize()) == pfn_of(p) + 1;
}

/*
 * Room for a huge page in a VMA that was lazy and has grown since its last fault.
 * No page table there yet: its pages are in front.
 */
static char *map_grown(size_t page)
{
	map(page - NR, NR);
	fill(at(page - NR), NR, TAG);
	return map(page, MB(2) / psize());
}

/* The same, but the first @nr pages were filled when it was half as large. */
static char *map_half_grown(size_t page, size_t nr, unsigned int tag)
{
	const size_t half = MB(1) / psize();

	fill(map(page, half), nr, tag);
	map(page + half, half);
	return at(page);
}

static bool thp_setup(void)
{
	return read_pmd_pagesize() == MB(2) && tweak(THP "enabled", "madvise") &&
	       allow_thp();
}

TEST_F(anon, thp_fault)
{
	size_t n = MB(2) / psize();
	char *p = map(n, n), *q = at(4 * n);
	struct kid *k;

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	ASSERT_EQ(madvise(p, len(n), MADV_HUGEPAGE), 0);
	fill(p, n, TAG);
	if (!is_huge(p))
		SKIP(return, "no huge page to be had");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, n, TAG));
	ASSERT_TRUE(in(k, fill, p, 2, TAG2));
	ASSERT_TRUE(reclaim_all(p, n));
	ASSERT_TRUE(in(k, check, p, 2, TAG2));
	quit(k);
	ASSERT_TRUE(check(p, n, TAG));
	ASSERT_TRUE(move(p, n, q));
	ASSERT_EQ(mprotect(q + len(n / 4), len(n / 2), PROT_READ), 0);
	ASSERT_TRUE(swap_out(q, n, 0));
	ASSERT_TRUE(check(q, n, TAG));
}

/* Two small VMAs, lazy each, are merged and then collapsed. */
TEST_F(anon, collapse)
{
	size_t n = MB(2) / psize();
	struct kid *k;
	char *p;

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	p = map_half_grown(n, n / 4, TAG);
	ASSERT_TRUE(count_vmas(p, n, 1));
	if (madvise(p, len(n), MADV_COLLAPSE))
		SKIP(return, "no collapse: %s", strerror(errno));
	ASSERT_TRUE(is_huge(p));
	ASSERT_TRUE(check(p, n / 4, TAG));
	fill(p + len(n / 2), 4, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(p, n));
	ASSERT_TRUE(in(k, check, p, n / 4, TAG));
	quit(k);
	ASSERT_TRUE(swap_out(p, n, 0));
	ASSERT_TRUE(check(p, n / 4, TAG));
	ASSERT_TRUE(check(p + len(n / 2), 4, TAG2));
}

/* In a child, of pages that it shares and of pages that it wrote */
TEST_F(anon, collapse_child)
{
	size_t n = MB(2) / psize();
	char *p = map(n, n);
	struct kid *k;
	bool ok;

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p + len(NR), NR, TAG + NR));
	ok = !madvise(p, len(n), MADV_COLLAPSE);
	if (!ok)
		SKIP(return, "no collapse: %s", strerror(errno));
	ASSERT_TRUE(reclaim_all(p, n));
	ASSERT_TRUE(in(k, check, p, 2 * NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* Other advice */

TEST_F(lazy, dontneed)
{
	char *p = map(8, NR);

	fill(p, NR, TAG);
	ASSERT_EQ(madvise(p + len(4), len(4), MADV_DONTNEED), 0);
	ASSERT_TRUE(check_zero(p + len(4), 4, 0));
	fill(p + len(4), 4, TAG2);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(p, 4, TAG));
	ASSERT_TRUE(check(p + len(4), 4, TAG2));
	ASSERT_TRUE(check(p + len(8), NR - 8, TAG + 8));
}

/* Clean lazyfree pages are dropped by rmap, rewritten ones are kept. */
TEST_F(anon, madv_free)
{
	char *p = map(8, NR);
	size_t nr_kept = NR;
	struct kid *k;

	/* Pages that somebody locks for a moment are not made lazyfree. */
	for (int i = 0; i < 3 && nr_kept; i++) {
		fill(p, NR, TAG);
		/* Nor is what is not on an LRU list yet. */
		drain_batches();
		ASSERT_EQ(madvise(p, len(NR), MADV_FREE), 0);
		drain_batches();
		fill(p, NR / 2, TAG2);
		ASSERT_TRUE(reclaim_all(p, NR));
		ASSERT_TRUE(check(p, NR / 2, TAG2));
		nr_kept = count_not(getpid(), p + len(NR / 2), NR / 2,
				    PM_PRESENT | PM_SWAP, 0, "is kept");
	}
	ASSERT_EQ(nr_kept, 0);
	ASSERT_TRUE(check_zero(p + len(NR / 2), NR / 2, 0));
	/* Shared with a child, which keeps what it has */
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_EQ(madvise(p, len(NR), MADV_FREE), 0);
	fill(p, NR / 2, TAG3);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR / 2, TAG3));
	/* What it has freed and another process has not may be gone or not. */
	for (size_t i = NR / 2; i < NR; i++)
		ASSERT_TRUE(stamped(p + len(i), TAG + i) || check_zero(p + len(i), 1, 0));
}

/* Locked pages are found and left; unlocked ones leave. */
TEST_F(lazy, mlock)
{
	char path[PATH_MAX + 20];
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR / 2, TAG);
	ASSERT_EQ(mlock(p, len(NR)), 0);
	fill(p + len(NR / 2), NR / 2, TAG + NR / 2);
	snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
	put(path, "16M swappiness=max");
	ASSERT_EQ(count_not(getpid(), p, NR, PM_PRESENT, PM_PRESENT,
			    "left although locked"), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_EQ(munlock(p, len(NR)), 0);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(count_vmas(p, NR, 1));
}

/*
 * mlockall() locks one VMA after the other, and all are locked for writing until
 * it ends. What it has unlocked again must not be forgotten.
 */
static void *keep_locking(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		mlockall(MCL_CURRENT | MCL_ONFAULT);
		munlockall();
		usleep(1000);
	}
	return NULL;
}

TEST_F_TIMEOUT(lazy, mlockall_contended, 60)
{
	struct writer w;

	map_many();
	ASSERT_TRUE(start_thread(&w, keep_locking, NULL, 0));
	EXPECT_TRUE(reclaim_all(at(8), 3 * NR_VMAS));
	EXPECT_TRUE(check_many(NULL, 0, 0));
	EXPECT_TRUE(reclaim_all(at(8), 3 * NR_VMAS));
	ASSERT_TRUE(stop_writer(&w));
	ASSERT_TRUE(check_many(NULL, 0, 0));
}

TEST_F(lazy, mlock_onfault)
{
	char *p = map(8, NR);

	fill(p, NR / 2, TAG);
	ASSERT_TRUE(swap_out(p, NR / 2, 0));
	ASSERT_EQ(mlock2(p, len(NR), MLOCK_ONFAULT), 0);
	fill(p + len(NR / 2), NR / 2, TAG + NR / 2);
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_EQ(munlock(p + len(4), len(4)), 0);
	ASSERT_TRUE(swap_out_and_check(p + len(4), 4, TAG + 4));
	ASSERT_EQ(munlock(p, len(NR)), 0);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

struct idle_page {
	int fd;			/* of the bitmap */
	off_t at;		/* of its bit there */
	uint64_t bit;
};

static bool set_idle(const struct idle_page *page)
{
	return pwrite(page->fd, &page->bit, 8, page->at) == 8;
}

/* Is it? -1: cannot tell */
static int is_idle(const struct idle_page *page)
{
	uint64_t bits;

	if (pread(page->fd, &bits, 8, page->at) != 8)
		return -1;
	return !!(bits & page->bit);
}

/* The first of @n pages at @p, written, and idle now. Returns why not, or NULL. */
static const char *make_idle(struct idle_page *page, char *p, size_t n)
{
	unsigned long pfn;

	page->fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR | O_CLOEXEC);
	if (page->fd < 0)
		return "no idle page tracking";
	/* Only pages on the LRU are looked at: push them through. */
	fill(p, n, TAG);
	madvise(p, len(n), MADV_COLD);
	pfn = pfn_of(p);
	page->at = pfn / 64 * 8;
	page->bit = 1ULL << pfn % 64;
	if (!pfn || !set_idle(page) || is_idle(page) != 1)
		return "page is not on the LRU";
	return NULL;
}

TEST_F(lazy, page_idle)
{
	char *p = map(8, NR);
	struct idle_page page;
	const char *why = make_idle(&page, p, NR);

	if (why)
		SKIP(return, "%s", why);
	/* Flush the TLB, so that the next access is seen. */
	ASSERT_EQ(mprotect(p, len(NR), PROT_NONE), 0);
	ASSERT_EQ(mprotect(p, len(NR), PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(check(p, NR, TAG));
	/* The walk finds the young entry. */
	ASSERT_EQ(is_idle(&page), 0);
	close(page.fd);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* What could not be looked at is not idle. */
TEST_F_TIMEOUT(lazy, page_idle_contended, 60)
{
	char *p = map(8, NR);
	struct idle_page page;
	const char *why = make_idle(&page, p, NR);
	struct writer w;
	int nr_idle = 0;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_TRUE(start_writer(&w, p, NR));
	for (int i = 0; i < 300; i++) {
		int idle;

		ASSERT_TRUE(set_idle(&page));
		/* Flush the TLB, so that the access is seen. */
		do_protect(p, NR, PROT_NONE);
		do_protect(p, NR, PROT_READ | PROT_WRITE);
		FORCE_READ(*p);
		idle = is_idle(&page);
		ASSERT_GE(idle, 0);
		nr_idle += idle;
	}
	ASSERT_TRUE(stop_writer(&w));
	/* How often a walk by anon_vma meets a PTE that is being changed is chance. */
	if (variant->on)
		EXPECT_EQ(nr_idle, 0);
	close(page.fd);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* DAMON looks for what is old, and has it reclaimed, by physical address. */
static bool __printf(1, 2) damon_put(const char *fmt, ...)
{
	char path[256], *val;
	va_list ap;
	int n;

	n = snprintf(path, sizeof(path), "/sys/kernel/mm/damon/admin/kdamonds/");
	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - n, fmt, ap);
	va_end(ap);
	val = strchr(path, '=');
	*val++ = '\0';
	return put(path, val);
}

static int compare_pfns(const void *a, const void *b)
{
	const unsigned long x = *(unsigned long *)a, y = *(unsigned long *)b;

	return x < y ? -1 : x > y;
}

#define DAMON_CONTEXT "0/contexts/0/"

static bool damon_start(unsigned long *pfn, size_t n)
{
	static const char * const max[] = { "sz", "nr_accesses", "age" };
	bool ok;

	ok = damon_put("nr_kdamonds=1") && damon_put("0/contexts/nr_contexts=1") &&
	     damon_put(DAMON_CONTEXT "operations=paddr") &&
	     damon_put(DAMON_CONTEXT "monitoring_attrs/intervals/sample_us=2000") &&
	     damon_put(DAMON_CONTEXT "monitoring_attrs/intervals/aggr_us=20000") &&
	     damon_put(DAMON_CONTEXT "targets/nr_targets=1") &&
	     damon_put(DAMON_CONTEXT "targets/0/regions/nr_regions=%zu", n) &&
	     damon_put(DAMON_CONTEXT "schemes/nr_schemes=1") &&
	     damon_put(DAMON_CONTEXT "schemes/0/action=pageout");
	for (size_t i = 0; i < ARRAY_SIZE(max); i++)
		ok &= damon_put(DAMON_CONTEXT "schemes/0/access_pattern/%s/max=%u",
				max[i], UINT_MAX);
	qsort(pfn, n, sizeof(*pfn), compare_pfns);
	for (size_t i = 0; i < n; i++)
		ok &= damon_put(DAMON_CONTEXT "targets/0/regions/%zu/start=%lu",
				i, pfn[i] * psize()) &&
		      damon_put(DAMON_CONTEXT "targets/0/regions/%zu/end=%lu",
				i, (pfn[i] + 1) * psize());
	return ok && damon_put("0/state=on");
}

TEST_F(lazy, damon)
{
	char *p = map(8, NR), *q = map(100, NR);
	unsigned long pfn[2 * NR];
	struct kid *k;

	if (access("/sys/kernel/mm/damon/admin", F_OK))
		SKIP(return, "no DAMON");
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, q, NR, TAG2));
	fill(p, NR, TAG);
	for (size_t i = 0; i < NR; i++) {
		pfn[i] = pfn_of(p + len(i));
		pfn[NR + i] = pfn_of(q + len(i));
	}
	drain_batches();
	ASSERT_TRUE(damon_start(pfn, 2 * NR));
	for (int i = 0; i < 100; i++) {
		if (!most_present(p, NR, NULL) && !most_present(q, NR, NULL))
			break;
		usleep(50000);
	}
	EXPECT_EQ(most_present(p, NR, "stays"), 0);
	EXPECT_EQ(most_present(q, NR, "stays"), 0);
	damon_put("0/state=off");
	damon_put("nr_kdamonds=0");
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(check(q, NR, TAG2));
	ASSERT_TRUE(in(k, check, q, NR, TAG2));
}

/* Userfaultfd */

static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

TEST_F(lazy, uffd_copy)
{
	char *p = map(8, NR), *src = map(100, NR);
	struct uffdio_copy copy = {
		.dst = (unsigned long)p,
		.src = (unsigned long)src,
		.len = len(NR),
	};
	int fd = open_uffd(0);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	fill(src, NR, TAG);
	ASSERT_EQ(uffd_register(fd, p, len(NR), true, false, false), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_COPY, &copy), 0);
	ASSERT_EQ(copy.copy, len(NR));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_EQ(madvise(p, len(NR), MADV_DONTNEED), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_COPY, &copy), 0);
	ASSERT_EQ(uffd_unregister(fd, p, len(NR)), 0);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	close(fd);
}

static bool uffd_move(int fd, char *dst, char *src, size_t n)
{
	struct uffdio_move mv = {
		.dst = (unsigned long)dst,
		.src = (unsigned long)src,
		.len = len(n),
	};

	for (int i = 0; i < 50; i++) {
		if (!ioctl(fd, UFFDIO_MOVE, &mv))
			return true;
		if (errno != EAGAIN)
			break;
		/* Some are done, or a page was busy */
		if (mv.move > 0) {
			mv.dst += mv.move;
			mv.src += mv.move;
			mv.len -= mv.move;
		}
		mv.move = 0;
		usleep(1000);
	}
	note("UFFDIO_MOVE: %s", strerror(errno));
	return false;
}

TEST_F(anon, uffd_move)
{
	char *p = map(8, NR), *q = map(100, NR);
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	fill(p, NR, TAG);
	ASSERT_EQ(uffd_register(fd, q, len(NR), true, false, false), 0);
	/* Some of them from swap */
	ASSERT_TRUE(swap_out(p + len(NR / 2), NR / 2, 0));
	ASSERT_TRUE(uffd_move(fd, q, p, NR));
	/* The source takes new pages at once. */
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out(q, NR, 0));
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(check(q, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG2));
	/* To a destination that a child shares, from one that it does not */
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	fill(p, NR, TAG3);
	ASSERT_EQ(madvise(q, len(NR), MADV_DONTNEED), 0);
	ASSERT_TRUE(uffd_move(fd, q, p, NR));
	ASSERT_EQ(uffd_unregister(fd, q, len(NR)), 0);
	ASSERT_TRUE(swap_out(q, NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(q, NR, TAG3));
	ASSERT_TRUE(in(k, check, q, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG2));
	close(fd);
}

/* In a child, whose pages are its own; between VMAs that were moved before */
TEST_F(anon, uffd_move_moved)
{
	char *p = map(8, NR), *q = map(100, NR), *r = at(200);
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	fill(p, NR, TAG);
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(move(q, NR, r));
	fill(p, NR, TAG3);
	ASSERT_EQ(madvise(r, len(NR), MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_register(fd, r, len(NR), true, false, false), 0);
	ASSERT_TRUE(uffd_move(fd, r, p, NR));
	ASSERT_EQ(uffd_unregister(fd, r, len(NR)), 0);
	ASSERT_TRUE(swap_out_and_check(r, NR, TAG3));
	ASSERT_TRUE(in(k, check, q, NR, TAG2));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	close(fd);
}

/* To and fro between two page tables */
static void *keep_uffd_moving(void *arg)
{
	struct writer *w = arg;
	char *from = w->p, *to = at(TABLE + 100);
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (uffd_register(fd, from, len(w->n), true, false, false) ||
	    uffd_register(fd, to, len(w->n), true, false, false))
		w->stop = true;
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED) &&
	       uffd_move(fd, to, from, w->n)) {
		char *p = from;

		from = to;
		to = p;
		w->nr_done++;
	}
	/* It is back where it came from, or the test fails. */
	if (w->nr_done & 1)
		uffd_move(fd, to, from, w->n);
	close(fd);
	return NULL;
}

/*
 * UFFDIO_MOVE locks two page tables, and needs but the VMA locks for that; mremap()
 * locks the same two for another VMA. If one waits for the other this does not end.
 */
TEST_F_TIMEOUT(anon, uffd_move_mremap, 60)
{
	char *p = map(8, NR), *q = at(TABLE + 8), *r = map(100, NR);
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	struct writer w;

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	close(fd);
	fill(p, NR, TAG);
	fill(r, NR, TAG2);
	fill(map(TABLE + 100, NR), NR, TAG3);
	ASSERT_EQ(madvise(at(TABLE + 100), len(NR), MADV_DONTNEED), 0);
	ASSERT_TRUE(start_thread(&w, keep_uffd_moving, r, NR));
	for (int i = 0; i < 1000; i++) {
		ASSERT_TRUE(move(p, NR, q));
		ASSERT_TRUE(move(q, NR, p));
	}
	ASSERT_TRUE(stop_writer(&w));
	EXPECT_GT(w.nr_done, 10);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(r, NR, TAG2));
}

/* A huge page goes to a VMA that was lazy up to then. */
TEST_F(anon, uffd_move_huge)
{
	size_t n = MB(2) / psize();
	char *p = map(n, n), *q = map_half_grown(3 * n, NR, TAG2);
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	ASSERT_TRUE(count_vmas(q, n, 1));
	ASSERT_EQ(madvise(q, len(n), MADV_DONTNEED), 0);
	ASSERT_EQ(madvise(p, len(n), MADV_HUGEPAGE), 0);
	fill(p, n, TAG);
	if (!is_huge(p))
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(uffd_register(fd, q, len(n), true, false, false), 0);
	ASSERT_TRUE(uffd_move(fd, q, p, n));
	ASSERT_EQ(uffd_unregister(fd, q, len(n)), 0);
	ASSERT_TRUE(swap_out(q, n, 0));
	ASSERT_TRUE(check(q, n, TAG));
	close(fd);
}

/* The same with the huge zero page, which is replaced when it is written to */
TEST_F(anon, uffd_move_huge_zero)
{
	size_t n = MB(2) / psize();
	char *p = map(n, n), *q = map_grown(3 * n);
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	ASSERT_EQ(madvise(p, len(n), MADV_HUGEPAGE), 0);
	ASSERT_TRUE(check_zero(p, n, 0));
	if (!is_huge_zero(p))
		SKIP(return, "no huge zero page to be had");
	ASSERT_EQ(uffd_register(fd, q, len(n), true, false, false), 0);
	ASSERT_TRUE(uffd_move(fd, q, p, n));
	ASSERT_EQ(uffd_unregister(fd, q, len(n)), 0);
	ASSERT_TRUE(is_huge_zero(q));
	ASSERT_EQ(madvise(q - len(NR), len(NR + n), MADV_HUGEPAGE), 0);
	fill(q, n, TAG2);
	ASSERT_TRUE(is_huge(q - len(NR)));
	ASSERT_TRUE(swap_out_and_check(q, n, TAG2));
	ASSERT_TRUE(swap_out_and_check(q - len(NR), NR, TAG));
	close(fd);
}

/* Somebody else's system call faults the pages in. */
TEST_F(lazy, remote_write)
{
	struct kid *k = fork_kid(NULL);
	char *p = map(8, NR), *q = at(100);
	struct iovec local = { .iov_base = p, .iov_len = len(NR) };
	struct iovec remote = { .iov_base = q, .iov_len = len(NR) };

	fill(p, NR, TAG);
	ASSERT_TRUE(in(k, do_map, q, NR, 0));
	ASSERT_EQ(process_vm_writev(k->pid, &local, 1, &remote, 1, 0),
		  (ssize_t)len(NR));
	ASSERT_TRUE(in(k, swap_out_and_check, q, NR, TAG));
	/* And from swap */
	ASSERT_TRUE(in(k, swap_out, q, NR, 0));
	fill(p, NR, TAG2);
	ASSERT_EQ(process_vm_writev(k->pid, &local, 1, &remote, 1, 0),
		  (ssize_t)len(NR));
	ASSERT_TRUE(in(k, swap_out_and_check, q, NR, TAG2));
}

/*
 * "Has an anon_vma" means "may have anonymous pages" in more places than rmap:
 * a core dump leaves private file mappings out that have none.
 */
static bool do_dump(char *p, size_t n, unsigned int unused)
{
	struct rlimit rl = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &rl);
	signal(SIGQUIT, SIG_DFL);
	syscall(__NR_tgkill, getpid(), syscall(__NR_gettid), SIGQUIT);
	return false;
}

static size_t find_stamps(int fd, size_t n, unsigned int tag)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *core = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	size_t found = 0;

	if (core == MAP_FAILED)
		return 0;
	for (off_t off = 0; off + psize() <= size; off += psize()) {
		unsigned long first = *(unsigned long *)(core + off);

		if (first >= tag && first < tag + n && stamped(core + off, first))
			found++;
	}
	munmap(core, size);
	return found;
}

TEST_F(lazy, coredump)
{
	char dir[] = "/tmp/anon_vma_lazy.XXXXXX", core[64], pattern[80];
	char *p = map(8, NR), *q = map(100, NR);
	struct kid *k;
	int fd;

	fill(p, NR, TAG);
	ASSERT_NE(mkdtemp(dir), NULL);
	snprintf(core, sizeof(core), "%s/core", dir);
	snprintf(pattern, sizeof(pattern), "%s\n", core);
	if (!tweak("/proc/sys/kernel/core_pattern", pattern) ||
	    !tweak("/proc/sys/kernel/core_uses_pid", "0"))
		SKIP(return, "no core_pattern");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Inherited, its own, and moved */
	ASSERT_TRUE(in(k, fill, q, NR, TAG2));
	ASSERT_TRUE(in(k, do_move, q, NR, 200));
	ASSERT_FALSE(in(k, do_dump, NULL, 0, 0));
	quit(k);
	fd = open(core, O_RDONLY | O_CLOEXEC);
	unlink(core);
	rmdir(dir);
	if (fd < 0)
		SKIP(return, "no core dump");
	EXPECT_EQ(find_stamps(fd, NR, TAG), NR);
	EXPECT_EQ(find_stamps(fd, NR, TAG2), NR);
	close(fd);
}

/* It is charged for memory while it is read-only only if it may have pages. */
static bool is_accounted(char *p, size_t n, unsigned int want)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	bool found = false, here = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)p && (unsigned long)p < end;
		found = here && !strncmp(line, "VmFlags:", 8);
	}
	if (f)
		fclose(f);
	if (found && !!strstr(line, " ac") == want)
		return true;
	note("%p: %s", p, found ? line : "not found");
	return false;
}

TEST_F(anon, account)
{
	char *p = map(8, NR), *q = map(100, NR);
	struct kid *k;

	fill(p, 1, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, do_protect, p, NR, PROT_READ));
	ASSERT_TRUE(in(k, is_accounted, p, NR, true));
	ASSERT_TRUE(do_protect(q, NR, PROT_READ));
	ASSERT_TRUE(is_accounted(q, NR, false));
	ASSERT_TRUE(do_protect(q, NR, PROT_READ | PROT_WRITE));
	fill(q, 1, TAG);
	ASSERT_TRUE(do_protect(q, NR, PROT_READ));
	ASSERT_TRUE(is_accounted(q, NR, true));
}

/* In the page tables of a VMA with private pages nothing is left to the file. */
TEST_F(anon, collapse_file)
{
	size_t n = MB(2) / psize();
	char *p, *s = at(4 * n);

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	backing = memfd_create("anon_vma_lazy", MFD_CLOEXEC);
	ASSERT_GE(backing, 0);
	ASSERT_EQ(ftruncate(backing, ARENA_SIZE), 0);
	ASSERT_EQ(mmap(s, len(n), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		       backing, len(n)), s);
	fill(s, n, TAG);
	p = map(n, n / 2);
	fill(p, NR, TAG2);
	map(n + n / 2, n / 2);
	ASSERT_TRUE(count_vmas(p, n, 1));
	if (madvise(s, len(n), MADV_COLLAPSE))
		SKIP(return, "no collapse: %s", strerror(errno));
	ASSERT_TRUE(check_huge_shmem(s, MB(2), 1, MB(2)));
	ASSERT_TRUE(check(p, NR, TAG2));
	ASSERT_TRUE(check(p + len(NR), n - NR, TAG + NR));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/* Collapses only what has pages. */
TEST_F_TIMEOUT(anon, khugepaged, 60)
{
	size_t n = MB(2) / psize();
	char *p;

	if (!thp_setup() ||
	    !tweak(THP "khugepaged/scan_sleep_millisecs", "10") ||
	    !tweak(THP "khugepaged/alloc_sleep_millisecs", "10"))
		SKIP(return, "no THP of 2 MB");
	p = map_half_grown(n, NR, TAG);
	ASSERT_EQ(madvise(p, len(n), MADV_HUGEPAGE), 0);
	for (int try = 0; !is_huge(p) && try < 200; try++)
		usleep(100000);
	ASSERT_TRUE(is_huge(p));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/* Fork must copy guards, although there is no page. */
static bool is_guarded(char *p, size_t n, unsigned int unused)
{
	return !count_not(getpid(), p, n, PM_GUARD_REGION, PM_GUARD_REGION,
			  "is not guarded");
}

TEST_F(lazy, guard)
{
	char *p = map(8, NR), *q = map(100, NR), *r = at(200);
	struct kid *k, *c;

	if (madvise(p, len(4), MADV_GUARD_INSTALL))
		SKIP(return, "no guard regions");
	ASSERT_EQ(madvise(q, len(4), MADV_GUARD_INSTALL), 0);
	fill(q + len(4), NR - 4, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, is_guarded, p, 4, 0));
	ASSERT_TRUE(in(k, is_guarded, q, 4, 0));
	ASSERT_TRUE(in(k, do_move, q, NR, 200));
	ASSERT_TRUE(in(k, is_guarded, r, 4, 0));
	ASSERT_TRUE(move(p, NR, at(300)));
	ASSERT_TRUE(is_guarded(at(300), 4, 0));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, is_guarded, r, 4, 0));
	ASSERT_TRUE(reclaim_all(q + len(4), NR - 4));
	ASSERT_TRUE(reclaim_all(r + len(4), NR - 4));
	ASSERT_TRUE(in(c, check, r + len(4), NR - 4, TAG));
	ASSERT_TRUE(check(q + len(4), NR - 4, TAG));
}

/* The files that show memory go through all VMAs and folios. */
TEST_F(lazy, proc_files)
{
	static const char * const name[] = {
		"maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "stat",
		"status", "statm", "ksm_stat", "oom_score",
	};
	char *p = map(8, NR), buf[4096], path[64];
	struct kid *k;
	int fd;

	fill(p, NR, TAG);
	ASSERT_EQ(mprotect(p + len(4), len(4), PROT_READ), 0);
	ASSERT_TRUE(swap_out(p, 4, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, 4, TAG2));
	for (size_t i = 0; i < 2 * ARRAY_SIZE(name); i++) {
		ssize_t ret;

		snprintf(path, sizeof(path), "/proc/%d/%s",
			 i & 1 ? k->pid : getpid(), name[i / 2]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!strcmp(name[i / 2], "pagemap"))
			lseek(fd, (unsigned long)p / psize() * 8, SEEK_SET);
		do {
			ret = read(fd, buf, sizeof(buf));
		} while (ret > 0 && strcmp(name[i / 2], "pagemap"));
		EXPECT_GE(ret, 0) TH_LOG("%s", path);
		close(fd);
	}
	/* Clears the accessed bits, and write-protects: rmap is not asked. */
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", k->pid);
	put(path, "1");
	put(path, "4");
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, 4, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
}

/* Never lazy, but neighbours in every list */
TEST_F(anon, hugetlb)
{
	size_t size = smallest_huge_page(), n = size / psize();
	size_t place = n > 4 * NR ? n : 4 * NR;
	char *p = map(place, NR), *h = at(2 * place), *q = at(4 * place);
	struct kid *k;

	if (!size || size > MB(2))
		SKIP(return, "no hugetlb, or too large a page");
	if (!map_huge(h, size, "3"))
		SKIP(return, "no huge page");
	fill(p, NR, TAG);
	fill(h, n, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, h, n, TAG2));
	ASSERT_TRUE(check(h, n, TAG));
	ASSERT_TRUE(move(h, n, q));
	ASSERT_TRUE(check(q, n, TAG));
	ASSERT_TRUE(in(k, check, h, n, TAG2));
	if (have_node1()) {
		move_pages(0, q, 1, (int []){ 1 }, (int []){ 0 });
		ASSERT_TRUE(check(q, n, TAG));
	}
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	munmap(q, size);
}

/* A child's VMA takes pages that were its parent's to find. */
static bool do_uffd_move(char *dst, size_t n, unsigned int page)
{
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	bool ok = fd >= 0 && !madvise(dst, len(n), MADV_DONTNEED) &&
		  !uffd_register(fd, dst, len(n), true, false, false) &&
		  uffd_move(fd, dst, at(page), n) &&
		  !uffd_unregister(fd, dst, len(n));

	close(fd);
	return ok;
}

TEST_F(anon, uffd_move_child)
{
	char *p = map(8, NR), *q = map(100, NR);
	int fd = open_uffd(UFFD_FEATURE_MOVE);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	close(fd);
	fill(p, NR, TAG);
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR, TAG3));
	ASSERT_TRUE(in(k, swap_out, p, NR / 2, 0));
	ASSERT_TRUE(in(k, do_uffd_move, q, NR, 8));
	ASSERT_TRUE(in(k, swap_out_and_check, q, NR, TAG3));
	ASSERT_TRUE(in(k, fill, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(check(q, NR, TAG2));
}

/* Poison */

static void on_sigbus(int sig, siginfo_t *info, void *ctx)
{
	sh->bus[me].nr++;
	sh->bus[me].code = info->si_code;
	sh->bus[me].addr = info->si_addr;
	/* The access cannot be repeated. */
	if (__atomic_load_n(&bus_jmp_set, __ATOMIC_SEQ_CST))
		siglongjmp(bus_jmp, 1);
}

static bool catch_sigbus(char *p, size_t n, unsigned int unused)
{
	struct sigaction sa = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO,
	};

	return !sigaction(SIGBUS, &sa, NULL) &&
	       !prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
}

/* Reading the page is a fault on its poison. */
static bool poisoned(char *p, size_t n, unsigned int unused)
{
	sh->bus[me].code = 0;
	if (!sigsetjmp(bus_jmp, 1)) {
		__atomic_store_n(&bus_jmp_set, true, __ATOMIC_SEQ_CST);
		FORCE_READ(*p);
	}
	__atomic_store_n(&bus_jmp_set, false, __ATOMIC_SEQ_CST);
	return sh->bus[me].code == BUS_MCEERR_AR && sh->bus[me].addr == p;
}

/* Process @i was told that it lost a page. It has to be scheduled for that. */
static bool is_told(int i)
{
	for (int try = 0; !sh->bus[i].nr && try < 100; try++)
		usleep(10000);
	return sh->bus[i].nr;
}

/* Every one of the first @nr processes was told which page it lost. */
static bool told(int nr, char *p)
{
	for (int i = 0; i <= nr; i++) {
		/* Who injects the error may be told as if it had read it. */
		if (!is_told(i) || sh->bus[i].nr != 1 || sh->bus[i].addr != p ||
		    (sh->bus[i].code != BUS_MCEERR_AO &&
		     (i || sh->bus[i].code != BUS_MCEERR_AR))) {
			note("kid %d: %d signals, code %d, %p instead of %p",
			     i, sh->bus[i].nr, sh->bus[i].code,
			     sh->bus[i].addr, p);
			return false;
		}
	}
	return true;
}

TEST_F(lazy, hwpoison)
{
	char *p = map(8, NR), *q = at(100);
	unsigned long pfn;

	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, NR, TAG);
	ASSERT_TRUE(move(p, NR, q));
	pfn = pfn_of(q + len(3));
	if (madvise(q + len(3), psize(), MADV_HWPOISON))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	ASSERT_TRUE(told(0, q + len(3)));
	ASSERT_TRUE(poisoned(q + len(3), 1, 0));
	ASSERT_TRUE(swap_out_and_check(q, 3, TAG));
	ASSERT_TRUE(swap_out_and_check(q + len(4), NR - 4, TAG + 4));
	munmap(q, len(NR));
	unpoison_memory(pfn);
}

/* All processes that map the page are found, at three addresses. */
TEST_F(lazy, hwpoison_forked)
{
	char *p = map(8, NR), *bad = p + len(3);
	struct kid *k, *c, *other;
	unsigned long pfn;

	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	/* One that has a page of its own there, and is not to be told */
	other = fork_kid(k);
	ASSERT_NE(other, NULL);
	ASSERT_TRUE(in(other, fill, p, NR, TAG2));
	pfn = pfn_of(bad);
	if (madvise(bad, psize(), MADV_HWPOISON))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	ASSERT_TRUE(told(2, bad));
	ASSERT_TRUE(in(other, check, p, NR, TAG2));
	ASSERT_EQ(sh->bus[3].nr, 0);
	ASSERT_TRUE(poisoned(bad, 1, 0));
	ASSERT_TRUE(in(k, poisoned, bad, 1, 0));
	ASSERT_TRUE(in(c, poisoned, bad, 1, 0));
	ASSERT_TRUE(reclaim_all(p, 3));
	ASSERT_TRUE(check(p, 3, TAG));
	ASSERT_TRUE(in(c, check, p + len(4), NR - 4, TAG + 4));
	quit(k);
	quit(c);
	munmap(p, len(NR));
	unpoison_memory(pfn);
}

/*
 * A merged page that a process shares with its child alone, by way of an anon_vma
 * that leads to the whole family: only those two are to be told.
 */
TEST_F(lazy, hwpoison_ksm)
{
	char *p = map(8, NR), *bad = p + len(3);
	struct kid *k, *c, *other;
	uint64_t ent;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill_same(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	other = fork_kid(NULL);
	ASSERT_NE(other, NULL);
	fill_same(p, NR, TAG2);
	ASSERT_TRUE(in(other, fill, p, NR, TAG2));
	ASSERT_TRUE(in(k, do_advise, p, NR, MADV_MERGEABLE));
	ASSERT_TRUE(in(k, ksm_merge, p, NR, 0));
	ASSERT_TRUE(pagemap_range(k->pid, bad, 1, &ent));
	if (!in(k, do_advise, bad, 1, MADV_HWPOISON))
		SKIP(return, "no MADV_HWPOISON");
	EXPECT_TRUE(in(k, poisoned, bad, 1, 0));
	/* Where it has the page that the others were merged with, maybe not here */
	EXPECT_TRUE(is_told(2));
	EXPECT_TRUE(check_same(p, NR, TAG2));
	EXPECT_TRUE(in(other, check, p, NR, TAG2));
	EXPECT_EQ(sh->bus[0].nr, 0);
	EXPECT_EQ(sh->bus[3].nr, 0);
	quit(c);
	quit(k);
	unpoison_memory(PAGEMAP_PFN(ent));
}

/*
 * Not mapped any more, but in the swap cache: what the page says may be about a
 * process that has another one there by now. Nobody is to be told.
 */
TEST_F(lazy, hwpoison_swapped)
{
	char *p = map(8, NR), buf[32];
	unsigned long pfn;

	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, NR, TAG);
	pfn = pfn_of(p + len(3));
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(is_swap_cached(p, NR, 0));
	ASSERT_TRUE(move(p, NR, at(100)));
	map(8, NR);
	fill(p, NR, TAG2);
	snprintf(buf, sizeof(buf), "%lu", pfn);
	if (!put("/sys/kernel/debug/hwpoison/corrupt-pfn", buf))
		SKIP(return, "no hwpoison-inject");
	EXPECT_EQ(sh->bus[0].nr, 0);
	EXPECT_TRUE(check(p, NR, TAG2));
	/* It is read from swap again. */
	EXPECT_TRUE(check(at(100), NR, TAG));
	EXPECT_NE(pfn_of(at(103)), pfn);
	EXPECT_EQ(sh->bus[0].nr, 0);
	EXPECT_TRUE(swap_out_and_check(p, NR, TAG2));
	munmap(at(100), len(NR));
	unpoison_memory(pfn);
}

/* Poison does not wait for a better time. */
TEST_F_TIMEOUT(lazy, hwpoison_contended, 60)
{
	char *p = map(8, NR);
	unsigned long pfn[4];
	struct writer w;

	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, NR, TAG);
	for (size_t i = 0; i < ARRAY_SIZE(pfn); i++)
		pfn[i] = pfn_of(p + len(i));
	ASSERT_TRUE(start_writer(&w, p, NR));
	for (size_t i = 0; i < ARRAY_SIZE(pfn); i++) {
		int err;

		sh->bus[0].nr = 0;
		err = madvise(p + len(i), psize(), MADV_HWPOISON) ? errno : 0;
		if (err && err != EBUSY) {
			stop_writer(&w);
			SKIP(return, "MADV_HWPOISON: %s", strerror(err));
		}
		/* Busy: given up too early. */
		EXPECT_EQ(err, 0);
		EXPECT_TRUE(told(0, p + len(i)));
		EXPECT_TRUE(poisoned(p + len(i), 1, 0));
	}
	ASSERT_TRUE(stop_writer(&w));
	ASSERT_TRUE(swap_out_and_check(p + len(4), NR - 4, TAG + 4));
	munmap(p, len(NR));
	for (size_t i = 0; i < ARRAY_SIZE(pfn); i++)
		unpoison_memory(pfn[i]);
}

/*
 * Migration tries again and again to move pages that it cannot move. While it has
 * them memory failure cannot take them from the LRU, and only marks them.
 */
static void *keep_moving(void *arg)
{
	struct writer *w = arg;
	int nodes[w->n], status[w->n];

	for (size_t i = 0; i < w->n; i++)
		nodes[i] = 1;
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED))
		move_pages(0, w->p, w->n, nodes, status);
	return NULL;
}

/* The first page that stays mapped, poisoned. Those in front are gone. */
static size_t poison_mapped(char *p, size_t n)
{
	struct writer w;
	int fd = -1;
	size_t i;

	for (i = 0; i < n; i++) {
		bool busy;

		/* As many as fit in a pipe */
		if (i % NR == 0) {
			close(fd);
			fd = hold_pages(p + len(i), NR);
		}
		if (!start_thread(&w, keep_moving, p + len(i - i % NR), NR))
			return n;
		usleep(i * 500);
		sh->bus[0].nr = 0;
		busy = madvise(p + len(i), psize(), MADV_HWPOISON) && errno == EBUSY;
		stop_writer(&w);
		/* Else migration saw that it is poisoned, and unmapped it. */
		if (busy && pfn_of(p + len(i)))
			break;
	}
	close(fd);
	note("%zu of %zu pages were gone before one was not", i, n);
	return i;
}

/* Reclaim unmaps it for good, a busy VMA or not. */
TEST_F_TIMEOUT(lazy, hwpoison_reclaim, 60)
{
	const size_t n = 4 * NR;
	char *p = map(8, n), *bad;
	unsigned long pfn[n];
	struct writer w;
	size_t i;
	bool ok;

	if (!have_node1())
		SKIP(return, "one node only");
	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, n, TAG);
	ASSERT_TRUE(move_to_node(p, n, 0));
	for (i = 0; i < n; i++)
		pfn[i] = pfn_of(p + len(i));
	ASSERT_TRUE(start_writer(&w, p, n));
	i = poison_mapped(p, n);
	/* Whoever never pauses wins, and so reclaim does not unmap it at once. */
	reclaim_once(len(n - i), " swappiness=max");
	w.pause = 100;
	ok = i < n && reclaim_all(p, n);
	ASSERT_TRUE(stop_writer(&w));
	if (i == n)
		SKIP(return, "no page stayed");
	bad = p + len(i);
	EXPECT_TRUE(ok);
	EXPECT_EQ(sh->bus[0].nr, 0);
	EXPECT_TRUE(poisoned(bad, 1, 0));
	EXPECT_TRUE(check(bad + psize(), n - i - 1, TAG + i + 1));
	munmap(p, len(n));
	for (i = 0; i < n; i++)
		unpoison_memory(pfn[i]);
}

/*
 * So does who takes the memory offline, and moves what is not poisoned. This is
 * for good: with poison in it memory cannot come online again.
 */
TEST_F_TIMEOUT(anon, hwpoison_offline, 120)
{
	const size_t n = 4 * NR, huge = default_huge_page_size();
	char *p = map(8, n), *hog = map(4096, 2048), *bad, path[128], buf[64];
	unsigned long pfn[n], block;
	struct writer w;
	size_t i;
	bool ok;

	if (!have_node1())
		SKIP(return, "one node only");
	if (!get("/sys/devices/system/memory/block_size_bytes", buf, sizeof(buf)))
		SKIP(return, "no memory hotplug");
	block = strtoul(buf, NULL, 16) / psize();
	/* The end of a node is used first, and has reserved pages: take it away. */
	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node0/hugepages/hugepages-%zukB/nr_hugepages",
		 huge / 1024);
	snprintf(buf, sizeof(buf), "%zu", huge ? block * psize() / huge : 0);
	tweak(path, buf);
	fill(hog, 2048, TAG2);
	ASSERT_TRUE(catch_sigbus(NULL, 0, 0));
	fill(p, n, TAG);
	ASSERT_TRUE(move_to_node(p, n, 0));
	for (i = 0; i < n; i++)
		pfn[i] = pfn_of(p + len(i));
	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%lu/valid_zones",
		 pfn[0] / block);
	if (!get(path, buf, sizeof(buf)) || strcmp(buf, "Movable\n"))
		SKIP(return, "not in movable memory, boot with movablecore=");
	ASSERT_TRUE(start_writer(&w, p, n));
	i = poison_mapped(p, n);
	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%lu/state",
		 pfn[i % n] / block);
	ok = i < n && put(path, "offline");
	ASSERT_TRUE(stop_writer(&w));
	if (i == n)
		SKIP(return, "no page stayed");
	if (!ok && pfn_of(p + len(i)) == pfn[i])
		SKIP(return, "the memory cannot go offline");
	bad = p + len(i);
	EXPECT_TRUE(ok);
	EXPECT_EQ(sh->bus[0].nr, 0);
	/* Without a look into pagemap: that would touch the struct page. */
	EXPECT_TRUE(poisoned(bad, 1, 0));
	EXPECT_TRUE(check(bad + psize(), n - i - 1, TAG + i + 1));
	EXPECT_TRUE(swap_out_and_check(bad + psize(), n - i - 1, TAG + i + 1));
}

TEST_F(lazy, soft_offline)
{
	char *p = map(8, NR);
	unsigned long pfn, pfn2;
	struct kid *k;

	fill(p, NR, TAG);
	pfn = pfn_of(p + len(3));
	if (madvise(p + len(3), psize(), MADV_SOFT_OFFLINE))
		SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(errno));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_NE(pfn_of(p + len(3)), pfn);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	pfn2 = pfn_of(p + len(4));
	ASSERT_EQ(madvise(p + len(4), psize(), MADV_SOFT_OFFLINE), 0);
	ASSERT_NE(pfn_of(p + len(4)), pfn2);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	unpoison_memory(pfn);
	unpoison_memory(pfn2);
}

/* Pins */

TEST_F(lazy, pin_fork)
{
	char *p = map(8, NR);
	struct pin_longterm_test pin = {
		.addr = (unsigned long)p,
		.size = len(NR),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no gup_test in debugfs");
	fill(p, NR, TAG);
	ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_START, &pin), 0);
	/* Fork copies what is pinned: the child has it for itself at once. */
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	fill(p, NR, TAG2);
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG));
	ASSERT_TRUE(in(k, fill, p, NR / 2, TAG3));
	ASSERT_TRUE(in(k, swap_out, p, NR, 0));
	/* Moved while it is pinned */
	ASSERT_TRUE(move(p, NR, at(100)));
	ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_STOP), 0);
	close(fd);
	ASSERT_TRUE(swap_out_and_check(at(100), NR, TAG2));
	ASSERT_TRUE(in(k, check, p, NR / 2, TAG3));
}

/*
 * What is pinned for long leaves movable memory first.  But nobody can migrate lazy
 * folios while their VMA is write locked, by what takes long with other VMAs, too.
 */
TEST_F_TIMEOUT(anon, pin_contended, 120)
{
	/* In front of many VMAs that are changed after it */
	const size_t nr_vmas = 10000, n = 2 * NR + nr_vmas;
	char *p = mmap(NULL, len(n), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct pin_longterm_test pin = {
		.addr = (unsigned long)p,
		.size = len(NR),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE |
			 PIN_LONGTERM_TEST_FLAG_USE_FAST,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	int err = 0, nr_moved = 0;
	struct writer w;

	if (fd < 0)
		SKIP(return, "no gup_test in debugfs");
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(mprotect(p, len(NR), PROT_READ | PROT_WRITE), 0);
	for (size_t i = 2 * NR; i < n; i += 2)
		ASSERT_EQ(mprotect(p + len(i), psize(), PROT_READ), 0);
	ASSERT_TRUE(start_thread(&w, keep_advising, p, n));
	for (int i = 0; i < 20 && !err; i++) {
		unsigned long pfn;

		madvise(p, len(NR), MADV_DONTNEED);
		fill(p, NR, TAG);
		pfn = pfn_of(p);
		err = ioctl(fd, PIN_LONGTERM_TEST_START, &pin) ? errno : 0;
		nr_moved += pfn_of(p) != pfn;
		if (!err)
			ioctl(fd, PIN_LONGTERM_TEST_STOP);
	}
	ASSERT_TRUE(stop_writer(&w));
	close(fd);
	if (!err && !nr_moved)
		SKIP(return, "not in movable memory, boot with movablecore=");
	EXPECT_EQ(err, 0);
	EXPECT_TRUE(swap_out_and_check(p, NR, TAG));
	munmap(p, len(n));
}

/* Switching in between; both kinds live side by side. */
static bool toggle(bool on)
{
	return put(SWITCH, on ? "1" : "0");
}

TEST_F(lazy, toggle)
{
	char *p = map(8, NR), *q;
	struct kid *k, *c;

	if (access(SWITCH, F_OK))
		SKIP(return, "no vm.anon_vma_lazy");
	fill(p, NR / 2, TAG);
	ASSERT_TRUE(toggle(!variant->on));
	fill(p + len(NR / 2), NR / 2, TAG + NR / 2);
	q = map(100, NR);
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(toggle(variant->on));
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG3));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, fill, q, NR / 4, TAG3));
	ASSERT_TRUE(toggle(!variant->on));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(check(q, NR, TAG2));
	ASSERT_TRUE(in(k, check, p, NR / 4, TAG3));
	ASSERT_TRUE(in(c, check, q, NR / 4, TAG3));
	ASSERT_TRUE(in(c, check, p, NR / 4, TAG3));
	ASSERT_TRUE(move(p, NR, q + len(NR)));
	ASSERT_TRUE(toggle(variant->on));
	ASSERT_TRUE(reclaim_all(q, 2 * NR));
	ASSERT_TRUE(check(q, NR, TAG2));
	ASSERT_TRUE(check(q + len(NR), NR, TAG));
}

/* Made under one setting, merged with what was made under the other */
TEST_F(lazy, toggle_merge)
{
	char *p = map(8, NR);

	if (access(SWITCH, F_OK))
		SKIP(return, "no vm.anon_vma_lazy");
	fill(p, NR, TAG);
	ASSERT_TRUE(toggle(!variant->on));
	map(8 + NR + 1, NR);
	fill(p + len(NR + 1), NR, TAG + NR + 1);
	ASSERT_TRUE(toggle(variant->on));
	map(8 + NR, 1);
	fill(p + len(NR), 1, TAG + NR);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR + 1, TAG));
	ASSERT_EQ(munmap(p, len(NR)), 0);
	ASSERT_TRUE(swap_out_and_check(p + len(NR), NR + 1, TAG + NR));
}

/* Device memory */

static bool dmirror(int fd, unsigned long cmd, char *p, size_t n, char *buf)
{
	struct hmm_dmirror_cmd arg = {
		.addr = (unsigned long)p,
		.ptr = (unsigned long)buf,
		.npages = n,
	};

	if (ioctl(fd, cmd, &arg)) {
		note("hmm_dmirror: %s", strerror(errno));
		return false;
	}
	return arg.cpages == n;
}

TEST_F(anon, device_private)
{
	char *p = map(8, NR), *buf = map(100, NR);
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	struct kid *k;

	if (fd < 0)
		SKIP(return, "no test_hmm");
	fill(p, NR, TAG);
	fill(buf, NR, TAG2);
	ASSERT_TRUE(dmirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, NR, buf));
	/* The CPU's access takes them back. */
	ASSERT_TRUE(check(p, NR / 2, TAG));
	ASSERT_TRUE(move(p, NR, at(200)));
	p = at(200);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	close(fd);
}

/* Pages that were never there are made in device memory. */
TEST_F(anon, device_private_unfaulted)
{
	char *p = map(8, NR), *buf = map(100, NR);
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no test_hmm");
	fill(buf, NR, TAG2);
	ASSERT_TRUE(dmirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, NR, buf));
	ASSERT_TRUE(check_zero(p, NR, 0));
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	close(fd);
}

/* A child's, of pages that it shares and of pages that it has written */
static bool do_device(char *p, size_t n, unsigned int page)
{
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	bool ok = dmirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, n, at(page));

	close(fd);
	return ok;
}

TEST_F(anon, device_private_child)
{
	char *p = map(8, NR);
	struct kid *k, *c;

	if (access("/dev/hmm_dmirror0", F_OK))
		SKIP(return, "no test_hmm");
	map(100, NR);
	fill(at(100), NR, TAG2);
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 2, TAG3));
	ASSERT_TRUE(in(k, do_device, p, NR / 2, 100));
	ASSERT_TRUE(in(k, do_move, p, NR / 4, 200));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, check, at(200), NR / 4, TAG3));
	ASSERT_TRUE(in(k, check, p + len(NR / 4), NR / 4, TAG3 + NR / 4));
	quit(k);
	ASSERT_TRUE(in(c, check, p + len(NR / 4), NR / 4, TAG3 + NR / 4));
	ASSERT_TRUE(in(c, do_reclaim_all, p, NR, 0));
	ASSERT_TRUE(in(c, do_reclaim_all, at(200), NR / 4, 0));
	ASSERT_TRUE(in(c, check, at(200), NR / 4, TAG3));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(anon, device_exclusive)
{
	char *p = map(8, NR), *buf = map(100, NR);
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no test_hmm");
	fill(p, NR, TAG);
	fill(buf, NR, TAG2);
	ASSERT_TRUE(dmirror(fd, HMM_DMIRROR_EXCLUSIVE, p, NR, buf));
	/* Entries of that kind are moved, too. */
	ASSERT_TRUE(move(p, NR, at(200)));
	p = at(200);
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	close(fd);
}

/* What allocates nothing, and what leaks nothing */

TEST_F(lazy, count_fault)
{
	long before = slab_objects("anon_vma"), chains = slab_objects("anon_vma_chain");
	long anon_vmas;

	if (before < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	map_many();
	anon_vmas = slab_objects("anon_vma") - before;
	chains = slab_objects("anon_vma_chain") - chains;
	note("%ld anon_vmas, %ld chains for %d VMAs", anon_vmas, chains, NR_VMAS);
	if (variant->on) {
		EXPECT_LT(anon_vmas, NR_VMAS / 10);
		EXPECT_LT(chains, NR_VMAS / 10);
	} else {
		EXPECT_GE(anon_vmas, NR_VMAS * 9 / 10);
		EXPECT_GE(chains, NR_VMAS * 9 / 10);
	}
	EXPECT_TRUE(count_vmas(at(8), 3 * NR_VMAS, NR_VMAS));
}

/* A child links each VMA to its parent's anon_vma, and makes none itself. */
TEST_F(lazy, count_fork)
{
	long before, chains, anon_vmas;
	struct kid *k;

	map_many();
	/* The first fork gives the parent what it must have for any. */
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	before = slab_objects("anon_vma");
	chains = slab_objects("anon_vma_chain");
	if (before < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Write, and have memory of its own: no more than that. */
	ASSERT_TRUE(in(k, fill, at(8), 1, TAG));
	anon_vmas = slab_objects("anon_vma") - before;
	chains = slab_objects("anon_vma_chain") - chains;
	note("%ld anon_vmas, %ld chains for a child", anon_vmas, chains);
	if (variant->on) {
		EXPECT_LT(anon_vmas, NR_VMAS / 5);
		EXPECT_LT(chains, NR_VMAS * 12 / 10);
	} else {
		EXPECT_GE(anon_vmas, NR_VMAS * 9 / 10);
		EXPECT_GE(chains, 2 * NR_VMAS * 9 / 10);
	}
	ASSERT_TRUE(in(k, check_many, NULL, 0, 0));
}

/*
 * Fork needs memory that is not there, and what can be reclaimed is mostly pages
 * of the very process: of VMAs that it has locked, and of VMAs that it has not.
 */
static long fork_pressed(void)
{
	struct timespec start, end;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (size_t i = 0; i < 4; i++) {
		pid_t pid;

		/* New ones, lazy again */
		map_many();
		pid = fork();
		if (!pid) {
			fill(at(8 + 3 * i), 2, TAG + 3 * i);
			_exit(!check_many(NULL, 0, 0));
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
			note("fork %zu: %d, status %#x", i, pid, status);
			return -1;
		}
		if (!check_many(NULL, 0, 0))
			return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - start.tv_sec) * 1000 +
	       (end.tv_nsec - start.tv_nsec) / 1000000;
}

TEST_F_TIMEOUT(lazy, fork_pressure, 90)
{
	char path[PATH_MAX + 20], buf[32];
	size_t file = variant->file ? len(2 * NR_VMAS) : 0;
	struct rusage ru, kids;
	long ms, ms_off = 0;

	map_many();
	snprintf(path, sizeof(path), "%s/memory.current", memcg);
	snprintf(buf, sizeof(buf), "%zu", get_num(path) - MB(1) / 2 - file);
	snprintf(path, sizeof(path), "%s/memory.max", memcg);
	ASSERT_TRUE(put(path, buf));
	if (variant->on) {
		ASSERT_TRUE(put(SWITCH, "0"));
		ms_off = fork_pressed();
		ASSERT_GE(ms_off, 0);
		ASSERT_TRUE(put(SWITCH, "1"));
	}
	ms = fork_pressed();
	ASSERT_GE(ms, 0);
	ASSERT_EQ(getrusage(RUSAGE_SELF, &ru), 0);
	ASSERT_EQ(getrusage(RUSAGE_CHILDREN, &kids), 0);
	note("%ld ms, %ld ms with the switch off, %ld pages were read from swap",
	     ms, ms_off, ru.ru_majflt + kids.ru_majflt);
	EXPECT_GT(ru.ru_majflt + kids.ru_majflt, 0);
	if (variant->on)
		EXPECT_LT(ms, 5 * ms_off + 5000);
}

/*
 * When the other process is gone memory is not shared any more, and the VMAs can
 * be lazy again: a second or so later. A child that lives on shares what the test
 * itself needs to run.
 */
static bool wait_for_few(long anon_vmas, long chains)
{
	long a = 0, c = 0;

	for (int try = 0; try < 100; try++) {
		a = slab_objects("anon_vma");
		c = slab_objects("anon_vma_chain");
		if (a < anon_vmas + NR_VMAS / 4 && c < chains + NR_VMAS / 4) {
			/* The last ones, too */
			usleep(300000);
			return true;
		}
		usleep(100000);
	}
	note("%ld anon_vmas, %ld chains more", a - anon_vmas, c - chains);
	return false;
}

/* All ways to be found, and to be shared anew */
static bool check_unshared(char *p, size_t n, unsigned int unused)
{
	for (size_t i = 0; i < NR_VMAS; i += 10)
		if (!swap_out_and_check(at(8 + 3 * i), 2, TAG + 3 * i))
			return false;
	return check_many(p, n, 0);
}

TEST_F_TIMEOUT(lazy, unshared_child_exits, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	struct kid *k;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	map_many();
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check_many, NULL, 0, 0));
	/* Some are swapped out, some written and some split when it goes. */
	ASSERT_TRUE(reclaim_all(at(8), 3 * 20));
	ASSERT_TRUE(fill(at(8 + 3 * 30), 2, TAG + 3 * 30));
	ASSERT_TRUE(do_protect(at(8 + 3 * 40), 1, PROT_READ));
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	ASSERT_TRUE(check_unshared(NULL, 0, 0));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, at(8), 2, TAG));
	ASSERT_TRUE(reclaim_all(at(8), 3 * NR_VMAS));
	ASSERT_TRUE(in(k, check_many, NULL, 0, 0));
	ASSERT_TRUE(check_many(NULL, 0, 0));
}

TEST_F_TIMEOUT(lazy, unshared_parent_exits, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	struct kid *k, *c;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	map_many();
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, at(8 + 3 * 30), 2, TAG + 3 * 30));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	ASSERT_TRUE(in(c, fill, at(8 + 3 * 60), 1, TAG + 3 * 60));
	quit(k);
	ASSERT_EQ(munmap(arena, ARENA_SIZE), 0);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	ASSERT_TRUE(in(c, check_unshared, NULL, 0, 0));
	k = fork_kid(c);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, at(8), 2, TAG));
	ASSERT_TRUE(in(c, do_reclaim_all, at(8), 3 * NR_VMAS, 0));
	ASSERT_TRUE(in(k, check_many, NULL, 0, 0));
	ASSERT_TRUE(in(c, check_many, NULL, 0, 0));
}

/* With a third process there memory stays shared. */
TEST_F_TIMEOUT(lazy, unshared_not_yet, 60)
{
	struct kid *k, *c;

	map_many();
	k = fork_kid(NULL);
	c = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_NE(c, NULL);
	quit(k);
	sleep(3);
	ASSERT_TRUE(reclaim_all(at(8), 3 * NR_VMAS));
	ASSERT_TRUE(in(c, check_many, NULL, 0, 0));
	ASSERT_TRUE(check_many(NULL, 0, 0));
}

/* What cannot go back stays as it is, and is found: moved, merged, big or large. */
TEST_F_TIMEOUT(anon, unshared_mixed, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	size_t big = MB(3) / psize();
	char *moved = at(1024), *grown = at(2048), *ksm = at(6000), *mixed = at(1504);
	struct kid *k, *c;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!ksm_setup())
		SKIP(return, "no KSM");
	map_many();
	map(1000, NR);
	fill(at(1000), NR, TAG2);
	map(2048, big);
	fill(grown, NR, TAG2);
	map(6000, NR);
	fill_same(ksm, NR, TAG2);
	ASSERT_TRUE(do_advise(ksm, NR, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_merge(ksm, NR, 0));
	map(1504, 2 * NR);
	fill(mixed, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, mixed, NR, TAG2));
	/* This one keeps the offsets of where it came from. */
	ASSERT_TRUE(move(at(1000), NR, moved));
	if (mthp_setup())
		fill_large(mixed + len(NR), NR, TAG2 + NR);
	else
		fill(mixed + len(NR), NR, TAG2 + NR);
	ASSERT_EQ(munmap(grown + len(NR), len(big - NR)), 0);
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	for (int i = 0; i < 2; i++) {
		fill(at(8), 2, TAG);
		ASSERT_TRUE(check_unshared(NULL, 0, 0));
		ASSERT_TRUE(swap_out_and_check(moved, NR, TAG2));
		ASSERT_TRUE(swap_out_and_check(grown, NR, TAG2));
		ASSERT_TRUE(swap_out_and_check(mixed, 2 * NR, TAG2));
		ASSERT_TRUE(reclaim_all(ksm, NR));
		ASSERT_TRUE(check_same(ksm, NR, TAG2));
		/* Elsewhere, and back to where it was when it was lazy first */
		ASSERT_TRUE(move(at(11), 2, at(5500)));
		ASSERT_TRUE(move(mixed, 2 * NR, at(5600)));
		ASSERT_TRUE(move(moved, NR, at(1000)));
		ASSERT_TRUE(swap_out_and_check(at(5500), 2, TAG + 3));
		ASSERT_TRUE(swap_out_and_check(at(5600), 2 * NR, TAG2));
		ASSERT_TRUE(swap_out_and_check(at(1000), NR, TAG2));
		ASSERT_TRUE(move(at(5500), 2, at(11)));
		ASSERT_TRUE(move(at(5600), 2 * NR, mixed));
		ASSERT_TRUE(move(at(1000), NR, moved));
		c = fork_kid(NULL);
		ASSERT_NE(c, NULL);
		ASSERT_TRUE(reclaim_all(at(8), 1500 + 2 * NR));
		ASSERT_TRUE(in(c, check_many, NULL, 0, 0));
		ASSERT_TRUE(in(c, check, mixed, 2 * NR, TAG2));
		ASSERT_TRUE(in(c, check, moved, NR, TAG2));
		quit(c);
	}
}

/* While others fork, fault, write lock, move and reclaim what goes back */
TEST_F_TIMEOUT(anon, unshared_busy, 60)
{
	char *p = map(8, NR), *q = map(100, NR), *r = map(200, NR);
	struct writer w;
	struct kid *k;

	fill(p, NR, TAG);
	fill(q, NR, TAG2);
	fill(r, NR, TAG3);
	ASSERT_TRUE(start_writer(&w, p, NR));
	for (int i = 0; i < 1 + variant->on; i++) {
		k = fork_kid(NULL);
		ASSERT_NE(k, NULL);
		ASSERT_TRUE(in(k, check, p, NR, TAG));
		ASSERT_TRUE(in(k, fill, q, NR / 2, TAG3));
		quit(k);
		/* The work comes some time in here. */
		for (int j = 0; j < 6; j++) {
			fill(q, NR / 2, TAG2);
			EXPECT_TRUE(swap_out_and_check(q, NR, TAG2));
			EXPECT_TRUE(move(r, NR, at(j % 2 ? 200 : 300)));
			r = at(j % 2 ? 200 : 300);
			fill(r, 2, TAG3);
			EXPECT_TRUE(check(p, NR, TAG));
			if (have_node1())
				EXPECT_TRUE(move_to_node(q, NR, j & 1));
			usleep(200000);
		}
		EXPECT_TRUE(reclaim_all(p, NR));
		EXPECT_TRUE(swap_out_and_check(r, NR, TAG3));
	}
	ASSERT_TRUE(stop_writer(&w));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG2));
	ASSERT_TRUE(swap_out_and_check(r, NR, TAG3));
}

/*
 * What is in the swap cache meanwhile: single pages get a new mapping when they
 * are swapped in, so they are in nobody's way.
 */
TEST_F_TIMEOUT(lazy, unshared_swap_cache, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	char *p = at(8), *q = at(1024);
	int fd, fds[NR_VMAS];
	struct kid *k;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	/* These are swapped out before they are shared, those while they are. */
	map_many();
	for (size_t i = 0; i < NR_VMAS; i++) {
		fds[i] = hold_pages(p + len(3 * i), 2);
		ASSERT_GE(fds[i], 0);
		ASSERT_TRUE(swap_out(p + len(3 * i), 2, 0));
	}
	map(1024, NR);
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, q, NR, TAG2));
	fd = hold_pages(q, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(reclaim_all(q, NR));
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	for (size_t i = 0; i < NR_VMAS; i++)
		ASSERT_TRUE(is_swap_cached(p + len(3 * i), 2, 0));
	ASSERT_TRUE(is_swap_cached(q, NR, 0));
	ASSERT_TRUE(check(q, NR / 2, TAG2));
	fill(q + len(NR / 2), NR / 2, TAG2 + NR / 2);
	ASSERT_TRUE(swap_out(q, NR, 0));
	close(fd);
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG2));
	/* Those that were held, and those that were not */
	ASSERT_TRUE(check_many(NULL, 0, 0));
	for (size_t i = 0; i < NR_VMAS; i += 2)
		close(fds[i]);
	ASSERT_TRUE(check_unshared(NULL, 0, 0));
	ASSERT_TRUE(reclaim_all(p, 3 * NR_VMAS));
	ASSERT_TRUE(check_many(NULL, 0, 0));
}

/*
 * Large ones keep the mapping that they have, and are to be found by it. Each is
 * faulted in, or pulled to pieces, in another way.
 */
TEST_F_TIMEOUT(anon, unshared_swap_cache_large, 60)
{
	const size_t nr = 16, step = 2 * NR;
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	struct kid *k, *c;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	/* They tell when VMAs go back; as they lie lower they are the first. */
	map_many();
	for (size_t i = 0; i < nr; i++) {
		char *p = map(1024 + i * step, NR);

		if (!fill_large(p, NR, TAG + i * step))
			SKIP(return, "no large folio to be had");
		/* One half is swapped out before it is shared, one after. */
		if (i % 2)
			ASSERT_TRUE(swap_out(p, NR, 0));
	}
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	for (size_t i = 0; i < nr; i += 2)
		ASSERT_TRUE(in(k, check, at(1024 + i * step), NR, TAG + i * step));
	quit(k);
	/* There is a second for that. */
	for (size_t i = 0; i < nr; i += 2)
		ASSERT_TRUE(swap_out(at(1024 + i * step), NR, 0));
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	for (size_t i = 0; i < nr; i++) {
		char *p = at(1024 + i * step);

		ASSERT_TRUE(is_swap_cached(p, NR, 0));
		switch (i / 2 % 4) {
		case 0:
			/* As a whole */
			break;
		case 1:
			/* One half, split off */
			ASSERT_EQ(mprotect(p, len(NR / 2), PROT_READ), 0);
			ASSERT_TRUE(check(p + len(NR / 2), NR / 2,
					  TAG + i * step + NR / 2));
			break;
		case 2:
			/* In two places */
			ASSERT_TRUE(move(p + len(NR / 2), NR / 2,
					 p + len(NR + NR / 4)));
			ASSERT_TRUE(check(p, NR / 2, TAG + i * step));
			ASSERT_TRUE(check(p + len(NR + NR / 4), NR / 2,
					  TAG + i * step + NR / 2));
			ASSERT_TRUE(swap_out(p + len(NR + NR / 4), NR / 2, 0));
			ASSERT_TRUE(move(p + len(NR + NR / 4), NR / 2,
					 p + len(NR / 2)));
			break;
		case 3:
			/* Not all of it, and written to */
			ASSERT_EQ(madvise(p + len(4), len(4), MADV_DONTNEED), 0);
			fill(p + len(4), 4, TAG + i * step + 4);
			break;
		}
		ASSERT_TRUE(check(p, NR, TAG + i * step));
		/* Out again, in pieces and at once */
		ASSERT_TRUE(swap_out_and_check(p + len(3), 7, TAG + i * step + 3));
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG + i * step));
	}
	c = fork_kid(NULL);
	ASSERT_NE(c, NULL);
	for (size_t i = 0; i < nr; i++) {
		char *p = at(1024 + i * step);

		ASSERT_TRUE(in(c, check, p, NR, TAG + i * step));
		ASSERT_TRUE(reclaim_all(p, NR));
		ASSERT_TRUE(check(p, NR, TAG + i * step));
	}
}

/*
 * Pages of KSM that others do not know of any more as they are swapped out when
 * advice is taken back. Those that are in the swap cache are still KSM's.
 */
TEST_F_TIMEOUT(anon, unshared_swap_cache_ksm, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	char *p = at(1024);
	struct kid *k;
	int fd;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!ksm_setup())
		SKIP(return, "no KSM");
	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	map_many();
	map(1024, NR);
	fill_same(p, NR, TAG);
	ASSERT_EQ(madvise(p, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check_same, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_EQ(madvise(p, len(NR), MADV_UNMERGEABLE), 0);
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	ASSERT_TRUE(is_swap_cached(p, NR, 0));
	ASSERT_TRUE(check_same(p, NR / 2, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	close(fd);
	ASSERT_TRUE(check_same(p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/*
 * All pages that KSM has merged have one swap entry, which does not say any more
 * that it was KSM's. Who swaps it in has a page of its own, and the others are to
 * have copies, even if it goes back before they come: in the same process, and in
 * another one that it is not related to by memory.
 */
TEST_F_TIMEOUT(anon, unshared_ksm_swapped, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	struct kid *other = fork_kid(NULL), *k;
	char *p = at(1024);

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!ksm_setup())
		SKIP(return, "no KSM");
	ASSERT_TRUE(in(other, do_map, p, NR, 0));
	ASSERT_TRUE(in(other, fill_same, p, NR, TAG));
	ASSERT_TRUE(in(other, do_advise, p, NR, MADV_MERGEABLE));
	map_many();
	map(1024, NR);
	fill_same(p, NR, TAG);
	ASSERT_TRUE(do_advise(p, NR, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	ASSERT_TRUE(in(other, ksm_merge, p, NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(do_advise(p, NR, MADV_UNMERGEABLE));
	ASSERT_TRUE(in(other, do_advise, p, NR, MADV_UNMERGEABLE));
	ASSERT_TRUE(check(p, 1, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	ASSERT_TRUE(check_same(p, NR / 2, TAG));
	ASSERT_TRUE(in(other, check_same, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check_same(p, NR, TAG));
	fill(p, NR, TAG2);
	ASSERT_TRUE(in(other, check_same, p, NR, TAG));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG2));
	quit(other);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/*
 * The same, in one process: what was moved while it had an anon_vma, and what came
 * to lie in the old place, have the same offsets.
 */
TEST_F_TIMEOUT(anon, unshared_ksm_moved, 60)
{
	long anon_vmas = slab_objects("anon_vma");
	long chains = slab_objects("anon_vma_chain");
	char *p = map(1024, NR), *q = at(2048);
	struct kid *k;

	if (anon_vmas < 0 || chains < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(move(p, NR, q));
	quit(k);
	map_many();
	map(1024, NR);
	fill(p, NR, TAG);
	ASSERT_TRUE(do_advise(p, NR, MADV_MERGEABLE));
	ASSERT_TRUE(do_advise(q, NR, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_merge(p, 2 * NR, 0));
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(reclaim_all(q, NR));
	ASSERT_TRUE(do_advise(p, NR, MADV_UNMERGEABLE));
	ASSERT_TRUE(check(p, NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	quit(k);
	if (variant->on)
		EXPECT_TRUE(wait_for_few(anon_vmas, chains));
	ASSERT_TRUE(check(q, NR, TAG));
	EXPECT_TRUE(reclaim_all(q, NR));
	EXPECT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(q, NR, TAG));
	fill(p, NR, TAG2);
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG2));
}

/* A process that only runs: its stack was moved, its data are a file's. */
TEST_F_TIMEOUT(anon, count_exec, 60)
{
	const int nr = 10;
	long anon_vmas = slab_objects("anon_vma");
	int fd[2];
	pid_t pid;
	char c;

	if (anon_vmas < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	ASSERT_EQ(pipe(fd), 0);
	for (int i = 0; i < nr; i++) {
		pid = vfork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			dup2(fd[1], STDOUT_FILENO);
			execl("/proc/self/exe", "anon_vma_lazy", "--exec-wait", NULL);
			_exit(1);
		}
		ASSERT_EQ(read(fd[0], &c, 1), 1);
		/* The test owns it, to be ended with the others. */
		sh->kid[++sh->nr_kids].pid = pid;
	}
	anon_vmas = slab_objects("anon_vma") - anon_vmas;
	note("%ld anon_vmas for %d processes", anon_vmas, nr);
	EXPECT_EQ(anon_vmas < nr, variant->on);
}

/* Moving makes no VMA more, and no object. */
TEST_F(lazy, count_mremap)
{
	long before;

	before = slab_objects("anon_vma");
	if (before < 0)
		SKIP(return, "no slab of its own, boot with slab_nomerge");
	map_many();
	for (size_t i = 0; i < NR_VMAS; i++)
		ASSERT_TRUE(move(at(8 + 3 * i), 2, at(2000 + 3 * i)));
	ASSERT_TRUE(count_vmas(at(2000), 3 * NR_VMAS, NR_VMAS));
	ASSERT_TRUE(count_vmas(at(8), 3 * NR_VMAS, 0));
	if (variant->on)
		EXPECT_LT(slab_objects("anon_vma") - before, NR_VMAS / 10);
	for (size_t i = 0; i < NR_VMAS; i += 10)
		ASSERT_TRUE(swap_out_and_check(at(2000 + 3 * i), 2, TAG + 3 * i));
}

TEST_F_TIMEOUT(lazy, no_leak, 60)
{
	static const char * const name[] = {
		"anon_vma", "anon_vma_chain", "vm_area_struct", "mm_struct",
	};
	long before[ARRAY_SIZE(name)], now;
	struct kid *k, *c;

	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		before[i] = slab_objects(name[i]);
		if (before[i] < 0)
			SKIP(return, "no slab %s, boot with slab_nomerge", name[i]);
	}
	map_many();
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Split, merge, move and write in child and grandchild */
	ASSERT_TRUE(in(k, do_protect, at(9), 1, PROT_READ));
	ASSERT_TRUE(in(k, do_protect, at(9), 1, PROT_READ | PROT_WRITE));
	for (size_t i = 0; i < NR_VMAS; i += 2)
		ASSERT_TRUE(in(k, do_move, at(8 + 3 * i), 2, 2000 + 3 * i));
	c = fork_kid(k);
	ASSERT_NE(c, NULL);
	for (size_t i = 0; i < NR_VMAS; i += 3)
		ASSERT_TRUE(move(at(8 + 3 * i), 2, at(4000 + 3 * i)));
	for (size_t i = 0; i < NR_VMAS; i += 2)
		ASSERT_TRUE(in(c, fill, at(2000 + 3 * i), 1, TAG));
	quit(k);
	ASSERT_TRUE(churn(4));
	/* Swap, migrate, merge; and go back, in part, before all is gone. */
	ASSERT_TRUE(in(c, do_reclaim_all, at(2000), 3 * NR_VMAS, 0));
	ASSERT_TRUE(in(c, fill, at(2000), 1, TAG));
	ASSERT_TRUE(reclaim_all(at(4000), 3 * NR_VMAS));
	quit(c);
	ASSERT_TRUE(found_by_all(at(4000), 2, TAG));
	if (variant->on)
		sleep(2);
	ASSERT_EQ(munmap(arena, ARENA_SIZE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
		/* RCU may take its time. */
		for (int try = 0; try < 100; try++) {
			now = slab_objects(name[i]);
			if (now < before[i] + NR_VMAS / 10)
				break;
			rcu_settle();
			usleep(50000);
		}
		note("%s: %ld before, %ld after", name[i], before[i], now);
		EXPECT_LT(now, before[i] + NR_VMAS / 10);
	}
}

/* Every allocation fails once, at each of the things a process does. */

static bool fail_nth(int n)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%d", n);
	return put("/proc/thread-self/fail-nth", buf);
}

/* False when the allocation that was to fail did not take place */
static bool did_fail(void)
{
	char buf[16] = "1";

	get("/proc/thread-self/fail-nth", buf, sizeof(buf));
	fail_nth(0);
	return atoi(buf) == 0;
}

static bool fail_setup(void)
{
	return tweak("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") &&
	       tweak("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N") &&
	       tweak("/sys/kernel/debug/fail_page_alloc/min-order", "0") &&
	       /* quietly */
	       tweak("/sys/kernel/debug/failslab/verbose", "0") &&
	       tweak("/sys/kernel/debug/fail_page_alloc/verbose", "0") &&
	       fail_nth(0);
}

TEST_F_TIMEOUT(lazy, fail_mremap, 90)
{
	char *p, *q;
	int n;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	for (n = 1; n < 100; n++) {
		bool failed;

		p = map(8, 3 * NR);
		fill(p, 3 * NR, TAG);
		/* The middle: two splits, a new VMA, a new page table */
		fail_nth(n);
		q = mremap(p + len(NR), len(NR), len(NR),
			   MREMAP_MAYMOVE | MREMAP_FIXED, at(2000));
		failed = did_fail();
		if (q == MAP_FAILED)
			q = p + len(NR);
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
		ASSERT_TRUE(swap_out_and_check(q, NR, TAG + NR));
		ASSERT_TRUE(swap_out_and_check(p + len(2 * NR), NR, TAG + 2 * NR));
		munmap(at(0), ARENA_SIZE);
		if (!failed)
			break;
	}
	note("%d allocations", n - 1);
	ASSERT_LT(n, 100);
	ASSERT_GT(n, 1);
}

/* In a child, where it is upgraded first; each try with another part */
static bool do_failing_moves(char *p, size_t n, unsigned int tag)
{
	char *q;
	int i;

	for (i = 1; i <= 50; i++, p += 2 * len(n), tag += 2 * n) {
		bool failed;

		fill(p, n / 2, tag);
		fail_nth(i);
		q = mremap(p + len(n / 4), len(n / 2), len(n / 2),
			   MREMAP_MAYMOVE | MREMAP_FIXED, at(4000 + i * n));
		failed = did_fail();
		if (q == MAP_FAILED)
			q = p + len(n / 4);
		if (!check(p, n / 4, tag) || !check(q, n / 2, tag + n / 4) ||
		    !check(p + len(3 * n / 4), n / 4, tag + 3 * n / 4) ||
		    !swap_out_and_check(p, n / 4, tag) ||
		    !swap_out_and_check(q, n / 4, tag + n / 4))
			return false;
		if (!failed)
			break;
	}
	note("%d allocations", i - 1);
	return i > 1 && i <= 50;
}

TEST_F_TIMEOUT(lazy, fail_mremap_child, 90)
{
	struct kid *k;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	for (size_t i = 0; i < 50; i++) {
		map(8 + 2 * i * NR, NR);
		fill(at(8 + 2 * i * NR), NR, TAG + 2 * i * NR);
	}
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, do_failing_moves, at(8), NR, TAG));
	ASSERT_TRUE(reclaim_all(at(8), 100 * NR));
	ASSERT_TRUE(in(k, do_reclaim_all, at(4000), 51 * NR, 0));
	for (size_t i = 0; i < 50; i++)
		ASSERT_TRUE(check(at(8 + 2 * i * NR), NR, TAG + 2 * i * NR));
}

/*
 * Move @n pages that @make() makes, once for each allocation that the kernel may
 * fail. Whether they move or not: they are in one VMA, and all is there.
 */
static void fail_moves(struct __test_metadata *_metadata, char *(*make)(size_t n),
		       size_t n, char *to)
{
	int i;

	for (i = 1; i < 100; i++) {
		char *p = make(n), *q;
		bool failed;

		fail_nth(i);
		q = mremap(p, len(n), len(n), MREMAP_MAYMOVE | MREMAP_FIXED, to);
		failed = did_fail();
		if (q == MAP_FAILED)
			q = p;
		ASSERT_TRUE(count_vmas(q, n, 1));
		ASSERT_TRUE(found(q, n, TAG));
		munmap(at(0), ARENA_SIZE);
		if (!failed)
			break;
	}
	note("%d allocations", i - 1);
	ASSERT_LT(i, 100);
	ASSERT_GT(i, 1);
}

static char *make_over_tables(size_t n)
{
	char *p = map(TABLE - n / 2, n);

	fill(p, n, TAG);
	munmap(at(3 * TABLE), len(3 * TABLE));
	return p;
}

/* Part way through a move over a page table border, and back again */
TEST_F_TIMEOUT(lazy, fail_mremap_tables, 90)
{
	const size_t n = 32;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	fail_moves(_metadata, make_over_tables, n, at(4 * TABLE - n / 4));
}

/* It outgrows the limit, and is cut back. */
static char *make_upgraded(size_t n)
{
	size_t big = MB(2) / psize();
	char *p = make_over_tables(n);

	map(TABLE + n / 2, big);
	fill(p + len(n), 1, TAG2);
	munmap(p + len(n), len(big));
	return p;
}

/*
 * The same for one that was upgraded. The destination is regular, as it keeps the
 * offsets, but what does not move as a whole table must not go back as one.
 */
TEST_F_TIMEOUT(lazy, fail_mremap_upgraded, 90)
{
	const size_t n = 32;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	fail_moves(_metadata, make_upgraded, n, at(4 * TABLE - n / 2));
}

/* Whole tables that move to a lazy neighbour: if there is no memory they go back. */
TEST_F(lazy, fail_mremap_back)
{
	const size_t n = 2 * TABLE + NR;
	char *p = at(TABLE), *q = at(8 * TABLE), *to;

	if (len(TABLE) > MB(2))
		SKIP(return, "page tables of large pages");
	if (!fail_setup() ||
	    !tweak("/sys/kernel/debug/fail_page_alloc/task-filter", "Y") ||
	    !tweak("/sys/kernel/debug/fail_page_alloc/times", "-1") ||
	    !tweak("/sys/kernel/debug/fail_page_alloc/probability", "100"))
		SKIP(return, "no fault injection");
	/* Nobody else is to keep the last table there. */
	munmap(p, len(4 * TABLE));
	map(TABLE, n);
	fill(p, n, TAG);
	ASSERT_TRUE(move(p, n, q));
	map(TABLE - NR, NR);
	fill(at(TABLE - NR), NR, TAG2);

	ASSERT_TRUE(put("/proc/thread-self/make-it-fail", "1"));
	to = mremap(q, len(n), len(n), MREMAP_MAYMOVE | MREMAP_FIXED, p);
	ASSERT_TRUE(put("/proc/thread-self/make-it-fail", "0"));
	ASSERT_EQ(to, MAP_FAILED);
	ASSERT_TRUE(check(q, n, TAG));

	ASSERT_TRUE(move(q, n, p));
	ASSERT_TRUE(found(p, n, TAG));
	ASSERT_TRUE(found(at(TABLE - NR), NR, TAG2));
}

TEST_F_TIMEOUT(lazy, fail_fault, 90)
{
	size_t half = MB(1) / psize();
	int n;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	for (n = 1; n < 100; n++) {
		char *p = map(8, NR);
		bool failed;
		int fd;

		/* No fault handler would tell us: read() says EFAULT instead. */
		fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		fail_nth(n);
		read(fd, p, 1);
		failed = did_fail();
		close(fd);
		fill(p, NR, TAG);
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
		munmap(p, len(NR));
		if (!failed)
			break;
	}
	ASSERT_LT(n, 100);
	/* The upgrade of one that grew too large may fail: it stays lazy. */
	for (n = 1; n < 100; n++) {
		char *p = map(8, half);
		bool failed;
		int fd;

		fill(p, NR, TAG);
		map(8 + half, 2 * half);
		fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		fail_nth(n);
		ASSERT_EQ(read(fd, p + len(half), 1), 1);
		failed = did_fail();
		close(fd);
		fill(p + len(half), NR, TAG2);
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
		ASSERT_TRUE(swap_out_and_check(p + len(half), NR, TAG2));
		munmap(p, len(3 * half));
		if (!failed)
			break;
	}
	note("%d allocations", n - 1);
	ASSERT_LT(n, 100);
}

TEST_F_TIMEOUT(lazy, fail_split, 90)
{
	int n;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	for (n = 1; n < 100; n++) {
		char *p = map(8, NR);
		bool failed;

		fill(p, NR, TAG);
		fail_nth(n);
		mprotect(p + len(4), len(4), PROT_READ);
		failed = did_fail();
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
		fail_nth(n);
		mprotect(p + len(4), len(4), PROT_READ | PROT_WRITE);
		failed |= did_fail();
		ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
		fail_nth(n);
		munmap(p + len(8), len(4));
		failed |= did_fail();
		ASSERT_TRUE(swap_out_and_check(p, 8, TAG));
		munmap(p, len(NR));
		if (!failed)
			break;
	}
	note("%d allocations", n - 1);
	ASSERT_LT(n, 100);
	ASSERT_GT(n, 1);
}

/*
 * A fork of a few VMAs.  The whole process is copied, and most of what can
 * fail has nothing to do with us, but some of it comes when a VMA has been copied
 * in part.
 */
TEST_F_TIMEOUT(lazy, fail_fork, 240)
{
	/* With a page table of its own, which may fail to be copied */
	char *p = map(8, NR), *q = map(TABLE + 100, NR);
	int n, failures = 0;

	if (!fail_setup())
		SKIP(return, "no fault injection");
	fill(p, NR, TAG);
	ASSERT_TRUE(swap_out(p, NR / 2, 0));
	for (n = 1; n < 2000; n++) {
		struct kid *k;
		bool failed;

		/* One that is new, and lazy, for each try */
		fill(q, NR, TAG2);
		sh->nr_kids = 0;
		fail_nth(n);
		k = fork_kid(NULL);
		failed = did_fail();
		if (k) {
			quit(k);
		} else {
			failures++;
			ASSERT_TRUE(swap_out(q, NR, 0));
		}
		if (n % 16 == 0)
			ASSERT_TRUE(check(p, NR, TAG));
		map(TABLE + 100, NR);
		if (!failed)
			break;
	}
	note("%d of %d allocations failed a fork", failures, n);
	ASSERT_LT(n, 2000);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

/*
 * As if there was no memory left for anon_vmas. Lazy VMAs do without, what cannot
 * is refused, and nothing is lost in either case.
 */
static bool starve(const char *cache, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache);
	return put(path, on ? "1" : "0");
}

/* A write that the kernel can refuse */
static bool touch(char *p, size_t n, unsigned int tag)
{
	int fd = memfd_create("touch", MFD_CLOEXEC);
	bool ok = fd >= 0;

	for (size_t i = 0; ok && i < n; i++) {
		const unsigned long w[2] = { tag + i, ~(unsigned long)(tag + i) };

		ok = pwrite(fd, w, sizeof(w), 0) == sizeof(w) &&
		     pread(fd, p + len(i), 8, 0) == 8 &&
		     pread(fd, p + len(i + 1) - 8, 8, 8) == 8;
	}
	close(fd);
	return ok;
}

/* Often enough that a leak would show */
static bool do_refused_forks(char *p, size_t n, unsigned int unused)
{
	for (int i = 0; i < 30; i++)
		if (do_fork(NULL, 0, 9))
			return false;
	return true;
}

static bool do_collapse(char *p, size_t n, unsigned int unused)
{
	return !madvise(p, len(n), MADV_COLLAPSE);
}

static bool starved(struct __test_metadata *_metadata, const char *cache, bool on)
{
	/* Small enough to be lazy, with pages of 64 KiB, too */
	const size_t nr_m = 2 * NR - 1;
	size_t big = MB(2) / psize();
	char *p = map(8, NR), *q = map(100, NR), *u = map_prot(116, NR, PROT_READ);
	char *left = map_prot(84, NR, PROT_READ), *m = map(208, nr_m);
	char *ksm = map(300, NR), *huge = map(8 * big, big / 2), *old = map(400, NR);
	const bool chain = !strcmp(cache, "anon_vma_chain");
	bool ok, thp = thp_setup();
	struct kid *k, *c;

	tweak(mthp("enabled"), "never");

	/* What was shared when it was swapped out, and is lazy again */
	fill(old, NR, TAG3);
	swap_out(old, NR, 0);
	k = fork_kid(NULL);
	if (!k)
		return false;
	quit(k);
	if (on)
		sleep(3);
	do_advise(old, NR, MADV_DONTFORK);
	fill(q, NR, TAG2);
	k = fork_kid(NULL);
	if (!k)
		return false;
	fill(p, NR / 2, TAG);
	fill_same(ksm, NR, TAG);
	do_advise(ksm, NR, MADV_MERGEABLE);
	fill(huge, NR, TAG);
	map(8 * big + big / 2, big / 2);
	tweak(mthp("enabled"), "always");

	if (!starve(cache, true))
		return false;
	/* New memory, small or meant to be large */
	EXPECT_EQ(touch(p + len(NR / 2), NR / 2, TAG + NR / 2), true);
	EXPECT_EQ(touch(m, nr_m, TAG3), on);
	EXPECT_FALSE(on && is_large(m));
	/* One that has grown too large to be lazy, and one that is to be huge */
	EXPECT_EQ(touch(huge + len(big / 2), NR, TAG2), true);
	if (thp && on)
		EXPECT_TRUE(!do_collapse(huge, big, 0) && errno == ENOMEM);
	/* Swap entries that might be shared */
	EXPECT_EQ(touch(old, 2, TAG3), !on);
	/* KSM, in the background */
	put("/sys/kernel/mm/ksm/run", "1");
	usleep(300000);
	put("/sys/kernel/mm/ksm/run", "0");
	if (on)
		EXPECT_LE(ksm_get_self_merging_pages(), 0);
	/* A child of each kind */
	EXPECT_TRUE(in(k, touch, q, NR / 2, TAG3));
	EXPECT_TRUE(do_refused_forks(NULL, 0, 0));
	EXPECT_TRUE(in(k, do_refused_forks, NULL, 0, 0));
	EXPECT_EQ(in(k, do_protect, q + len(4), 4, PROT_READ), !chain);
	in(k, do_protect, q + len(4), 4, PROT_READ | PROT_WRITE);
	/* What moves and was forked needs one of its own. */
	ok = in(k, do_move, q + len(4), 4, 2000);
	EXPECT_EQ(ok, !chain && !on);
	if (ok)
		in(k, do_move, at(2000), 4, 104);
	/* Split and merge, on either side */
	do_protect(p + len(4), 4, PROT_READ);
	do_protect(p + len(4), 4, PROT_READ | PROT_WRITE);
	do_protect(q, NR, PROT_READ);
	do_protect(q, NR, PROT_READ | PROT_WRITE);
	do_protect(u, NR, PROT_READ | PROT_WRITE);
	do_protect(left, NR, PROT_READ | PROT_WRITE);
	move(p + len(2), 2, at(2000));
	starve(cache, false);

	EXPECT_TRUE(count_vmas(at(2000), 2, 1) || !on);
	if (on)
		EXPECT_TRUE(move(at(2000), 2, p + len(2)));
	EXPECT_TRUE(reclaim_all(left, 3 * NR));
	EXPECT_TRUE(check(q, NR, TAG2));
	EXPECT_TRUE(in(k, check, q, NR / 2, TAG3));
	EXPECT_TRUE(in(k, check, q + len(NR / 2), NR / 2, TAG2 + NR / 2));
	if (on) {
		EXPECT_TRUE(swap_out_and_check(p, NR, TAG));
		EXPECT_TRUE(swap_out_and_check(m, nr_m, TAG3));
	}
	EXPECT_TRUE(swap_out_and_check(old, NR, TAG3));
	EXPECT_TRUE(swap_out_and_check(huge, NR, TAG));
	EXPECT_TRUE(swap_out_and_check(huge + len(big / 2), NR, TAG2));
	EXPECT_TRUE(check_same(ksm, NR, TAG));
	/* Now everything can be had. */
	EXPECT_TRUE(ksm_merge(ksm, NR, 0));
	EXPECT_TRUE(in(k, do_protect, q + len(4), 4, PROT_READ));
	c = fork_kid(k);
	if (!c)
		return false;
	EXPECT_TRUE(reclaim_all(at(8), 2 * big));
	EXPECT_TRUE(in(c, check, q, NR / 2, TAG3));
	EXPECT_TRUE(check(q, NR, TAG2));
	EXPECT_TRUE(check_same(ksm, NR, TAG));
	quit(k);
	quit(c);
	return !munmap(arena, ARENA_SIZE);
}

TEST_F_TIMEOUT(anon, no_anon_vmas, 60)
{
	static const char * const cache[] = { "anon_vma", "anon_vma_chain" };
	static const char failslab[] = "/sys/kernel/debug/failslab/";
	static const char * const setting[][2] = {
		{ "cache-filter", "Y" }, { "ignore-gfp-wait", "N" }, { "verbose", "0" },
		{ "times", "-1" }, { "probability", "100" },
	};
	long before[2];
	char path[128];

	if (!ksm_setup())
		SKIP(return, "no KSM");
	for (size_t i = 0; i < ARRAY_SIZE(setting); i++) {
		snprintf(path, sizeof(path), "%s%s", failslab, setting[i][0]);
		if (!tweak(path, setting[i][1]))
			SKIP(return, "no %s", path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cache); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache[i]);
		if (!tweak(path, "0"))
			SKIP(return, "no %s, boot with slab_nomerge", path);
	}
	before[0] = slab_objects("anon_vma");
	before[1] = slab_objects("anon_vma_chain");
	for (size_t i = 0; i < ARRAY_SIZE(cache); i++) {
		note("without %s", cache[i]);
		ASSERT_TRUE(starved(_metadata, cache[i], variant->on));
	}
	ASSERT_TRUE(few_more(before, 25, "when all is gone"));
}

/* The system's own mappings */

TEST_F(anon, bad_value)
{
	static const char * const bad[] = { "2", "-1", "x", "1x", "4294967297" };

	if (access(SWITCH, F_OK))
		SKIP(return, "no vm.anon_vma_lazy");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		errno = 0;
		EXPECT_FALSE(put(SWITCH, bad[i]));
		EXPECT_EQ(errno, EINVAL);
		EXPECT_EQ(get_num(SWITCH), variant->on);
	}
	EXPECT_TRUE(put(SWITCH, "0\n"));
	EXPECT_EQ(get_num(SWITCH), 0);
	EXPECT_TRUE(put(SWITCH, "1\n"));
	EXPECT_EQ(get_num(SWITCH), 1);
}

/* What /proc/vmstat counts: each counter for its cause, and only for that */

static const char * const counter_names[] = {
	"prepared", "again", "walk", "contended", "migrate_fail",
	"upgrade_fork", "upgrade_large", "upgrade_size", "upgrade_mremap",
	"upgrade_swap", "upgrade_ksm", "upgrade_device",
	"regular_fork", "regular_mremap", "regular_device",
};

#define NR_COUNTERS	ARRAY_SIZE(counter_names)

static long counters[NR_COUNTERS];

/* -1 if the kernel does not count @name */
static long get_vmstat(const char *name)
{
	char line[256], key[64];
	long value, found = -1;
	FILE *f = fopen("/proc/vmstat", "r");

	while (f && found < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", key, &value) == 2 &&
		    !strcmp(key, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

static long get_counter(const char *name)
{
	char key[80];

	snprintf(key, sizeof(key), "anon_vma_lazy_%s", name);
	return get_vmstat(key);
}

static bool read_counters(long *n)
{
	for (size_t i = 0; i < NR_COUNTERS; i++) {
		n[i] = get_counter(counter_names[i]);
		if (n[i] < 0)
			return false;
	}
	return true;
}

/* How often the kernel has counted @name since @counters were read */
static long counted(const char *name)
{
	for (size_t i = 0; i < NR_COUNTERS; i++)
		if (!strcmp(name, counter_names[i]))
			return get_counter(name) - counters[i];
	return -1;
}

static bool wait_for_count(const char *name)
{
	for (int try = 0; try < 100; try++) {
		if (counted(name) > 0)
			return true;
		usleep(100000);
	}
	note("%s does not move", name);
	return false;
}

/*
 * Did those of the counters move that are in @want, in blanks, and no others? Not
 * those that other processes move all the time.
 */
static bool counted_only(const char *want)
{
	long now[NR_COUNTERS];
	bool ok = true;

	if (!read_counters(now))
		return false;
	for (size_t i = 0; i < NR_COUNTERS; i++) {
		const char *name = counter_names[i];
		char word[70];

		if (!strcmp(name, "prepared") || !strcmp(name, "again") ||
		    !strcmp(name, "walk"))
			continue;
		snprintf(word, sizeof(word), " %s ", name);
		if (now[i] == counters[i] ? !strstr(want, word) :
					    !!strstr(want, word))
			continue;
		note("%s: %ld more", name, now[i] - counters[i]);
		ok = false;
	}
	return ok;
}

FIXTURE(counters)
{
};

FIXTURE_SETUP(counters)
{
	const char *why = setup(true, false);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_TRUE(read_counters(counters));
}

FIXTURE_TEARDOWN(counters)
{
	teardown();
}

TEST_F(counters, prepared)
{
	char *p = map(8, NR);

	ASSERT_TRUE(read_counters(counters));
	fill(p, NR, TAG);
	EXPECT_GE(counted("prepared"), 1);
	ASSERT_TRUE(swap_out(p, NR, 0));
	EXPECT_GE(counted("walk"), NR);
	EXPECT_TRUE(counted_only(""));
	EXPECT_EQ(counted("again"), 0);
	/* Nothing more becomes lazy. */
	ASSERT_TRUE(put(SWITCH, "0"));
	ASSERT_TRUE(read_counters(counters));
	map(100, NR);
	fill(at(100), NR, TAG);
	ASSERT_NE(fork_kid(NULL), NULL);
	EXPECT_EQ(counted("prepared"), 0);
}

/* Smaller than what may be lazy, if there are such pages */
TEST_F(counters, hugetlb)
{
	size_t size = smallest_huge_page();
	char *h = at(MB(4) / psize());

	if (!size || size > MB(2))
		SKIP(return, "no hugetlb, or too large a page");
	if (!map_huge(h, size, "1"))
		SKIP(return, "no huge page");
	ASSERT_TRUE(read_counters(counters));
	fill(h, size / psize(), TAG);
	EXPECT_EQ(counted("prepared"), 0);
	munmap(h, size);
}

TEST_F(counters, fork)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(read_counters(counters));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	EXPECT_GE(counted("prepared"), 1);
	EXPECT_GE(counted("regular_fork"), NR);
	EXPECT_TRUE(counted_only(" upgrade_fork regular_fork "));
	EXPECT_EQ(counted("walk"), 0);
	EXPECT_EQ(counted("again"), 0);
	quit(k);
	EXPECT_TRUE(wait_for_count("again"));
}

/* Not before the last of those who share it is gone */
TEST_F(counters, again)
{
	struct kid *k, *k2;

	fill(map(8, NR), NR, TAG);
	k = fork_kid(NULL);
	k2 = fork_kid(NULL);
	ASSERT_TRUE(k && k2 && read_counters(counters));
	quit(k);
	/* Time for those that can */
	sleep(1);
	EXPECT_EQ(counted("again"), 0);
	quit(k2);
	EXPECT_TRUE(wait_for_count("again"));
	EXPECT_TRUE(counted_only(""));
}

/* What was not written since it was forked is passed on, but not where KSM runs. */
TEST_F(counters, fork_ksm)
{
	struct kid *k, *k2;
	long passed_on;

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill(map(8, NR), NR, TAG);
	k = fork_kid(NULL);
	k2 = fork_kid(NULL);
	ASSERT_TRUE(k && k2 && read_counters(counters));
	ASSERT_NE(fork_kid(k), NULL);
	passed_on = counted("upgrade_fork");
	ASSERT_TRUE(put("/sys/kernel/mm/ksm/run", "1") && read_counters(counters));
	ASSERT_NE(fork_kid(k2), NULL);
	EXPECT_GT(counted("upgrade_fork"), passed_on);
}

/* With the switch at 0 none of those moves that other processes move, either. */
TEST_F(counters, off)
{
	static const char * const names[] = { "prepared", "again", "walk" };
	char *p = map(8, NR);
	struct kid *k;

	ASSERT_TRUE(put(SWITCH, "0"));
	ASSERT_TRUE(read_counters(counters));
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, check, p, NR, TAG));
	quit(k);
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	sleep(1);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		note("%s", names[i]);
		EXPECT_EQ(counted(names[i]), 0);
	}
}

/* What the child has not written it passes on without an anon_vma of its own. */
TEST_F(counters, fork_unwritten)
{
	struct kid *k;

	map_many();
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_NE(fork_kid(k), NULL);
	EXPECT_GE(counted("prepared"), NR_VMAS);
	EXPECT_LT(counted("upgrade_fork"), NR_VMAS);
}

/*
 * @k, who alone shares our memory, exits, and what can goes back to being lazy: one
 * VMA at least. The counters start from there.
 */
static bool go_back(struct kid *k)
{
	if (!k || !read_counters(counters))
		return false;
	quit(k);
	if (!wait_for_count("again"))
		return false;
	/* Then all have been looked at. */
	sleep(1);
	return read_counters(counters);
}

/* Mapped once, as a small folio would be, is what is left of a large one. */
TEST_F(counters, unshared_large_rest)
{
	char *p = map(16, NR);

	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	if (!fill_large(p, NR, TAG))
		SKIP(return, "no large folio to be had");
	ASSERT_EQ(madvise(p + len(1), len(NR - 1), MADV_DONTNEED), 0);
	/* One that can */
	fill(map(2000, 1), 1, TAG3);
	ASSERT_TRUE(go_back(fork_kid(NULL)));
	ASSERT_TRUE(is_large(p));
	ASSERT_TRUE(swap_out(p, 1, 0));
	EXPECT_EQ(counted("walk"), 0);
	ASSERT_TRUE(check(p, 1, TAG));
}

/* KSM would upgrade it again and again. */
TEST_F(counters, unshared_mergeable)
{
	char *p = map(8, NR);

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill(p, NR, TAG);
	ASSERT_TRUE(do_advise(p, NR, MADV_MERGEABLE));
	/* One that can */
	fill(map(2000, 1), 1, TAG3);
	ASSERT_TRUE(go_back(fork_kid(NULL)));
	ASSERT_TRUE(swap_out(p, NR, 0));
	EXPECT_EQ(counted("walk"), 0);
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(counters, wipeonfork)
{
	char *p = map(8, NR);
	struct kid *k;

	/* What has been shared keeps its offsets when it moves, the copy does not. */
	fill(p, NR, TAG);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	quit(k);
	ASSERT_TRUE(move(p, NR, at(100)));
	p = at(100);
	ASSERT_EQ(madvise(p, len(NR), MADV_WIPEONFORK), 0);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* By now it has written elsewhere what a new process writes. */
	ASSERT_TRUE(in(k, check_zero, p, NR, 0));
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(in(k, fill, p, NR, TAG2));
	EXPECT_GE(counted("prepared"), 1);
	ASSERT_TRUE(in(k, swap_out_and_check, p, NR, TAG2));
}

TEST_F(counters, large)
{
	char *p = map(16, 2 * NR);

	fill(p, NR, TAG);
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	ASSERT_TRUE(read_counters(counters));
	if (!fill_large(p + len(NR), NR, TAG + NR))
		SKIP(return, "no large folio to be had");
	EXPECT_EQ(counted("upgrade_large"), 1);
	EXPECT_TRUE(counted_only(" upgrade_large "));
}

TEST_F(counters, large_swapin)
{
	char *p = map(16, 2 * NR), *q;

	fill(p, 2 * NR, TAG);
	if (!mthp_setup())
		SKIP(return, "no large folios of that size");
	q = swap_out_to_be_large(p);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(check(q, 2 * NR, TAG));
	if (!is_large(at(128)))
		SKIP(return, "no large folio to be had");
	EXPECT_EQ(counted("upgrade_large"), 1);
	EXPECT_TRUE(counted_only(" upgrade_large "));
}

TEST_F(counters, large_collapse)
{
	size_t n = MB(2) / psize();
	char *p;

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	p = map_half_grown(n, n / 4, TAG);
	ASSERT_TRUE(read_counters(counters));
	if (madvise(p, len(n), MADV_COLLAPSE))
		SKIP(return, "no collapse: %s", strerror(errno));
	EXPECT_EQ(counted("upgrade_large"), 1);
	EXPECT_TRUE(counted_only(" upgrade_large "));
}

TEST_F(counters, large_uffd_move)
{
	size_t n = MB(2) / psize();
	char *p = map(n, n), *q = map_half_grown(3 * n, NR, TAG2);
	int fd = open_uffd(UFFD_FEATURE_MOVE);

	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	ASSERT_EQ(madvise(q, len(n), MADV_DONTNEED), 0);
	ASSERT_EQ(madvise(p, len(n), MADV_HUGEPAGE), 0);
	fill(p, n, TAG);
	if (!is_huge(p))
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(uffd_register(fd, q, len(n), true, false, false), 0);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(uffd_move(fd, q, p, n));
	EXPECT_EQ(counted("upgrade_large"), 1);
	EXPECT_TRUE(counted_only(" upgrade_large "));
	close(fd);
}

TEST_F(counters, size)
{
	size_t half = MB(1) / psize();
	char *p = map(8, half);

	fill(p, half, TAG);
	map(8 + half, half);
	ASSERT_TRUE(read_counters(counters));
	fill(p + len(half), half, TAG);
	EXPECT_EQ(counted("upgrade_size"), 1);
	EXPECT_TRUE(counted_only(" upgrade_size "));
}

/*
 * The huge zero page is replaced without another look at the VMA. So this must be
 * done with when it is mapped, even if there is no memory to do it in time.
 */
TEST_F_TIMEOUT(counters, huge_zero, 60)
{
	size_t n = MB(2) / psize();
	bool failed = true;
	char *p;

	if (!thp_setup())
		SKIP(return, "no THP of 2 MB");
	fail_setup();
	for (int i = 1; failed && i < 50; i++) {
		bool zero;

		p = map_grown(n);
		ASSERT_EQ(madvise(p - len(NR), len(NR + n), MADV_HUGEPAGE), 0);
		ASSERT_TRUE(read_counters(counters));
		fail_nth(i);
		FORCE_READ(*p);
		failed = did_fail();
		zero = is_huge_zero(p);
		if (!failed && !zero)
			SKIP(return, "no huge zero page to be had");
		if (zero)
			ASSERT_EQ(counted("upgrade_size") + counted("upgrade_large"), 1);
		fill(p, n, TAG2);
		ASSERT_EQ(is_huge(p - len(NR)), zero);
		ASSERT_EQ(counted("upgrade_size") + counted("upgrade_large"), 1);
		ASSERT_TRUE(swap_out_and_check(p, n, TAG2));
		ASSERT_TRUE(swap_out_and_check(p - len(NR), NR, TAG));
	}
	ASSERT_FALSE(failed);
}

/* A lazy VMA that was never shared moves for nothing. */
TEST_F(counters, mremap)
{
	char *p = map(8, NR);
	struct kid *k;

	fill(p, NR, TAG);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(do_move(p, NR, 100));
	EXPECT_TRUE(counted_only(""));
	p = at(100);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, fill, p, NR / 4, TAG2));
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(in(k, do_move, p, NR, 200));
	EXPECT_EQ(counted("upgrade_mremap"), 1);
	EXPECT_EQ(counted("regular_mremap"), NR / 4);
	EXPECT_TRUE(counted_only(" upgrade_mremap regular_mremap "));
}

/* Pages that were lazy when their VMA grew, and move with their page table */
TEST_F(counters, mremap_grown)
{
	size_t n = MB(2) / psize();
	char *p = map_half_grown(n, n / 4, TAG);

	fill(p + len(n / 2), 1, TAG2);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(move(p, n, at(4 * n)));
	EXPECT_EQ(counted("regular_mremap"), n / 4);
	EXPECT_TRUE(counted_only(" regular_mremap "));
	ASSERT_TRUE(swap_out_and_check(at(4 * n), n / 4, TAG));
}

/*
 * Pages in swap whose entries say that they may be shared, in a VMA that is lazy
 * again as the other process is gone. The counters start from there.
 */
static bool swap_was_shared(char *p, size_t n)
{
	struct kid *k;

	fill(p, n, TAG);
	k = fork_kid(NULL);
	return k && reclaim_all(p, n) && go_back(k);
}

/* Not shared any more when it comes back, but the swap entries do not know. */
TEST_F(counters, swap)
{
	char *p = map(8, NR);

	ASSERT_TRUE(swap_was_shared(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
	EXPECT_GE(counted("upgrade_swap"), 1);
	EXPECT_TRUE(counted_only(" upgrade_swap "));
}

/* What lies in the swap cache under the address it had before is not copied. */
TEST_F(counters, swap_moved)
{
	const long copies = get_vmstat("ksm_swpin_copy");
	char *p = map(8, NR), *q = at(100);
	int fd;

	if (copies < 0)
		SKIP(return, "no KSM");
	fill(p, NR, TAG);
	fd = hold_pages(p, NR);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(swap_out(p, NR, 0));
	ASSERT_TRUE(move(p, NR, q));
	ASSERT_TRUE(is_swap_cached(q, NR, 0));
	ASSERT_TRUE(check(q, NR, TAG));
	EXPECT_EQ(get_vmstat("ksm_swpin_copy"), copies);
	close(fd);
	ASSERT_TRUE(swap_out_and_check(q, NR, TAG));
}

/* Nor is what another thread was faster to swap in, and has mapped at this address. */
static void *check_all(void *arg)
{
	struct writer *w = arg;

	return check(w->p, w->n, TAG) ? arg : NULL;
}

TEST_F_TIMEOUT(counters, swap_raced, 60)
{
	const long copies = get_vmstat("ksm_swpin_copy");
	const size_t n = 256;
	char *p = map(8, n);
	struct writer w[3];
	void *ret;

	if (copies < 0)
		SKIP(return, "no KSM");
	if (!disk_swap())
		SKIP(return, "no loop device to swap to");
	fill(p, n, TAG);
	for (int try = 0; try < 20; try++) {
		/* Twice: the first time leaves them in the swap cache. */
		ASSERT_TRUE(swap_out(p, n, 0));
		ASSERT_TRUE(swap_out(p, n, 0));
		for (size_t i = 0; i < ARRAY_SIZE(w); i++)
			ASSERT_TRUE(start_thread(&w[i], check_all, p, n));
		for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
			pthread_join(w[i].thread, &ret);
			EXPECT_NE(ret, NULL);
		}
	}
	EXPECT_EQ(get_vmstat("ksm_swpin_copy"), copies);
}

/* The upgrade needs the mmap_lock, which another thread holds more often than not. */
static void *check_some(void *arg)
{
	for (size_t i = (size_t)arg - 1; i < NR_VMAS; i += 3)
		if (!check(at(8 + 3 * i), 2, TAG + 3 * i))
			return NULL;
	return arg;
}

TEST_F_TIMEOUT(counters, swap_contended, 60)
{
	char *q = map(2000, 256);
	pthread_t thread[3];
	struct writer w;
	struct kid *k;
	void *ret;

	map_many();
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(reclaim_all(at(8), 3 * NR_VMAS));
	ASSERT_TRUE(read_counters(counters));
	quit(k);
	for (int try = 0; counted("again") < NR_VMAS && try < 100; try++)
		usleep(100000);
	ASSERT_GE(counted("again"), NR_VMAS);
	fill(q, 256, TAG2);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(start_writer(&w, q, 256));
	for (size_t i = 1; i <= 3; i++)
		pthread_create(&thread[i - 1], NULL, check_some, (void *)i);
	for (size_t i = 0; i < 3; i++) {
		pthread_join(thread[i], &ret);
		EXPECT_NE(ret, NULL);
	}
	ASSERT_TRUE(stop_writer(&w));
	EXPECT_EQ(counted("upgrade_swap"), NR_VMAS);
	EXPECT_TRUE(counted_only(" upgrade_swap "));
	ASSERT_TRUE(check_unshared(NULL, 0, 0));
}

/* Not exclusive while it is written, but nobody else's: lazy in a child. */
static bool read_early(char *p, size_t n, unsigned int tag)
{
	fill(p, n, tag);
	madvise(p, len(n), MADV_PAGEOUT);
	return check(p, n, tag);
}

TEST_F(counters, swap_stable_writes)
{
	const char *why = stable_disk_swap();
	char *p = map(8, NR);
	struct kid *k;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_TRUE(rewrite_early(p, NR, TAG));
	if (nr_hits < NR)
		SKIP(return, "never early enough");
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_TRUE(in(k, read_early, p, NR, TAG2));
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(in(k, swap_out, p, NR, 0));
	EXPECT_GE(counted("walk"), NR);
	ASSERT_TRUE(in(k, check, p, NR, TAG2));
}

TEST_F(counters, swapoff)
{
	char *p = map(8, NR);

	if (!may_swapoff())
		SKIP(return, "swap is not on one zram alone");
	ASSERT_TRUE(swap_was_shared(p, NR));
	ASSERT_TRUE(swap_cycle());
	EXPECT_GE(counted("upgrade_swap"), 1);
	EXPECT_TRUE(counted_only(" upgrade_swap "));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
}

TEST_F(counters, ksm)
{
	char *p = map(8, NR);

	if (!ksm_setup())
		SKIP(return, "no KSM");
	fill_same(p, NR, TAG);
	ASSERT_EQ(madvise(p, len(NR), MADV_MERGEABLE), 0);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(ksm_merge(p, NR, 0));
	EXPECT_EQ(counted("upgrade_ksm"), 1);
	EXPECT_TRUE(counted_only(" upgrade_ksm "));
}

TEST_F(counters, device)
{
	char *p = map(8, NR), *buf = map(100, NR);
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no test_hmm");
	fill(p, NR, TAG);
	fill(buf, NR, TAG2);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(dmirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, NR, buf));
	EXPECT_EQ(counted("upgrade_device"), 1);
	EXPECT_EQ(counted("regular_device"), NR);
	EXPECT_TRUE(counted_only(" upgrade_device regular_device "));
	close(fd);
}

/* While its owner changes a VMA others can neither reclaim nor migrate its pages. */
TEST_F_TIMEOUT(counters, contended, 60)
{
	size_t n = MB(1) / psize();
	char *p = at(8), path[PATH_MAX + 20];
	int nodes[NR], status[NR];
	pid_t pid;

	if (!have_node1())
		SKIP(return, "one node");
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map(8, n);
		fill(p, n, TAG);
		for (;;) {
			mprotect(p, len(n), PROT_READ);
			mprotect(p, len(n), PROT_READ | PROT_WRITE);
		}
	}
	sh->kid[++sh->nr_kids].pid = pid;
	ASSERT_TRUE(read_counters(counters));
	snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
	for (int try = 0; try < 2000 && !counted("contended"); try++)
		put(path, "100K swappiness=max");
	EXPECT_TRUE(counted_only(" contended "));

	ASSERT_TRUE(read_counters(counters));
	for (int try = 0; try < 2000 && !counted("migrate_fail"); try++) {
		for (int i = 0; i < NR; i++)
			nodes[i] = try % 2;
		for (size_t i = 0; i < n; i += NR)
			move_pages(pid, p + len(i), NR, nodes, status);
	}
	EXPECT_TRUE(counted_only(" contended migrate_fail "));
	EXPECT_GE(counted("contended"), counted("migrate_fail"));
}

/* What happens in this process, in an instance of its own until the test ends */
static bool start_trace(const char *events)
{
	char path[PATH_MAX + 64], pid[16];

	snprintf(tracing, sizeof(tracing),
		 "/sys/kernel/tracing/instances/anon_vma_lazy.%d", getpid());
	if (mkdir(tracing, 0755)) {
		*tracing = '\0';
		return false;
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(path, sizeof(path), "%s/set_event_pid", tracing);
	if (!put(path, pid))
		return false;
	snprintf(path, sizeof(path), "%s/events/%s/enable", tracing, events);
	return put(path, "1");
}

static FILE *open_trace(void)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/trace", tracing);
	return fopen(path, "r");
}

static bool __printf(1, 2) traced(const char *fmt, ...)
{
	char want[256], line[512];
	FILE *f = open_trace();
	bool found = false;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, want);
	if (f)
		fclose(f);
	if (!found)
		note("not traced: %s", want);
	return found;
}

TEST_F_TIMEOUT(counters, tracepoints, 60)
{
	const size_t n = MB(1) / psize();
	char *p = map(8, NR), *q = map(2000, n), path[PATH_MAX + 20];
	const unsigned long start = (unsigned long)p, end = start + len(NR);
	struct writer w;

	if (!start_trace("anon_vma_lazy"))
		SKIP(return, "no tracing");
	fill(p, NR, TAG);
	EXPECT_TRUE(traced("anon_vma_lazy_prepare: start=0x%lx end=0x%lx\n",
			   start, end));
	ASSERT_NE(fork_kid(NULL), NULL);
	EXPECT_TRUE(traced("anon_vma_lazy_upgrade: start=0x%lx end=0x%lx cause=fork\n",
			   start, end));
	fill(q, n, TAG);
	map(2000 + n, n);
	fill(q + len(n), 1, TAG);
	EXPECT_TRUE(traced("anon_vma_lazy_upgrade: start=0x%lx end=0x%lx cause=size\n",
			   (unsigned long)q, (unsigned long)q + len(2 * n)));
	ASSERT_EQ(munmap(q, len(2 * n)), 0);
	q = map(2000, n);

	fill(q, n, TAG);
	snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
	ASSERT_TRUE(read_counters(counters));
	ASSERT_TRUE(start_writer(&w, q, n));
	for (int i = 0; i < 1000 && !counted("contended"); i++) {
		put(path, "100K swappiness=max");
		check(q, n, TAG);
	}
	ASSERT_TRUE(stop_writer(&w));
	EXPECT_TRUE(traced("anon_vma_lazy_contended: pfn=0x"));
}

/* The VMA of a lazy folio is locked for as long as one folio takes, not for many. */
TEST_F(counters, migrate_at_once)
{
	int under_way = 0, nr = 0;
	char *p = map(8, NR);
	char line[512];
	FILE *f;

	if (!have_node1())
		SKIP(return, "one node only");
	if (!start_trace("migrate"))
		SKIP(return, "no tracing");
	fill(p, NR, TAG);
	ASSERT_TRUE(move_to_node(p, NR, 0));
	ASSERT_TRUE(move_to_node(p, NR, 1));
	f = open_trace();
	ASSERT_NE(f, NULL);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, " remove_migration_pte: ")) {
			under_way--;
		} else if (strstr(line, " set_migration_pte: ")) {
			nr++;
			EXPECT_EQ(++under_way, 1);
		}
	}
	fclose(f);
	EXPECT_GE(nr, NR);
}

/* Found by name, as the kernel and the C library know them */
static bool find_map(const char *name, unsigned long *start, unsigned long *end,
		     unsigned int *nr)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	*nr = 0;
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, name) && sscanf(line, "%lx-%lx", start, end) == 2)
			++*nr;
	if (f)
		fclose(f);
	return *nr;
}

TEST_F(anon, brk)
{
	unsigned long start, end;
	unsigned int nr, nr2;
	struct kid *k;
	char *p;

	p = sbrk(0);
	ASSERT_NE(sbrk(psize() - ((unsigned long)p & (psize() - 1))), (void *)-1);
	ASSERT_TRUE(find_map("[heap]", &start, &end, &nr));
	p = sbrk(len(NR));
	ASSERT_NE(p, (void *)-1);
	fill(p, NR, TAG);
	ASSERT_EQ(sbrk(len(NR)), p + len(NR));
	fill(p + len(NR), NR, TAG + NR);
	ASSERT_TRUE(swap_out_and_check(p, 2 * NR, TAG));
	ASSERT_TRUE(find_map("[heap]", &start, &end, &nr2));
	ASSERT_EQ(nr, nr2);
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	ASSERT_NE(sbrk(MB(3)), (void *)-1);
	fill(p + len(2 * NR), NR, TAG + 2 * NR);
	ASSERT_TRUE(reclaim_all(p, 3 * NR));
	ASSERT_TRUE(check(p, 3 * NR, TAG));
	ASSERT_TRUE(in(k, check, p, 2 * NR, TAG));
	ASSERT_NE(sbrk(-(long)(MB(3) + len(NR))), (void *)-1);
	ASSERT_TRUE(reclaim_all(p, NR));
	ASSERT_TRUE(check(p, NR, TAG));
}

TEST_F(anon, stack_grows)
{
	char *top = at(1000), *p = top - len(NR);
	struct kid *k;

	ASSERT_EQ(munmap(arena, len(1000)), 0);
	ASSERT_EQ(mmap(top - psize(), psize(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN,
		       -1, 0), top - psize());
	for (int i = NR - 1; i >= 0; i--)
		fill(p + len(i), 1, TAG + i);
	ASSERT_TRUE(count_vmas(p, NR, 1));
	ASSERT_TRUE(swap_out_and_check(p, NR, TAG));
	k = fork_kid(NULL);
	ASSERT_NE(k, NULL);
	/* Each of them grows it on its own. */
	fill(p - len(4), 4, TAG2);
	ASSERT_TRUE(in(k, fill, p - len(8), 8, TAG3));
	ASSERT_TRUE(reclaim_all(p - len(8), NR + 8));
	ASSERT_TRUE(check(p - len(4), 4, TAG2));
	ASSERT_TRUE(check(p, NR, TAG));
	ASSERT_TRUE(in(k, check, p - len(8), 8, TAG3));
	ASSERT_TRUE(in(k, check, p, NR, TAG));
}

/* Pages above the stack pointer: what exec put there */
static int exec_child(int argc, char **argv)
{
	unsigned long start, end, mask = psize() - 1;
	unsigned int nr;
	char *p = (char *)(((unsigned long)argv[2] + mask) & ~mask);
	char *last = argv[argc - 1] + strlen(argv[argc - 1]);
	size_t n = (last - p) / psize();

	if (!find_map("[stack]", &start, &end, &nr) || nr != 1)
		return 2;
	/* The stack was moved down, and what is on it must be found there. */
	if (n > 8 && !swap_out(p, n, 0))
		return 3;
	for (int i = 2; i < argc; i++) {
		char want = 'a' + i % 26;

		for (char *c = argv[i]; *c; c++)
			if (*c != want)
				return 4;
	}
	/* And grown */
	{
		char buf[512 * 1024];

		for (size_t i = 0; i < sizeof(buf); i += psize())
			buf[i] = i / psize();
		swap_out((char *)(((unsigned long)buf + mask) & ~mask),
			 sizeof(buf) / psize() - 20, 0);
		for (size_t i = 0; i < sizeof(buf); i += psize())
			if (buf[i] != (char)(i / psize()))
				return 5;
	}
	return 0;
}

static int exec_args(int nr, size_t size)
{
	char **argv = calloc(nr + 3, sizeof(*argv));
	int status;
	pid_t pid;

	argv[0] = "anon_vma_lazy";
	argv[1] = "--exec-child";
	for (int i = 2; i < nr + 2; i++) {
		argv[i] = malloc(size);
		memset(argv[i], 'a' + i % 26, size - 1);
		argv[i][size - 1] = '\0';
	}
	pid = fork();
	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(anon, exec)
{
	ASSERT_EQ(exec_args(1, 16), 0);
	ASSERT_EQ(exec_args(4, 100 * 1024), 0);
}

static bool allow_huge_argv(struct __test_metadata *_metadata)
{
	struct rlimit rl;

	ASSERT_EQ(getrlimit(RLIMIT_STACK, &rl), 0);
	rl.rlim_cur = MB(64);
	return !setrlimit(RLIMIT_STACK, &rl);
}

/* Larger than what is lazy already when it is moved */
TEST_F(anon, exec_huge_argv)
{
	if (!allow_huge_argv(_metadata))
		SKIP(return, "stack limit is too low");
	ASSERT_EQ(exec_args(40, 100 * 1024), 0);
}

/* The first of the arguments were lazy when the stack grew too large for that. */
TEST_F(counters, exec_huge_argv)
{
	if (!allow_huge_argv(_metadata))
		SKIP(return, "stack limit is too low");
	ASSERT_TRUE(read_counters(counters));
	ASSERT_EQ(exec_args(1, 16), 0);
	EXPECT_EQ(counted("regular_mremap"), 0);
	ASSERT_EQ(exec_args(40, 100 * 1024), 0);
	EXPECT_GE(counted("regular_mremap"), 1);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--exec-child"))
		return exec_child(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "--exec-wait")) {
		putchar('.');
		fflush(stdout);
		pause();
	}
	return test_harness_run(argc, argv);
}
