/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_SUSPECTS_H
#define THINBD_AUDIT_SUSPECTS_H

/* Data blocks that are mapped at two different keys, in whatever devices. */

#include "audit/state.h"

struct suspects {
	struct audit *a;
	uint64_t *blocks; /* ascending, each once */
	size_t nr;
	size_t cap;
	bool cut_short; /* there are more than it is useful to know */
};

/*
 * Fill @s, which is all zeros but for its @a.
 * Cost: one scan of all leaves for each MAX_KEYS of shared data blocks.
 */
void audit_find_suspects(struct suspects *s);

/* Is data block @block one of them? */
bool audit_is_suspect(const struct suspects *s, uint64_t block);

void audit_free_suspects(struct suspects *s);

#endif
