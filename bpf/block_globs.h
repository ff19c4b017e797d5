/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Patterns below an anchor. All of them together are one bit-parallel NFA over names, run from the last component to the first as the walk goes up: bit n
 * of the state means "the pattern's last n components match" within the pattern's own bits (isotrace/enforce/hooks/nfa.py). A component that has
 * letters beside its stars is in turn a piece of another, over the bytes of a name, all of them in 64 bits.
 */
#ifndef ISOTRACE_BLOCK_GLOBS_H
#define ISOTRACE_BLOCK_GLOBS_H

#if !defined(ANCHOR_GLOBS)
#define ANCHOR_GLOBS 16
#endif
#define STARS_MAX 16

struct path_nfa {
	struct bits start;
	struct bits loop;	/* `**`: any name leaves the state as it is, and it may match none */
	struct bits any;	/* `*` */
	struct bits unsure;	/* components with letters that refuse: taken to match a name that is too long to look at */
	struct bits doubted;	/* components that refuse: taken to match every name where one name has several spellings */
};

/* One step for each byte; NUL keeps the state. Tables, not branches: a branch a byte is more than the verifier bears. */
struct name_nfa {
	u64 start;
	u64 next[256];
	u64 keep[256];
	u64 final[STARS_MAX];		/* the number of the bit */
	struct bits bits[STARS_MAX];	/* the components that it stands for */
};

struct glob {
	u16 rule;
	u16 bit;
	u8 decided;
	u8 denied;
	u16 pad;
};

BPF_ARRAY(path_nfa, struct path_nfa, 1);
BPF_HASH(words, struct name, struct bits, WORDS);
BPF_ARRAY(glob_entries, struct glob, GLOBS);
BPF_HASH(move_rules, struct bits, u16, 2 * WORD_BITS);	/* by bit, and whether it is of the second word: the rule that leads through */
#if defined(STARS)
BPF_ARRAY(name_nfa, struct name_nfa, 1);
#endif

static __always_inline void begin_globs(struct walk *walk)
{
	struct path_nfa *nfa = path_nfa.lookup(KEY(0));

	if (!nfa)
		return;
	walk->state[0] = nfa->start.word[0];
	walk->state[1] = nfa->start.word[1];
}

static __always_inline void keep_globs(struct walk *walk)
{
	if (walk->dentry != walk->mount_root)
		return;
	walk->kept[0] = walk->state[0];
	walk->kept[1] = walk->state[1];
}

#if defined(STARS)
static __always_inline void match_name_nfa(struct name *name, struct bits *matched)
{
	struct name_nfa *table = name_nfa.lookup(KEY(0));
	u64 state, hit;
	int i;

	if (!table)
		return;
	state = table->start;
	for (i = 0; i < NAME; i++) {
		u32 letter = (u8)name->text[i];

		state = ((state << 1) & table->next[letter]) | (state & table->keep[letter]);
	}
#pragma unroll
	for (i = 0; i < STARS; i++) {
		hit = -((state >> (table->final[i] & (WORD_BITS - 1))) & 1);
		matched->word[0] |= table->bits[i].word[0] & hit;
		matched->word[1] |= table->bits[i].word[1] & hit;
	}
}
#endif

/* The components that the name at `address` matches. */
static __always_inline void match_name(struct walk *walk, u64 address, struct path_nfa *nfa, struct bits *matched)
{
	struct name name;
	struct bits *found;
	long got;

	__builtin_memset(&name, 0, sizeof(name));
	got = read_kernel_string(name.text, NAME, (void *)address);
	*matched = nfa->any;
	if (got <= 0 || got == NAME) {
		matched->word[0] |= nfa->unsure.word[0];
		matched->word[1] |= nfa->unsure.word[1];
		walk->leads.unsure = 1;
		return;
	}
	found = words.lookup(&name);
	if (found) {
		matched->word[0] |= found->word[0];
		matched->word[1] |= found->word[1];
	}
#if defined(STARS)
	forget(matched);
	match_name_nfa(&name, matched);
#endif
}

static __always_inline u64 step(u64 state, u64 matched, u64 loop)
{
	state = ((state & matched) << 1) | (state & loop);
	return state | (state & loop) << 1;
}

/* `several`: all ones in a directory that ignores case, where a dentry has the spelling that was asked for first. */
static __always_inline void step_globs(struct walk *walk, u64 name, u64 several)
{
	struct path_nfa *nfa = path_nfa.lookup(KEY(0));
	struct bits matched;

	if (!nfa || !(walk->state[0] | walk->state[1]))
		return;
	match_name(walk, name, nfa, &matched);
	forget(&matched);
	asm volatile("" : "+r"(several));	/* or the compiler makes a branch of it */
	walk->leads.unsure |= several;
	forget(&walk->leads.unsure);
	walk->state[0] = step(walk->state[0], matched.word[0] | (nfa->doubted.word[0] & several), nfa->loop.word[0]);
	walk->state[1] = step(walk->state[1], matched.word[1] | (nfa->doubted.word[1] & several), nfa->loop.word[1]);
}

/* One bit of the state. Of an index on the stack the compiler may make an `or` of addresses, which the verifier does not bear. */
static __always_inline u64 state_bit(struct walk *walk, u32 bit)
{
	u64 high = 0 - (u64)((bit / WORD_BITS) & 1);
	u64 word = (walk->state[0] & ~high) | (walk->state[1] & high);

	return (word >> (bit & (WORD_BITS - 1))) & 1;
}

/* The patterns of one anchor, the most specific first. */
static __always_inline void apply_globs(struct walk *walk, u32 range)
{
	u32 from = range & 0xffff, end = range >> 16;
	int i;

	for (i = 0; i < ANCHOR_GLOBS; i++) {
		u64 index = from + i;
		u64 on, denied;
		struct glob *glob;

		if (index >= end)
			break;
		glob = glob_entries.lookup((u32 *)&index);
		if (!glob)
			break;
		on = mask_of(state_bit(walk, glob->bit));
		denied = mask_of(walk->open & glob->denied & on);
		walk->denied |= glob->rule & denied;
		walk->open &= ~((u64)glob->decided & on) & ~denied;
	}
}

#endif
