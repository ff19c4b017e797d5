/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects that are reached through another layer: what a layered file system does in its layers comes to hooks that see no mount, and with paths that are
 * not the layer's own. Included by block_paths.h.
 */
#ifndef ISOTRACE_BLOCK_LAYERS_H
#define ISOTRACE_BLOCK_LAYERS_H

/*
 * The dentries that a thread may do to what the call asks: the hooks with a path come before those without one, in the same call. A call that fails in
 * between leaves them here, and other dentries get their addresses: so each goes in with its directory and the hash of its name. Both hold still between
 * the hooks, as the directory is locked.
 */
struct pair {
	u64 one;
	u64 other;
};
BPF_TABLE("lru_hash", u32, struct pair, remembered, 4096);

/* What was judged, where the call goes on. Returns the rule. */
static __always_inline u32 remember(u32 rule, u64 one, u64 other)
{
	struct pair pair = {.one = as_named(one), .other = as_named(other)};
	u32 tid = bpf_get_current_pid_tgid();

	rule = number_of(rule);
	if (!rule || is_audit(rule))
		remembered.update(&tid, &pair);
	return rule;
}

static __always_inline int is_remembered(u64 one, u64 other)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct pair *found = remembered.lookup(&tid);

	return found && found->one == as_named(one) && found->other == as_named(other);
}

/* A dentry of the inode, or 0: where a file has several names, one of them; a name to where a rule denies it could not be made. */
static __always_inline u64 name_of_inode(u64 inode)
{
	u64 first = read_u64(inode + OFF_I_DENTRY);

	return first ? first - OFF_D_ALIAS : 0;
}

#endif
