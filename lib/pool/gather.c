/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

/* Segments that touch, in the storage and in memory, are one. */
static bool joins(const struct thin_segment *last, uint64_t offset, const void *buf)
{
	return last->offset + last->len == offset &&
	       (uint8_t *)last->buf + last->len == buf;
}

void thin_gather_reads(struct thin_gather *g, struct thin_storage *s)
{
	g->s = s;
	g->transfer = thin_storage_read;
	g->nr = 0;
}

void thin_gather_writes(struct thin_gather *g, struct thin_storage *s)
{
	g->s = s;
	g->transfer = thin_storage_write;
	g->nr = 0;
}

int thin_gather_add(struct thin_gather *g, uint64_t offset, void *buf, size_t len)
{
	if (g->nr && joins(&g->seg[g->nr - 1], offset, buf)) {
		g->seg[g->nr - 1].len += len;
		return 0;
	}
	if (g->nr == THIN_RUNS) {
		int r = thin_gather_go(g);
		if (r)
			return r;
	}
	g->seg[g->nr++] = (struct thin_segment){.offset = offset, .buf = buf, .len = len};
	return 0;
}

int thin_gather_go(struct thin_gather *g)
{
	size_t nr = g->nr;

	g->nr = 0;
	return nr ? g->transfer(g->s, g->seg, nr) : 0;
}
