# The bench of real kernels in QEMU guests; see docs/vm.md.
#
#   make vm             all kernels of tests/vm/kernels.toml
#   make vm K=6.1       one of them (a name, the beginning of one, or several with commas)
#   make vm-shell K=7   a shell in a guest; Ctrl-A X leaves it
#   VM_FLAGS            more options: --jobs N, --with-headers, --tests PATH..., --command '...'

PYTHON ?= python3
VM_RUN = PYTHONPATH=. $(PYTHON) -m tests.vm.bench
VM_SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: vm vm-lenient vm-shell vm-tools

## vm: run the live tests in every kernel of the bench (K=6.1 picks one)
vm: vm-tools
	@$(VM_RUN) $(K) $(VM_FLAGS)

## vm-lenient: the same, but a kernel that cannot be had here is only named, not a failure
vm-lenient: vm-tools
	@$(VM_RUN) $(K) --lenient $(VM_FLAGS)

## vm-shell: a shell in a guest of one kernel (K=7)
vm-shell: vm-tools
	@$(VM_RUN) $(K) --shell

# Installing may fail (no root, no network): the bench then says for each kernel what it lacks.
vm-tools:
	@missing="$$(PYTHONPATH=. $(PYTHON) -m tests.vm.bench.tools $(K))" || exit 2; \
	if [ -n "$$missing" ]; then \
		echo "vm: installing $$missing"; \
		$(VM_SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null 2>&1 || \
		{ $(VM_SUDO) apt-get update -q >/dev/null 2>&1; \
		  $(VM_SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null; } || \
		echo "vm: could not install $$missing"; \
	fi
