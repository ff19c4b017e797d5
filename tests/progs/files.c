/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls on paths: names, flags, modes, and names that cannot be read. */
#include "expect.h"
#include <linux/openat2.h>
#include <sys/stat.h>

static char deep[1500];

static void opening(void)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };

	close(EXPECT(syscall(SYS_openat, AT_FDCWD, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640),
		     "openat(AT_FDCWD, \"new\", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0640)"));
	say("close(3) = 0\n");
	EXPECT(syscall(SYS_open, "new", O_WRONLY | O_CREAT | O_EXCL, 0600), "open(\"new\", O_WRONLY|O_CREAT|O_EXCL, 0600)");
	EXPECT(syscall(SYS_creat, "made", 0604), "creat(\"made\", 0604)");
	EXPECT(syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "openat(AT_FDCWD, \".\", O_RDONLY|O_NOFOLLOW|O_DIRECTORY)");
	EXPECT(syscall(SYS_openat, 4, "made", O_WRONLY | O_TRUNC | O_APPEND | O_NONBLOCK), "openat(4, \"made\", O_WRONLY|O_TRUNC|O_APPEND|O_NONBLOCK)");
	EXPECT(syscall(SYS_openat2, AT_FDCWD, "made", &how, sizeof(how)),
	       "openat2(AT_FDCWD, \"made\", {flags=O_RDONLY|O_CLOEXEC, resolve=RESOLVE_BENEATH}, 24)");
	EXPECT(syscall(SYS_openat, AT_FDCWD, "", O_PATH), "openat(AT_FDCWD, \"\", O_RDONLY|O_PATH)");
	EXPECT(syscall(SYS_openat, AT_FDCWD, NULL, O_RDONLY), "openat(AT_FDCWD, NULL, O_RDONLY)");
	EXPECT(syscall(SYS_openat, AT_FDCWD, 0x10, O_RDONLY), "openat(AT_FDCWD, 0x10<fault>, O_RDONLY)");
}

static void names(void)
{
	EXPECT(syscall(SYS_rename, "new", "a\nb\t\033[31m\177\"\\"), "rename(\"new\", \"a\\nb\\t\\33[31m\\177\\\"\\\\\")");
	EXPECT(syscall(SYS_renameat2, AT_FDCWD, "missing", AT_FDCWD, "other", 1), "renameat2(AT_FDCWD, \"missing\", AT_FDCWD, \"other\", RENAME_NOREPLACE)");
	EXPECT(syscall(SYS_unlink, "a\nb\t\033[31m\177\"\\"), "unlink(\"a\\nb\\t\\33[31m\\177\\\"\\\\\")");
	EXPECT(syscall(SYS_mkdir, "directory", 0700), "mkdir(\"directory\", 0700)");
	EXPECT(syscall(SYS_unlinkat, AT_FDCWD, "directory", AT_REMOVEDIR), "unlinkat(AT_FDCWD, \"directory\", AT_REMOVEDIR)");
	EXPECT(syscall(SYS_symlink, "the/target", "link"), "symlink(\"the/target\", \"link\")");
	EXPECT(syscall(SYS_link, "missing", "hard"), "link(\"missing\", \"hard\")");
	EXPECT(syscall(SYS_chmod, "made", 04711), "chmod(\"made\", 04711)");
	EXPECT(syscall(SYS_fchownat, AT_FDCWD, "missing", -1, 7, AT_SYMLINK_NOFOLLOW), "fchownat(AT_FDCWD, \"missing\", -1, 7, AT_SYMLINK_NOFOLLOW)");
	EXPECT(syscall(SYS_access, "made", R_OK | X_OK), "access(\"made\", R_OK|X_OK)");
	EXPECT(syscall(SYS_faccessat2, AT_FDCWD, "missing", F_OK, AT_EACCESS), "faccessat2(AT_FDCWD, \"missing\", F_OK, AT_EACCESS)");
	EXPECT(syscall(SYS_truncate, "made", 77), "truncate(\"made\", 77)");
	EXPECT(syscall(SYS_mknod, "pipe", S_IFIFO | 0600, 0), "mknod(\"pipe\", S_IFIFO|0600)");
	EXPECT(syscall(SYS_mknod, "special", S_IFCHR | 0600, 0x105), "mknod(\"special\", S_IFCHR|0600, makedev(0x1, 0x5))");
}

/* Paths are whole, whatever the string limit is. */
static void long_names(void)
{
	for (size_t i = 0; i < sizeof(deep) - 1; i++)
		deep[i] = i % 50 ? 'x' : '/';
	EXPECT(syscall(SYS_unlink, deep), "unlink(\"%s\")", deep);
}

static void results(void)
{
	static char buffer[4096], cwd[4096];
	struct stat status;
	long got;

	got = syscall(SYS_readlink, "link", buffer, sizeof(buffer));
	say("readlink(\"link\", \"the/target\", 4096) = %ld\n", got);
	EXPECT(syscall(SYS_readlink, "made", buffer, 100), "readlink(\"made\", %p, 100)", buffer);
	got = syscall(SYS_getcwd, cwd, sizeof(cwd));
	say("getcwd(\"%s\", 4096) = %ld\n", cwd, got);
	EXPECT(syscall(SYS_getcwd, cwd, 2), "getcwd(%p, 2)", cwd);
	EXPECT(syscall(SYS_stat, "made", &status), "stat(\"made\", {st_mode=S_IFREG|S_ISUID|0711, st_size=77, ...})");
	EXPECT(syscall(SYS_stat, "missing", &status), "stat(\"missing\", %p)", &status);
	EXPECT(syscall(SYS_newfstatat, AT_FDCWD, "special", &status, AT_SYMLINK_NOFOLLOW),
	       "newfstatat(AT_FDCWD, \"special\", {st_mode=S_IFCHR|0600, st_rdev=makedev(0x1, 0x5), ...}, AT_SYMLINK_NOFOLLOW)");
}

int main(int argc, char **argv)
{
	umask(0);
	begin("files");
	opening();
	names();
	long_names();
	results();
	finish("files", argv[argc - 1]);
	return 0;
}
