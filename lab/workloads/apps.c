// SPDX-License-Identifier: GPL-2.0
/*
 * apps: a zygote and its apps, as on a phone.
 *
 * One process maps and touches many small private VMAs, anonymous and of a
 * file, and forks children; each writes to a part of what it inherited and
 * maps and touches VMAs of its own. When all are ready a command takes a
 * snapshot. With --mremap every process then moves every VMA elsewhere, and
 * the command runs again. At the end each process checks every byte it knows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

/* In pages of the file: every private file mapping starts somewhere in it. */
#define FILE_PAGES	64

struct area {
	char *addr;
	size_t size;
	bool anon;
	int prot;
	size_t pgoff;		/* of a file mapping */
	unsigned int id;	/* no two areas of a process have the same */
	unsigned int owner;	/* who wrote last: 0 the zygote, else a child */
};

static unsigned int nr_inherited = 600;
static unsigned int nr_children = 24;
static unsigned int nr_own = 300;
static unsigned int rewrite = 4;
static unsigned int max_pages = 8;
static unsigned int touch_pages = 2;
static unsigned int limit = 300;
static bool adjacent, move;
static const char *command;

static size_t page_size;
static int file = -1;
static unsigned int self;	/* 0: the zygote */

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "apps: process %u: %s\n", self, text);
	exit(1);
}

#define die_errno(fmt, ...) \
	die(fmt ": %s", ##__VA_ARGS__, strerror(errno))

static size_t gap(void)
{
	return adjacent ? 0 : page_size;
}

/*
 * Find an address range with nothing in it and leave it empty. This process
 * has one thread and maps nothing else before the range is filled.
 */
static char *free_window(const struct area *areas, unsigned int nr)
{
	size_t size = page_size;
	char *p;

	for (unsigned int i = 0; i < nr; i++)
		size += areas[i].size + gap();
	/* One page on either side: the window's ends meet no neighbour. */
	p = mmap(NULL, size + page_size, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		die_errno("cannot find %zu free bytes", size);
	if (munmap(p, size + page_size))
		die_errno("munmap");
	return p + page_size;
}

/*
 * Without gaps no two neighbours may merge: anonymous next to anonymous differ
 * in protection, file next to file have offsets that do not follow.
 */
static void plan(struct area *areas, unsigned int nr, unsigned int first_id)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct area *a = &areas[i];

		a->size = (1 + i % max_pages) * page_size;
		a->prot = PROT_READ | PROT_WRITE;
		if (adjacent) {
			a->anon = i % 4 < 2;
			if (i % 4 == 1)
				a->prot |= PROT_EXEC;
		} else {
			a->anon = i % 2;
		}
		if (!a->anon)
			a->pgoff = (i * 2 + max_pages) %
				   (FILE_PAGES - max_pages);
		a->id = first_id + i;
		a->owner = self;
	}
}

static uint64_t stamp(const struct area *a, size_t page, unsigned int owner)
{
	return 0x5a00000000000000ull | (uint64_t)owner << 40 |
	       (uint64_t)a->id << 8 | page;
}

static uint64_t file_stamp(size_t page)
{
	return 0xf17e000000000000ull | page;
}

static size_t touched(const struct area *a)
{
	size_t pages = a->size / page_size;

	return pages < touch_pages ? pages : touch_pages;
}

static void write_to(struct area *a)
{
	a->owner = self;
	for (size_t i = 0; i < touched(a); i++)
		*(volatile uint64_t *)(a->addr + i * page_size) =
			stamp(a, i, self);
}

static void map_and_touch(struct area *areas, unsigned int nr,
			  unsigned int first_id)
{
	char *next;

	plan(areas, nr, first_id);
	next = free_window(areas, nr);
	for (unsigned int i = 0; i < nr; i++) {
		struct area *a = &areas[i];
		char *p;

		p = mmap(next, a->size, a->prot,
			 MAP_PRIVATE | MAP_FIXED_NOREPLACE |
			 (a->anon ? MAP_ANONYMOUS : 0),
			 a->anon ? -1 : file,
			 a->anon ? 0 : a->pgoff * page_size);
		if (p != next)
			die_errno("mmap of VMA %u of %u at %p", i, nr, next);
		a->addr = p;
		next += a->size + gap();
		write_to(a);
	}
}

