# The front door. Each command is a small program in lab/; all they make lies
# in build/, what is worth keeping between checkouts in the user's cache.
#
## make [demo]         boot one kernel with vm.anon_vma_lazy=0 and =1 on a real
##                     userland, print what it saves; build/results/
## make bench          what it costs, in instructions: without the series, option
##                     off, switch 0 and 1; build/results/
## make profile STEPS="fork-100"
##                     which functions take the instructions of these cases,
##                     without the series and with switch 1
## make contend        reclaim against faults on two CPUs, without the series and
##                     with it, in turns; build/results/contend.tsv
## make report         memory on real programs, switch 0 and 1: Chromium, redis,
##                     PostgreSQL, a build, a swap storm (an hour or two);
##                     STEPS="chromium" runs only these; build/results/
## make bound          what ANON_VMA_LAZY_MAX should be: memory and instructions
##                     with several; STEPS="2M 8M"; build/results/bound.tsv
## make test           all checks; STEPS="lab vma" runs only these
## make test-long      the stress program, ten minutes on each of: lockdep, failing
##                     allocations, KASAN, KCSAN, PREEMPT_RT, slub_debug; then
##                     mutants, kselftest, what compilers and checkers say,
##                     and arm64 with larger pages and MTE; STEPS="kasan rt"
##                     runs only these
## make results        write the results of the last runs to README.md
## make kselftest      all of the mm selftests that run in the guest: without the
##                     series, switch 0 and 1; fails on any result that is worse
## make mutants        break each rule, and see which test finds out (long);
##                     STEPS="r3-contended" only these; lab/mutants.sh -l
## make model          search the model of the protocol, and show that it needs
##                     each of its rules (a minute; spin)
## make steps          build and boot the kernel after each patch, with the
##                     option on and off (long; remembers what was good)
## make bisect         the same, and run the quick suite on each (longer)
## make linux          build/linux: a git tree, a commit a patch (branch lazy,
##                     first commit tagged base). Work there, with
##                     git commit --fixup and git rebase -i --autosquash base
## make refresh        write build/linux's commits back to patches/ and the
##                     new files
## make series         build/series/: cover letter and mails for git am
## make apply KERNEL=dir
##                     put the series on a new branch of your own 7.3.y tree
## make kernel         build/x86_64/bzImage; CONFIG=debug: x86_64-debug/;
##                     LAZY=n: x86_64-off/, without CONFIG_ANON_VMA_LAZY;
##                     BASE=1: x86_64-base/, without the series;
##                     ARCH=arm64 PAGES=16k, 64k: with pages of that size
## make shell          boot that kernel into a shell on the serial console
## make deps           install missing Debian packages (root) or name them
## make fetch          fetch the kernel source; UPDATE=1: look for a newer 7.3.y
## make clean          remove what was made, but not build/linux
## make distclean      remove build/, with unsaved work in build/linux
##
## KERNEL=file or dir  use that kernel source, not Debian's linux-source
## ARCH=, JOBS=        architecture (x86_64, arm64), parallel jobs (all cores)
## XDG_CACHE_HOME=     where the cache goes, default ~/.cache (6 GB)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
# One thing at a time: the programs take all cores themselves.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

ARCH ?= x86_64
BUILD := $(or $(LAB_BUILD),build)

# What is said on the command line reaches the programs by the environment.
export ARCH

.PHONY: demo bench bound profile contend report test test-long kselftest mutants results model steps bisect linux refresh series apply kernel shell deps fetch help clean distclean

demo: deps
	@lab/demo.sh

bench: deps
	@lab/bench.sh

bound: deps
	@lab/bound.sh $(STEPS)

profile: deps
	@lab/bench.sh -p $(STEPS)

contend: deps
	@lab/contend.sh

report: deps
	@lab/report.sh $(STEPS)

test: deps
	@lab/test.sh $(STEPS)

test-long: deps
	@lab/test-long.sh $(STEPS)

kselftest: deps
	@kernel=$$(CONFIG=debug lab/kernel.sh) && lab/selftests.sh -a "$$kernel"

mutants: deps
	@lab/mutants.sh $(STEPS)

results:
	@lab/results.sh

model: deps
	@lab/model/run.sh

steps: deps
	@lab/steps.sh

bisect: deps
	@lab/steps.sh -q

linux: deps
	@lab/assemble.sh

refresh:
	@lab/refresh.sh

series: deps
	@lab/series.sh

apply:
	@lab/apply.sh "$(KERNEL)"

kernel: deps
	@lab/kernel.sh

shell: deps
	@kernel=$$(lab/kernel.sh) && lab/initramfs.sh && \
		lab/boot.sh -I -i $(BUILD)/initramfs.cpio "$$kernel"

deps:
	@lab/deps.sh

fetch: deps
	@lab/fetch.sh

clean:
	@[ ! -d "$(BUILD)" ] || find "$(BUILD)" -mindepth 1 -maxdepth 1 ! -name linux -exec rm -rf {} +

distclean:
	@rm -rf "$(BUILD)"
	@echo "kernel source, images and compiler cache stay in $$(. lab/lib.sh; echo "$$cache")"

help:
	@sed -n 's/^## \{0,1\}//p' Makefile
