# isotrace: `make help` lists the targets. Everything that a target needs it installs (Debian, Ubuntu; as root).
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' isotrace/__init__.py)

# What the program needs, and what the tests need beyond that: also, for gcc -m32, the lib32gcc of gcc's version
# (gcc-multilib would put cross compilers out).
RUN_PACKAGES := python3 python3-venv python3-bpfcc
TEST_PACKAGES := gcc libc6-dev libc6-dev-i386 strace curl libseccomp2 tmux procps

# What of the live tests `make test` runs in the guests, where everything takes twenty times as long; `make vm` runs them all.
GUEST_TESTS := tests/live/test_doctor.py tests/live/test_progs.py tests/vm/test_selfcheck.py tests/vm/test_block_bpf.py tests/vm/test_lkm.py tests/vm/test_lkm_load.py tests/vm/test_attacks.py::test_quick_attack

DEB_PACKAGES := dpkg-dev debhelper dh-python python3-venv git
RPM_PACKAGES := rpm cpio python3-venv git

# What isotrace is measured beside, and what is traced: `make bench` goes without those that cannot be had, and says so.
BENCH_PACKAGES := strace linux-perf bpftrace bpfcc-tools redis-tools wrk nginx-light gcc libc6-dev make tar findutils util-linux

.PHONY: help demo test test-live test-pure lowest man docs check deb deb-try rpm rpm-try bench bench-quick clean
.DEFAULT_GOAL := help

help:                    ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# $(call install,PACKAGES): those that are missing, with one update of the index
define install
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "install these first: $$missing" >&2; exit 1; }; \
		echo "installing" $$missing; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

# $(call install_some,PACKAGES): of those that this distribution has, the missing ones; no service is started by that
define install_some
	@policy=/usr/sbin/policy-rc.d; missing=; command -v apt-get >/dev/null || exit 0; \
	for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; apt-get update -qq; \
	missing=$$(for p in $$missing; do apt-cache show --no-all-versions $$p >/dev/null 2>&1 && echo $$p; done); \
	[ -z "$$missing" ] && exit 0; echo "installing" $$missing; \
	if [ ! -e $$policy ]; then trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; fi; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || echo "not installed:" $$missing >&2
endef

$(BIN)/isotrace: pyproject.toml
	$(call install,$(RUN_PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit("isotrace needs Python 3.11 or newer: make PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip -q install --upgrade pip
	@$(BIN)/python -m pip -q install --editable .
	@touch $@

$(VENV)/dev: $(BIN)/isotrace
	$(call install,$(TEST_PACKAGES))
	$(call install,lib32gcc-$$(gcc -dumpversion)-dev)
	$(call install_some,dbus-daemon systemd apparmor nginx-light runc crun busybox-static)
	@$(BIN)/python -m pip -q install --group dev
	@touch $@

demo: $(BIN)/isotrace    ## trace a real program, from a bare machine on
	$(call install,$(RUN_PACKAGES))
	$(BIN)/isotrace log -- ls -l /etc/hostname

test: VM_LENIENT = --lenient
test: $(VENV)/dev check vm-tools ## all tests: pure ones, live ones on this kernel, lowest versions, kernels in QEMU
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-live test-pure lowest
	@$(MAKE) --no-print-directory vm-lenient VM_FLAGS="--tests $(GUEST_TESTS)"

# Two at a time: those on this kernel wait much, the others compute. Each pytest closes the directory that all share to other users, whom some
# of these tests run programs as: so they have one of their own.
test-live: $(VENV)/dev
	$(BIN)/python -m pytest -p no:cacheprovider --basetemp=/tmp/isotrace-live $(TEST_FLAGS) tests/live

test-pure: $(VENV)/dev
	$(BIN)/python -m pytest $(TEST_FLAGS) tests --ignore tests/live

# The oldest versions that pyproject.toml allows of what isotrace is built on, in an environment of their own. The tests there are those
# in which these matter; LOWEST_TESTS names others (all that need no kernel: "tests --ignore tests/live --ignore tests/vm").
LOWEST := $(VENV)/lowest
LOWEST_TESTS ?= tests/test_help.py tests/test_cli_errors.py tests/test_export.py tests/test_sql.py tests/test_recording_formats.py tests/test_top_layout.py tests/test_ask_dialogue.py

lowest: $(VENV)/dev      ## the tests in which they matter with the lowest versions that are declared
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip -q install --upgrade pip
	@$(LOWEST)/bin/python -m pip -q install --group dev --editable . $$($(BIN)/python tools/lowest.py)
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider $(LOWEST_TESTS)

man: $(BIN)/isotrace     ## man pages in build/man, from the same text as --help
	PYTHONPATH=. $(BIN)/python tools/manpages.py build/man

check: $(VENV)/dev       ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(BIN)/isotrace    ## the pages of docs/ as a site: build/site
	@test -x $(VENV)/docs/bin/mkdocs || { $(PYTHON) -m venv $(VENV)/docs && $(VENV)/docs/bin/pip -q install mkdocs-material; }
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet

# In a copy of what git knows, so that nothing of a build stays here.
deb:                     ## a Debian package: build/deb/isotrace_VERSION_amd64.deb
	$(call install,$(DEB_PACKAGES))
	rm -rf build/deb
	mkdir -p build/deb/isotrace
	git ls-files -z | xargs -0 cp --parents --target-directory build/deb/isotrace
	cd build/deb/isotrace && dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
	@ls build/deb/*.deb

deb-try: deb             ## the package in a fresh Debian root: installed, used, purged (debootstrap; as root)
	$(call install,debootstrap)
	debian/try.sh build/deb/isotrace_*_amd64.deb $(MIRROR)

# For the Python of this machine; RPM_PYTHON=3.N makes a package for a distribution that has CPython 3.N.
rpm:                     ## an RPM: build/rpm/RPMS/x86_64/isotrace-VERSION-1.x86_64.rpm
	$(call install,$(RPM_PACKAGES))
	rm -rf build/rpm
	mkdir -p build/rpm/SOURCES
	git ls-files -z | tar --create --gzip --null --files-from - --transform 's,^,isotrace-$(VERSION)/,S' --file build/rpm/SOURCES/isotrace-$(VERSION).tar.gz
	rpmbuild -bb --quiet --define '_topdir $(CURDIR)/build/rpm' $(if $(RPM_PYTHON),--define 'other_python $(RPM_PYTHON)') rpm/isotrace.spec
	@ls build/rpm/RPMS/x86_64/*.rpm

rpm-try: rpm             ## what is in it, and isotrace run from it where it was unpacked (as root)
	rpm/try.sh build/rpm/RPMS/x86_64/isotrace-*.rpm

bench: $(VENV)/dev       ## isotrace beside its peers on this machine: docs/benchmarks.md says how to read it
	$(call install_some,$(BENCH_PACKAGES))
	$(BIN)/python -m bench

bench-quick: $(VENV)/dev ## in two minutes what a change has done to isotrace's cost, beside strace, with what is installed
	$(BIN)/python -m bench.quick

include vm.mk

clean:                   ## remove what make made here
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
