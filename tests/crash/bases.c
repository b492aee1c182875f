/* SPDX-License-Identifier: BSD-3-Clause */
#include "bases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each is made by operations, like everything else. */
static const struct recipe {
	const char *name;
	uint64_t data_blocks;
	bool origin;
	const char *ops;
} recipes[] = {
	{"fresh", WORLD_DATA, false, "c 0"},
	{"shared", WORLD_DATA, false,
	 "c 0; w 0 0 64; c 1; w 1 0 16; s 0 2; w 0 16 8; s 0 3; w 2 24 8; t 3 32 16"},
	{"full", 10, false, "c 0; w 0 0 64; c 1; w 1 0 16; s 0 2"},
	{"origin", WORLD_DATA, true, "c 0; w 0 8 8; s 0 1; w 0 60 10; c 2"},
};

unsigned bases_nr(void)
{
	return sizeof(recipes) / sizeof(recipes[0]);
}

const char *base_name(unsigned i)
{
	return recipes[i].name;
}

const char *base_ops(unsigned i)
{
	return recipes[i].ops;
}

unsigned base_find(const char *name)
{
	unsigned i = 0;

	while (i < bases_nr() && strcmp(recipes[i].name, name))
		i++;
	return i;
}

static void must(struct world *w, int r)
{
	if (!r)
		return;
	fprintf(stderr, "base %s: %s\n", w->base->name, w->failure);
	exit(1);
}

void base_make(struct base *b, unsigned i)
{
	struct base empty;
	struct world w;
	struct ops ops;
	const char *bad;

	base_init(&empty, recipes[i].name);
	base_format(&empty, WORLD_METADATA, recipes[i].data_blocks);
	empty.origin = recipes[i].origin;
	if (!ops_parse(&ops, recipes[i].ops, &bad))
		abort();
	must(&w, world_open(&w, &empty));
	for (size_t n = 0; n < ops.nr; n++)
		must(&w, world_do(&w, &ops.op[n]));
	must(&w, world_to_base(&w, b));
	world_close(&w);
	base_fini(&empty);
	ops_fini(&ops);
}
