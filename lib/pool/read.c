/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>

/*
 * Reads.  No lock of ours at all: the epoch keeps the blocks from getting
 * another owner (I3, I5) until the data is here.  What was looked up is one
 * moment's truth; a write that completes meanwhile is concurrent, so either
 * answer is right.
 *
 * All runs of a window are in flight together.  Those of the origin come
 * after those of the pool, and outside the epoch: an origin on a host that
 * does not answer may take half a minute to fail, and for so long nobody
 * could have a freed block.  What keeps the origin meanwhile is a gate of its
 * own, which is shut to drop it.
 */

struct reading {
	struct thin_core *core;
	struct thin_origin *origin;
	uint8_t *buf;
	uint64_t begin, end; /* bytes */
	uint64_t origin_end; /* likewise */
	struct thin_gather data, below;
};

static int add_run(struct reading *rd, const struct thin_run *run)
{
	uint64_t bs = rd->core->pool->block_size;
	uint64_t from = thin_max(run->vblock * bs, rd->begin);
	uint64_t to = thin_min((run->vblock + run->nr) * bs, rd->end);
	uint8_t *buf = rd->buf + (from - rd->begin);

	if (!run->mapped)
		return thin_origin_gather(rd->origin, rd->origin_end, &rd->below, from,
					  buf, to - from);
	return thin_gather_add(&rd->data, run->dblock * bs + (from - run->vblock * bs),
			       buf, to - from);
}

/* What the pool has of the blocks from *@at on, as far as one lookup goes. */
static int read_pool(struct reading *rd, uint64_t *at, uint64_t end)
{
	THIN_EPOCH_SCOPE;
	struct thin_cursor c;
	int r = thin_cursor_init(&c, rd->core, *at, end);

	if (r)
		return r;
	for (size_t i = 0; i < c.nr && !r; i++)
		r = add_run(rd, &c.runs[i]);
	if (!r)
		r = thin_gather_go(&rd->data);
	*at = c.to;
	return r;
}

static int read_window(struct reading *rd, uint64_t *at, uint64_t end)
{
	int r = read_pool(rd, at, end);

	return r ? r : thin_gather_go(&rd->below);
}

static int read_windows(struct reading *rd)
{
	uint64_t bs = rd->core->pool->block_size;
	uint64_t at = rd->begin / bs, end = thin_div_up(rd->end, bs);
	int r = 0;

	thin_gather_reads(&rd->data, rd->core->pool->params.data);
	thin_gather_reads(&rd->below, NULL);
	while (at < end && !r)
		r = read_window(rd, &at, end);
	return r;
}

static int read_once(struct reading *rd)
{
	int r;

	rd->origin = thin_core_origin_enter(rd->core);
	rd->origin_end = thin_core_origin_end(rd->core, rd->origin);
	r = read_windows(rd);
	thin_core_origin_leave(rd->core, rd->origin);
	return r;
}

int thin_volume_read(struct thin_volume *v, void *buf, uint64_t offset, size_t len)
{
	struct thin_pool *pool = v->core->pool;
	struct reading rd = {
		.core = v->core, .buf = buf, .begin = offset, .end = offset + len};
	int r = thin_volume_check(v, offset, len, false);

	if (r || !len)
		return r;
	r = thin_pool_may_read(pool);
	if (r)
		return r;
	r = read_once(&rd);
	if (r != -ESHUTDOWN)
		return r;
	/* Somebody's change failed, and the last commit is not yet back in force. */
	r = thin_commit_error(pool, r);
	return r == -ESHUTDOWN ? r : read_once(&rd);
}

/*
 * What is read is in the caches underneath afterwards, ours of the metadata
 * and the system's of the data; there is nothing more to a hint.
 */
int thin_volume_cache(struct thin_volume *v, uint64_t offset, uint64_t len)
{
	struct thin_buffers *buffers = &v->core->pool->buffers;
	int r = thin_volume_check(v, offset, len, false);
	void *buf;

	if (r)
		return r;
	buf = thin_buffer_get(buffers);
	if (!buf)
		return -ENOMEM;
	while (len && !r) {
		size_t n = thin_min(len, buffers->len);

		r = thin_volume_read(v, buf, offset, n);
		offset += n;
		len -= n;
	}
	thin_buffer_put(buffers, buf);
	return r;
}
