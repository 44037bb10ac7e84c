// SPDX-License-Identifier: GPL-2.0
/*
 * storm: processes that together write more memory than there is, and fork
 * while it is short.
 *
 * Each has VMAs of 64 KiB to 1 MiB and one of 8 MiB. In every round it visits
 * its pages in random order, checks what each holds and writes every second one
 * anew; halfway it forks a child that checks and writes copies of its own. Every
 * page tells whose it is, which one, and how often it was written, so a page that
 * is lost, stale, or another process's is found.
 */
#define _GNU_SOURCE
#include <err.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

#define PAGE		4096ul
#define BIG_PAGES	2048u
#define FILLED		(PAGE / 4)	/* the rest compresses to nothing */

static unsigned int nr_procs = 6, nr_mb = 480, rounds = 3;

static unsigned int self, nr_pages;
static char **pages;
static uint8_t *version;

/* Words of a page differ, as those of real ones do. */
static uint64_t word(unsigned int owner, unsigned int page, unsigned int i)
{
	uint64_t x = (uint64_t)owner << 48 | (uint64_t)version[page] << 40 |
		     (uint64_t)page << 12 | i;

	return i ? x * 0x9e3779b97f4a7c15ull : x;
}

static void write_page(unsigned int owner, unsigned int page)
{
	uint64_t *p = (uint64_t *)pages[page];

	version[page]++;
	for (unsigned int i = 0; i < FILLED / sizeof(*p); i++)
		p[i] = word(owner, page, i);
}

static void check_page(unsigned int owner, unsigned int page)
{
	const uint64_t *p = (const uint64_t *)pages[page];

	for (unsigned int i = 0; i < FILLED / sizeof(*p); i++)
		if (p[i] != word(owner, page, i))
			errx(EXIT_FAILURE,
			     "process %u, page %u of %u: word %u is %#llx, not %#llx",
			     self, page, owner, i, (unsigned long long)p[i],
			     (unsigned long long)word(owner, page, i));
}

static unsigned int random_below(unsigned int n)
{
	static uint64_t state;

	if (!state)
		state = self + 1;
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % n;
}

static void *map(size_t size)
{
	char *p = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	/* A gap, so that neighbours stay apart. */
	if (p == MAP_FAILED || munmap(p + size, PAGE))
		err(EXIT_FAILURE, "cannot map %zu bytes", size);
	return p;
}

static void map_all(void)
{
	unsigned int i = 0;

	nr_pages = nr_mb * 256 / nr_procs;
	pages = calloc(nr_pages, sizeof(*pages));
	version = calloc(nr_pages, 1);
	if (!pages || !version)
		err(EXIT_FAILURE, "memory");
	while (i < nr_pages) {
		unsigned int n = i ? 16u << random_below(5) : BIG_PAGES;
		char *p;

		if (n > nr_pages - i)
			n = nr_pages - i;
		p = map(n * PAGE);
		while (n--) {
			pages[i++] = p;
			p += PAGE;
		}
	}
}

/* The copy of a page that the child writes is no business of the parent's. */
static pid_t start_child(unsigned int parent)
{
	pid_t pid = fork();

	if (pid < 0)
		err(EXIT_FAILURE, "process %u: fork", self);
	if (pid)
		return pid;
	for (unsigned int i = random_below(8); i < nr_pages; i += 8) {
		check_page(parent, i);
		if (i % 3)
			continue;
		write_page(parent + 1000, i);
		check_page(parent + 1000, i);
	}
	_exit(EXIT_SUCCESS);
}

static void reap(const char *what)
{
	int status;

	if (wait(&status) < 0)
		err(EXIT_FAILURE, "wait");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		errx(EXIT_FAILURE, "process %u: %s ended with %#x", self, what,
		     status);
}

static void process(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_all();
	for (unsigned int i = 0; i < nr_pages; i++)
		write_page(self, i);
	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int n = 0; n < nr_pages; n++) {
			unsigned int i = random_below(nr_pages);

			check_page(self, i);
			if (n % 2)
				write_page(self, i);
			if (n == nr_pages / 2)
				start_child(self);
		}
		reap("its child");
	}
	for (unsigned int i = 0; i < nr_pages; i++)
		check_page(self, i);
	_exit(EXIT_SUCCESS);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || !n || n > 100000)
		errx(2, "'%s' is not a number from 1 to 100000", text);
	return n;
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "p:m:r:h")) != -1) {
		switch (opt) {
		case 'p':
			nr_procs = number(optarg);
			break;
		case 'm':
			nr_mb = number(optarg);
			break;
		case 'r':
			rounds = number(optarg);
			break;
		default:
			puts("usage: storm [-p PROCESSES] [-m MB in all] [-r ROUNDS]");
			return opt == 'h' ? 0 : 2;
		}
	}
	for (unsigned int i = 1; i <= nr_procs; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(EXIT_FAILURE, "fork");
		if (!pid) {
			self = i;
			process();
		}
	}
	for (unsigned int i = 0; i < nr_procs; i++)
		reap("a process");
	return 0;
}