static void move_all(struct area *areas, unsigned int nr)
{
	char *next = free_window(areas, nr);

	for (unsigned int i = 0; i < nr; i++) {
		struct area *a = &areas[i];

		if (mremap(a->addr, a->size, a->size,
			   MREMAP_MAYMOVE | MREMAP_FIXED, next) != next)
			die_errno("mremap of VMA %u of %u to %p", i, nr, next);
		a->addr = next;
		next += a->size + gap();
	}
}

/* Every page written, and in a file's mapping the rest of the page too. */
static void check_all(const struct area *areas, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		const struct area *a = &areas[i];

		for (size_t p = 0; p < touched(a); p++) {
			const uint64_t *at =
				(const void *)(a->addr + p * page_size);
			uint64_t tail = a->anon ? 0 : file_stamp(a->pgoff + p);

			if (at[0] != stamp(a, p, a->owner) || at[1] != tail)
				die("VMA %u of %u, page %zu at %p holds %#llx %#llx, not %#llx %#llx",
				    i, nr, p, (void *)at,
				    (unsigned long long)at[0],
				    (unsigned long long)at[1],
				    (unsigned long long)stamp(a, p, a->owner),
				    (unsigned long long)tail);
		}
	}
}

static void make_file(void)
{
	char name[] = "/tmp/apps.XXXXXX";

	file = mkstemp(name);
	if (file < 0)
		die_errno("%s", name);
	unlink(name);
	for (size_t page = 0; page < FILE_PAGES; page++) {
		const uint64_t words[2] = { 0, file_stamp(page) };

		if (pwrite(file, words, sizeof(words), page * page_size) !=
		    sizeof(words))
			die_errno("%s", name);
	}
	if (ftruncate(file, FILE_PAGES * page_size))
		die_errno("%s", name);
}

/* One letter each way: 'r' ready, 'm' move, 'c' check and end. */
static char get(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char c;
	int n;

	n = poll(&pfd, 1, limit * 1000);
	if (n == 0)
		die("no answer from %s in %u s", self ? "the zygote" : "a child",
		    limit);
	if (n < 0)
		die_errno("poll");
	if (read(fd, &c, 1) == 1)
		return c;
	if (self)
		_exit(1);	/* the zygote has said why it ended */
	die("a child is gone");
}

static void put(int fd, char c)
{
	if (send(fd, &c, 1, MSG_NOSIGNAL) != 1)
		die_errno("cannot send '%c'", c);
}

static void __attribute__((noreturn))
child(int fd, struct area *inherited, struct area *own)
{
	char c;

	for (unsigned int i = 0; i < nr_inherited; i++)
		if ((i + self) % rewrite == 0)
			write_to(&inherited[i]);
	map_and_touch(own, nr_own, nr_inherited);
	put(fd, 'r');
	do {
		c = get(fd);
		if (c == 'm') {
			move_all(inherited, nr_inherited);
			move_all(own, nr_own);
		} else {
			check_all(inherited, nr_inherited);
			check_all(own, nr_own);
		}
		put(fd, 'r');
	} while (c != 'c');
	_exit(0);
}

static void snapshot(const char *phase)
{
	int status;

	if (!command)
		return;
	/* Output of the command goes where ours goes. */
	fflush(stdout);
	if (setenv("APPS_PHASE", phase, 1))
		die_errno("setenv");
	/* posix_spawn() underneath: nothing of ours is copied by a fork. */
	status = system(command);
	if (status < 0)
		die_errno("%s", command);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("snapshot command '%s' failed (status %#x)", command,
		    status);
}

static void all(const int *fds, char c)
{
	for (unsigned int i = 0; i < nr_children; i++)
		put(fds[i], c);
	for (unsigned int i = 0; i < nr_children; i++)
		get(fds[i]);
}

