/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What deleting several volumes at once would free: blocks that they share
 * with each other, too, as long as nobody else has them.
 *
 * For one volume the reference counts tell.  For several the blocks of all
 * others are marked in a bitmap, and those of the volumes that are not
 * marked are counted, each once.
 */
#include "service/requests.h"

#include "util/checked.h"

#include <errno.h>

/* 1 GiB of bitmap is 512 TiB in blocks of 64 KiB. */
#define MAX_BITMAP (UINT64_C(1) << 30)

#define RUNS 128

struct marks {
	struct thinbd *t;
	uint8_t *bits;
	uint64_t nr; /* blocks */
};

/* Mark one; was it marked before? */
static bool mark(struct marks *m, uint64_t block)
{
	uint8_t bit = (uint8_t)(1u << (block % 8));
	bool before = block >= m->nr || (m->bits[block / 8] & bit);

	if (!before)
		m->bits[block / 8] |= bit;
	return before;
}

/* Mark what @device has; how many were not marked before? */
static int mark_device(struct marks *m, uint32_t device, uint64_t *ret_new)
{
	struct thin_run runs[RUNS];
	uint64_t next = 0;

	*ret_new = 0;
	while (next < UINT64_MAX) {
		size_t nr;
		int r = thin_pool_lookup(m->t->pool, device, next, UINT64_MAX, runs, RUNS,
					 &nr);
		if (r)
			return r;
		for (size_t i = 0; i < nr; i++) {
			for (uint64_t j = 0; runs[i].mapped && j < runs[i].nr; j++)
				*ret_new += !mark(m, runs[i].dblock + j);
			next = runs[i].vblock + runs[i].nr;
		}
	}
	return 0;
}

static bool has_device(const struct thin_volume_list *list, uint32_t device)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->at[i]->device == device)
			return true;
	return false;
}

static int mark_others(struct marks *m, const struct thin_volume_list *list)
{
	struct thin_device_info info;
	uint64_t ignored;
	int r;

	for (uint32_t id = 0; !(r = thin_pool_next_device(m->t->pool, id, &info));
	     id = info.id + 1) {
		if (has_device(list, info.id))
			continue;
		r = mark_device(m, info.id, &ignored);
		if (r && r != -ENOENT && r != -EBUSY)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int count_together(struct marks *m, const struct thin_volume_list *list,
			  uint64_t *ret_blocks)
{
	uint64_t new;
	int r = mark_others(m, list);

	for (size_t i = 0; i < list->nr && !r; i++) {
		r = mark_device(m, list->at[i]->device, &new);
		if (!r)
			*ret_blocks += new;
		else if (r == -ENOENT)
			r = 0; /* it has lost its device */
	}
	return r;
}

/* Each for itself: too little, where they share blocks with each other. */
static int count_each(struct thinbd *t, const struct thin_volume_list *list,
		      uint64_t *ret_blocks)
{
	int r = 0;

	for (size_t i = 0; i < list->nr && !r; i++) {
		struct thin_device_info info;
		uint64_t blocks = 0;
		r = thin_pool_usage(t->pool, list->at[i]->device, &info, &blocks);
		*ret_blocks += blocks;
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

int thin_would_free(struct thinbd *t, const struct thin_volume_list *list,
		    uint64_t *ret_bytes)
{
	struct thin_pool_status s;
	uint64_t blocks = 0;
	int r;

	thin_pool_status(t->pool, &s);
	struct marks m = {.t = t, .nr = s.metadata.nr_data_blocks};
	/* What a held metadata snapshot refers to is not freed either. */
	if (list->nr > 1 && !s.metadata.held_root && m.nr / 8 < MAX_BITMAP)
		m.bits = calloc(1, m.nr / 8 + 1);
	r = m.bits ? count_together(&m, list, &blocks) : count_each(t, list, &blocks);
	free(m.bits);
	if (!r)
		*ret_bytes = blocks * t->block_size;
	return r;
}
