#!/bin/bash
# What is in a package that rpmbuild made, and isotrace run from it: `make rpm-try`, as root. try.sh PACKAGE.
# It is unpacked, not installed: no distribution of RPM packages is needed, and BCC is this machine's.
set -euo pipefail
package=$(realpath "$1")
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
has() { grep -qxE -- "$1" "$root/list" || { echo "not in the package: $1" >&2; exit 1; }; }
rpm -qp --queryformat '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]' "$package" >"$root/list"
has '-rwxr-xr-x root:root /usr/bin/isotrace'
has 'drwx------ root:root /var/cache/isotrace'
for part in isotrace/_bpf/trace.c isotrace/_kernel_fallback/main.c click/__init__.py textual/__init__.py numpy/__init__.py duckdb/__init__.py; do
	has "-rw-r--r-- root:root /usr/lib/isotrace/$part"
done
for file in man/man1/isotrace.1.gz man/man1/isotrace-log.1.gz bash-completion/completions/isotrace zsh/site-functions/_isotrace \
	fish/vendor_completions.d/isotrace.fish; do
	has "-rw-r--r-- root:root /usr/share/$file"
done
# BCC is the distribution's; neither results of a build nor the tests are in it.
if grep -E '/usr/lib/isotrace/(bcc|tests)/|\.(o|ko|pyc)$|/bin/pip' "$root/list"; then
	echo "these do not belong into the package" >&2
	exit 1
fi
rpm -qp --requires "$package" | grep -qx python3-bcc
rpm -qp --requires "$package" | grep -xE 'python\(abi\) = 3\.[0-9]+'
(cd "$root" && rpm2cpio "$package" | cpio --quiet -idm)
inside() { (cd / && /usr/bin/env -i PATH="$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C.UTF-8 ISOTRACE_CACHE="$root/cache" PYTHONDONTWRITEBYTECODE=1 "$@"); }
inside isotrace --version
inside bash -c ". '$root/usr/share/bash-completion/completions/isotrace' && complete -p isotrace"
zcat "$root/usr/share/man/man1/isotrace-log.1.gz" | grep -q 'isotrace log'
inside isotrace log -o "$root/log" -- ls /etc >"$root/said" 2>&1 || { cat "$root/said" >&2; exit 1; }
grep -F 'execve("' "$root/log"
tail -n 1 "$root/said"
inside isotrace record -q -o "$root/t.arrow" -- ls /etc >/dev/null
inside isotrace sql "$root/t.arrow" "SELECT count(*) > 10 AS many FROM calls"
echo "all is in the package, and isotrace runs from it"
