# The bench of real kernels in QEMU guests; see docs/vm.md.
#
#   make vm             all kernels of tests/vm/kernels.toml
#   make vm K=6.1       one of them (a name, the beginning of one, or several with commas)
#   make vm-shell K=7   a shell in a guest; Ctrl-A X leaves it
#   VM_FLAGS            more options: --jobs N, --with-headers, --tests PATH..., --command '...'

VM_RUN = PYTHONPATH=. $(BIN)/python -m tests.vm.bench
VM_SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: vm vm-lenient vm-shell vm-tools

vm: $(VENV)/dev vm-tools   ## the live tests in every kernel of the bench (K=6.1 picks one)
	@$(VM_RUN) $(K) $(VM_FLAGS)

# What is built on demand only is not built here, and its tools are not installed.
vm-lenient: VM_LENIENT = --lenient
vm-lenient: $(VENV)/dev vm-tools ## the same; a kernel that cannot be had here is named, and is no failure
	@$(VM_RUN) $(K) --lenient $(VM_FLAGS)

vm-shell: $(VENV)/dev vm-tools ## a shell in a guest of one kernel (K=7)
	@$(VM_RUN) $(K) --shell

# Installing may fail (no root, no network): the bench then says for each kernel what it lacks.
vm-tools: $(VENV)/dev
	@missing="$$(PYTHONPATH=. $(BIN)/python -m tests.vm.bench.tools $(VM_LENIENT) $(K))" || exit 2; \
	if [ -n "$$missing" ]; then \
		echo "vm: installing $$missing"; \
		$(VM_SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null 2>&1 || \
		{ $(VM_SUDO) apt-get update -q >/dev/null 2>&1; \
		  $(VM_SUDO) apt-get install -y -q --no-install-recommends $$missing >/dev/null; } || \
		echo "vm: could not install $$missing"; \
	fi
