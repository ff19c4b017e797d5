/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of files in tables. A name is looked up piece by piece: all but the last have 27 bytes, and what is found for one says where the next comes
 * from.
 *
 * Where case does not count (a directory of vfat, or with casefold), the kernel has the name as whoever looked it up first spelled it. There
 * denials have a second entry in small letters. A name that may be compared in yet another way, as by a short name or beyond ASCII, is taken to be
 * any that is denied; an exception is for the name as it is spelled.
 */
#ifndef ISOTRACE_BLOCK_NAMES_H
#define ISOTRACE_BLOCK_NAMES_H

#define UNSURE 1	/* in place of a name: it may be any */
#define OTHERS 2	/* in place of a name: any that is not known */

struct piece {
	u32 from;		/* a directory, or what was before in a longer name */
	char text[PIECE];
};

/* By byte: the small letter, whether it makes the name unsure, and whether it does at the end; NUL keeps the last. */
struct folding {
	u8 small[256];
	u8 odd[256];
	u8 keep[256];
	u8 end[256];
};
BPF_ARRAY(folding, struct folding, 1);

/* The bytes with the NUL that were read; PIECE: there may be more of the name. */
static __always_inline long read_piece(struct piece *piece, u64 address)
{
	__builtin_memset(piece->text, 0, sizeof(piece->text));
	return read_kernel_string(piece->text, PIECE, (void *)address);
}

static __always_inline void set_text(struct piece *piece, char letter)
{
	__builtin_memset(piece->text, 0, sizeof(piece->text));
	piece->text[0] = letter;
}

/* The name in small letters, or UNSURE. Tables, not branches, as for letters. */
static __always_inline int fold_name(struct piece *piece, u64 address)
{
	u32 zero = 0;
	struct folding *table = folding.lookup(&zero);
	long got = number_of(read_piece(piece, address));
	u32 odd = 0, end = 0;
	int i;

	if (table) {
		for (i = 0; i < PIECE; i++) {
			u32 letter = (u8)piece->text[i];

			piece->text[i] = table->small[letter];
			odd |= table->odd[letter];
			end = (end & table->keep[letter]) | table->end[letter];
		}
	}
	if (table && got > 0 && got < PIECE && !(odd | end))
		return 0;
	set_text(piece, UNSURE);
	return UNSURE;
}

#endif
