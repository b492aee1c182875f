/* SPDX-License-Identifier: BSD-3-Clause */
#include "points.h"

#include <errno.h>
#include <string.h>

/*
 * Each operation of each script fails once, in each of several ways; the loop
 * for one way ends when the script comes to its end before the fault does.
 */

static const struct fault_plan ways[] = {
	{.classes = FAULT_READ, .error = -EIO},
	{.classes = FAULT_READ, .error = -EIO, .sticky = true},
	{.classes = FAULT_WRITE, .error = -EIO},
	{.classes = FAULT_WRITE, .error = -EIO, .sticky = true},
	{.classes = FAULT_WRITE, .error = -EIO, .done = FAULT_HALF},
	{.classes = FAULT_WRITE, .error = -ENOSPC, .done = FAULT_HALF, .sticky = true},
	{.classes = FAULT_WRITE, .error = -EIO, .done = FAULT_ALL},
	{.classes = FAULT_FLUSH, .error = -EIO},
	{.classes = FAULT_FLUSH, .error = -ENOSPC},
	{.classes = FAULT_FLUSH, .error = -EIO, .sticky = true},
	{.classes = FAULT_PUNCH, .error = -EIO},
	{.classes = FAULT_PUNCH, .error = -ENOTSUP, .sticky = true},
	{.classes = FAULT_RESIZE, .error = -ENOSPC, .sticky = true},
	{.classes = FAULT_WRITE | FAULT_FLUSH, .error = -EIO, .sticky = true},
	{.classes = 0x1f, .error = -EIO, .sticky = true, .done = FAULT_HALF},
};

static int one_way(struct points *pt, const struct script *script,
		   const struct base *base, const struct fault_plan *way)
{
	struct fault fault = {.plan = *way};
	bool fired = true;
	int r = 0;

	while (fired && !r) {
		fault.plan.at++;
		r = point_try(pt, script, base, &fault, &fired);
	}
	return r;
}

static int one_script(struct points *pt, const struct script *script)
{
	struct base base;
	int r = 0;

	base_make(&base, base_find(script->base));
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && !r; i++)
		if (session_mine(pt->s))
			r = one_way(pt, script, &base, &ways[i]);
	base_fini(&base);
	return r;
}

int loop_io(struct points *pt)
{
	int r = 0;

	for (unsigned i = 0; i < nr_scripts && !r; i++)
		if (!pt->s->opt.state || !strcmp(pt->s->opt.state, scripts[i].name))
			r = one_script(pt, &scripts[i]);
	return r;
}
