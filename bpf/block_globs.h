/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Patterns below an anchor. All of them together are one automaton over names, run from the last component to the first as the walk goes up: bit n
 * of the state means "the pattern's last n components match" within the pattern's own bits (isotrace/enforce/automaton.py). A component that has
 * letters beside its stars is in turn a piece of an automaton over letters, all of them in 64 bits.
 */
#ifndef ISOTRACE_BLOCK_GLOBS_H
#define ISOTRACE_BLOCK_GLOBS_H

#if !defined(ANCHOR_GLOBS)
#define ANCHOR_GLOBS 16
#endif
#define STARS_MAX 16

struct automaton {
	struct bits start;
	struct bits loop;	/* `**`: any name leaves the state as it is, and it may match none */
	struct bits any;	/* `*` */
	struct bits unsure;	/* components with letters that refuse: taken to match a name that cannot be compared */
	struct bits odd;	/* of these, the ones that cannot be compared where case does not count */
};

struct word {
	struct bits bits;	/* the components that it stands for */
	u64 next;		/* what the next piece of a longer word comes from */
};

/* One step for each byte; NUL keeps the state. Tables, not branches: a branch a byte is more than the verifier bears. */
struct letters {
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

BPF_ARRAY(automaton, struct automaton, 1);
BPF_HASH(words, struct piece, struct word, WORDS);
BPF_ARRAY(glob_entries, struct glob, GLOBS);
BPF_HASH(move_rules, struct bits, u16, 2 * WORD_BITS);	/* by bit, and whether it is of the second word: the rule that leads through */
#if defined(STARS)
BPF_ARRAY(letters, struct letters, 2);			/* the second where case does not count */
#endif

static __always_inline void begin_globs(struct walk *walk)
{
	u32 zero = 0;
	struct automaton *machine = automaton.lookup(&zero);

	if (!machine)
		return;
	walk->state[0] = machine->start.word[0];
	walk->state[1] = machine->start.word[1];
}

static __always_inline void keep_globs(struct walk *walk)
{
	if (walk->dentry != walk->mount_root)
		return;
	walk->kept[0] = walk->state[0];
	walk->kept[1] = walk->state[1];
}

#define NO_WORD 0x7fffffff

#if defined(STARS)
static __always_inline u64 step_letters(struct piece *piece, struct letters *table, u64 state)
{
	int i;

	for (i = 0; i < PIECE; i++) {
		u32 letter = (u8)piece->text[i];

		state = ((state << 1) & table->next[letter]) | (state & table->keep[letter]);
	}
	return state;
}

static __always_inline void add_letters(struct letters *table, u64 state, struct bits *matched)
{
	u64 hit;
	int i;

#pragma unroll
	for (i = 0; i < STARS; i++) {
		hit = -((state >> (table->final[i] & (WORD_BITS - 1))) & 1);
		matched->word[0] |= table->bits[i].word[0] & hit;
		matched->word[1] |= table->bits[i].word[1] & hit;
	}
}
#endif

static __always_inline void add_bits(struct bits *matched, struct bits *more)
{
	matched->word[0] |= more->word[0];
	matched->word[1] |= more->word[1];
}

/* What the pieces of a name match, one after the other. Returns what the last read did. */
static __always_inline long match_pieces(struct piece *piece, u64 address, u32 folds, struct bits *matched)
{
	struct word *found;
	long got = 0;
	int i;
#if defined(STARS)
	struct letters *table = letters.lookup(&folds);
	u64 state;

	if (!table)
		return 0;
	state = table->start;
#endif
	piece->from = 0;
	for (i = 0; i < PIECES; i++) {
		got = number_of(read_piece(piece, address));
		address += PIECE - 1;
		found = words.lookup(piece);
		piece->from = NO_WORD;
		if (found) {
			add_bits(matched, &found->bits);
			piece->from = found->next;
		}
		forget(matched);
		forget(piece);
#if defined(STARS)
		state = number_of(step_letters(piece, table, state));
#endif
		if (got != PIECE)
			break;
	}
#if defined(STARS)
	add_letters(table, number_of(state), matched);
#endif
	return got;
}

/* What denies a name where case does not count. */
static __always_inline void match_folded(struct piece *piece, u64 address, struct automaton *machine, struct bits *matched)
{
	struct word *found;

	add_bits(matched, &machine->odd);
	if (fold_name(piece, address))
		add_bits(matched, &machine->unsure);
	piece->from = FOLDED;
	found = words.lookup(piece);
	if (found)
		add_bits(matched, &found->bits);
}

/* The components that the name of the walk's dentry matches. */
static __always_inline void match_name(struct walk *walk, u64 name, struct automaton *machine, struct bits *matched)
{
	u32 folds = (read_u32(walk->dentry + OFF_D_FLAGS) / DCACHE_OP_COMPARE) & 1;

	*matched = machine->any;
	if (match_pieces(&walk->piece, name, folds, matched) <= 0) {
		add_bits(matched, &machine->unsure);
		walk->leads.unsure = 1;
	}
	if (folds) {
		match_folded(&walk->piece, name, machine, matched);
		walk->leads.unsure = 1;
	}
}

static __always_inline u64 step(u64 state, u64 matched, u64 loop)
{
	state = ((state & matched) << 1) | (state & loop);
	return state | (state & loop) << 1;
}

static __always_inline void step_globs(struct walk *walk, u64 name)
{
	u32 zero = 0;
	struct automaton *machine = automaton.lookup(&zero);
	struct bits matched;

	if (!machine || !(walk->state[0] | walk->state[1]))
		return;
	match_name(walk, name, machine, &matched);
	forget(&matched);
	forget(&walk->leads.unsure);
	walk->state[0] = step(walk->state[0], matched.word[0], machine->loop.word[0]);
	walk->state[1] = step(walk->state[1], matched.word[1], machine->loop.word[1]);
}

/* All ones when the number is not zero: without a branch. */
static __always_inline u64 mask_of(u64 number)
{
	return 0 - ((number | (0 - number)) >> 63);
}

/* The patterns of one anchor, the most specific first. */
static __always_inline int apply_globs(struct walk *walk, u32 range)
{
	u32 from = range & 0xffff, end = range >> 16;
	int i;

	for (i = 0; i < ANCHOR_GLOBS; i++) {
		u32 index = from + i;
		u64 on, denied;
		struct glob *glob;

		if (index >= end)
			break;
		glob = glob_entries.lookup(&index);
		if (!glob)
			break;
		on = mask_of((walk->state[(glob->bit / WORD_BITS) & 1] >> (glob->bit & (WORD_BITS - 1))) & 1);
		denied = mask_of(walk->open & glob->denied & on);
		walk->denied |= glob->rule & denied;
		walk->open &= ~((u64)glob->decided & on) & ~denied;
	}
	return walk->open == 0;
}

#endif