static void usage(void)
{
	puts("usage: apps [option...]\n"
	     "A zygote with private VMAs and children that share them.\n\n"
	     "  --vmas N       VMAs that the zygote maps and touches (600)\n"
	     "  --children N   processes forked (24)\n"
	     "  --own N        VMAs that each child maps and touches (300)\n"
	     "  --rewrite N    a child writes to every Nth inherited VMA (4)\n"
	     "  --pages N      VMAs have 1 to N pages (8)\n"
	     "  --touch N      pages written in each, at most (2)\n"
	     "  --adjacent     no gaps: neighbours that cannot merge\n"
	     "  --mremap       then move every VMA in every process\n"
	     "  --snapshot CMD run when all are ready, and when all have moved,\n"
	     "                 with APPS_PHASE=touched or moved\n"
	     "  --timeout S    for each answer of a child (300)\n"
	     "  --help         this text");
}

static unsigned int number(const char *name, const char *text,
			   unsigned int min, unsigned int max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (errno || *end || end == text || *text == '-' || n < min || n > max) {
		fprintf(stderr, "apps: --%s: '%s' is not a number from %u to %u\n",
			name, text, min, max);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "vmas", required_argument, NULL, 'v' },
		{ "children", required_argument, NULL, 'c' },
		{ "own", required_argument, NULL, 'o' },
		{ "rewrite", required_argument, NULL, 'r' },
		{ "pages", required_argument, NULL, 'p' },
		{ "touch", required_argument, NULL, 't' },
		{ "adjacent", no_argument, NULL, 'a' },
		{ "mremap", no_argument, NULL, 'm' },
		{ "snapshot", required_argument, NULL, 's' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int opt, i;

	while ((opt = getopt_long(argc, argv, "h", options, &i)) != -1) {
		switch (opt) {
		case 'v':
			nr_inherited = number("vmas", optarg, 1, 30000);
			break;
		case 'c':
			nr_children = number("children", optarg, 1, 1000);
			break;
		case 'o':
			nr_own = number("own", optarg, 1, 30000);
			break;
		case 'r':
			rewrite = number("rewrite", optarg, 1, 30000);
			break;
		case 'p':
			max_pages = number("pages", optarg, 1, FILE_PAGES / 2);
			break;
		case 't':
			touch_pages = number("touch", optarg, 1, FILE_PAGES / 2);
			break;
		case 'a':
			adjacent = true;
			break;
		case 'm':
			move = true;
			break;
		case 's':
			command = optarg;
			break;
		case 'T':
			limit = number("timeout", optarg, 1, 100000);
			break;
		case 'h':
			usage();
			exit(0);
		default:
			exit(2);
		}
	}
	if (optind != argc) {
		fprintf(stderr, "apps: no arguments are taken, see --help\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct area *inherited, *own;
	int *fds;

	parse(argc, argv);
	page_size = sysconf(_SC_PAGESIZE);
	inherited = calloc(nr_inherited, sizeof(*inherited));
	own = calloc(nr_own, sizeof(*own));
	fds = calloc(nr_children, sizeof(*fds));
	if (!inherited || !own || !fds)
		die_errno("calloc");

	make_file();
	map_and_touch(inherited, nr_inherited, 0);

	for (unsigned int i = 0; i < nr_children; i++) {
		int pair[2];
		pid_t pid;

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			die_errno("socketpair");
		fflush(NULL);
		pid = fork();
		if (pid < 0)
			die_errno("fork of child %u", i + 1);
		if (!pid) {
			self = i + 1;
			if (prctl(PR_SET_PDEATHSIG, SIGKILL))
				die_errno("prctl");
			close(pair[0]);
			child(pair[1], inherited, own);
		}
		close(pair[1]);
		fds[i] = pair[0];
	}
	for (unsigned int i = 0; i < nr_children; i++)
		get(fds[i]);
	snapshot("touched");

	if (move) {
		move_all(inherited, nr_inherited);
		all(fds, 'm');
		snapshot("moved");
	}

	check_all(inherited, nr_inherited);
	all(fds, 'c');
	for (unsigned int i = 0; i < nr_children; i++) {
		int status;

		if (wait(&status) < 0)
			die_errno("wait");
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			die("a child failed (status %#x)", status);
	}
	return 0;
}
