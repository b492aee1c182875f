/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_OPS_H
#define THINBD_TESTS_OPS_H

/*
 * What is done to a pool, in a form that people can read, keep and edit:
 * one operation a line, numbers in sectors, '#' begins a comment.
 *
 *   w V FIRST NR   write            W ...   with FUA
 *   t V FIRST NR   trim             T ...   with FUA
 *   z V FIRST NR   zero             Z ...   blocks may be given back
 *   f V            flush            k       commit, as the timer does
 *   c V            create           s V W   snapshot V as W
 *   d V            delete           b V     make V a block larger
 *   g N            N data blocks more       m N   metadata blocks more
 *   h, u           hold and let go of a metadata snapshot
 *   o              close the pool and open it again
 *   x N            kill the process when it has written N times from here; the
 *                  operation after the one in which that is opens it again
 *
 * And of volumes that have names (house.h):
 *
 *   n V W          rename V as W        y V W   roll V back to its snapshot W
 *   q V W          snapshot V as W and as the one after W, both or none
 *   a V            make V a block smaller
 */

#include "../unit/seeded.h"
#include "model.h"

struct op {
	char kind;
	uint32_t volume, other;
	uint64_t first, nr;
};

struct ops {
	struct op *op;
	size_t nr, room;
};

void ops_add(struct ops *ops, struct op op);
void ops_fini(struct ops *ops);
void ops_copy(struct ops *to, const struct ops *from);

/* "w 0 8 16", in a static buffer. */
const char *op_describe(const struct op *op);
/* All of @text, lines or parts divided by ';'.  False: @ret_bad begins the bad one. */
bool ops_parse(struct ops *ret, const char *text, const char **ret_bad);
/* As ops_parse() reads it, parts divided by "; ": free() it. */
char *ops_print(const struct ops *ops);

/*
 * A random one that makes sense in @now: biased to sharing, and to the same
 * few blocks again and again.
 */
struct op op_random(struct seeded *rnd, const struct model *now, uint64_t block_sectors);

/*
 * For sequences of all of them: the @i-th of OP_KINDS.  One that makes no
 * sense in @now has kind 0.
 */
#define OP_KINDS 9
struct op op_choice(unsigned i, const struct model *now);

#endif
