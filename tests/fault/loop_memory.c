/* SPDX-License-Identifier: BSD-3-Clause */
#include "points.h"

#include <string.h>

/* Each allocation of each script fails, alone, and with all after it. */

static int one_way(struct points *pt, const struct script *script,
		   const struct base *base, bool sticky)
{
	struct fault fault = {.alloc_sticky = sticky};
	bool fired = true;
	int r = 0;

	while (fired && !r) {
		fault.alloc_at++;
		r = point_try(pt, script, base, &fault, &fired);
	}
	return r;
}

int loop_memory(struct points *pt)
{
	int r = 0;

	for (unsigned i = 0; i < nr_scripts && !r; i++) {
		struct base base;

		if (pt->s->opt.state && strcmp(pt->s->opt.state, scripts[i].name))
			continue;
		base_make(&base, base_find(scripts[i].base));
		for (unsigned sticky = 0; sticky < 2 && !r; sticky++)
			if (session_mine(pt->s))
				r = one_way(pt, &scripts[i], &base, sticky);
		base_fini(&base);
	}
	return r;
}
