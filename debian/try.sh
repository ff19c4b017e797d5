#!/bin/bash
# Installs a package in a fresh Debian of its own (debootstrap), uses it there and purges it: `make deb-try`, as root.
# try.sh PACKAGE [MIRROR]. Processes and mounts are in namespaces that end with it.
set -euo pipefail
package=$(realpath "$1")
mirror=${2:-http://deb.debian.org/debian}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
if [ -z "${IN_NAMESPACE:-}" ]; then
	IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$package" "$mirror"
fi
root=$(mktemp -d)
chmod 755 "$root"
trap 'umount -R "$root/proc" "$root/sys" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; exit 1; }
rm -f "$root.log"
cp "$package" "$root/isotrace.deb"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends ./isotrace.deb >/dev/null 2>&1
inside isotrace --version
inside isotrace log -o /log -- ls /etc
grep -F 'execve("' "$root/log"
tail -n 1 "$root/log"
inside isotrace record -q -o /t.arrow -- ls /etc >/dev/null
inside isotrace sql /t.arrow "SELECT count(*) > 10 AS many FROM calls"
inside sh -c 'isotrace block --deny mkdir -- mkdir /refused; test ! -e /refused'
inside isotrace learn -o /ls.toml /t.arrow
inside isotrace learn -o /true.toml -- true
inside sh -c 'test "$(stat -c %a /var/cache/isotrace)" = 700 && test -n "$(ls /var/cache/isotrace)"'
inside sh -c 'zcat /usr/share/man/man1/isotrace-log.1.gz | grep -q "isotrace log"'
inside bash -c '. /usr/share/bash-completion/completions/isotrace && complete -p isotrace'
inside apt-get purge -y -qq isotrace >/dev/null 2>&1
left=$(inside find / -xdev -name '*isotrace*' -not -path '/isotrace.deb' -not -path '/var/lib/apt/*' -not -path '/var/log/*')
[ -z "$left" ] || { echo "left after a purge: $left" >&2; exit 1; }
echo "installed, used, and gone after a purge"
