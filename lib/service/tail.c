/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rest of a volume's last block.  Nobody reads it, but it shows when the
 * volume grows: so there have to be zeros, as in the blocks behind it.
 */
#include "service/service.h"

#include "util/checked.h"

#include <errno.h>

struct tail {
	struct thin_volume *v; /* up to the block's end */
	uint64_t begin, end;   /* bytes; empty: nothing to do */
};

/* Is the block that @bytes falls into mapped? */
static int is_mapped(struct thinbd *t, uint32_t device, uint64_t bytes, bool *ret)
{
	uint64_t vblock = bytes / t->block_size;
	struct thin_run run;
	size_t nr;
	int r = thin_pool_lookup(t->pool, device, vblock, vblock + 1, &run, 1, &nr);

	if (!r)
		*ret = run.mapped;
	return r;
}

static int open_tail(struct thinbd *t, const struct thin_volume_conf *conf,
		     struct tail *ret, struct thin_error *e)
{
	uint64_t end = thin_div_up(conf->size, t->block_size) * t->block_size;
	bool open = thin_pool_is_open(t->pool, conf->device), mapped = false;
	int r = 0;

	*ret = (struct tail){0};
	if (end != conf->size)
		r = is_mapped(t, conf->device, conf->size, &mapped);
	if (r || end == conf->size || (!mapped && !open))
		return r;
	r = thin_open_past_end(t, conf, end, &ret->v, e);
	/* From here on nobody fills the block with more than the record says. */
	if (!r)
		r = is_mapped(t, conf->device, conf->size, &mapped);
	if (r || !mapped)
		return r;
	ret->begin = conf->size;
	ret->end = end;
	return 0;
}

static int zero(struct tail *tail)
{
	return tail->begin == tail->end
		       ? 0
		       : thin_volume_zero(tail->v, tail->begin, tail->end - tail->begin,
					  THIN_FUA);
}

int thin_tail_zero(struct thinbd *t, const struct thin_volume_conf *conf,
		   struct thin_error *e)
{
	struct tail tail;
	int r = open_tail(t, conf, &tail, e);

	if (!r)
		r = zero(&tail);
	thin_volume_close(tail.v);
	return r;
}
