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
 * All runs of a window are in flight together; those of the origin, which
 * is another storage, after those of the pool.
 */

struct reading {
	struct thin_core *core;
	struct thin_origin *origin;
	uint8_t *buf;
	uint64_t begin, end; /* bytes */
	struct thin_gather data, below;
};

static int add_run(struct reading *rd, const struct thin_run *run)
{
	uint64_t bs = rd->core->pool->block_size;
	uint64_t from = thin_max(run->vblock * bs, rd->begin);
	uint64_t to = thin_min((run->vblock + run->nr) * bs, rd->end);
	uint8_t *buf = rd->buf + (from - rd->begin);

	if (!run->mapped)
		return thin_origin_gather(rd->origin, &rd->below, from, buf, to - from);
	return thin_gather_add(&rd->data, run->dblock * bs + (from - run->vblock * bs),
			       buf, to - from);
}

static int add_runs(struct reading *rd, struct thin_cursor *c)
{
	const struct thin_run *run;
	int r;

	do {
		r = thin_cursor_next(c, &run);
		if (!r && run)
			r = add_run(rd, run);
	} while (!r && run);
	return r;
}

static int read_once(struct reading *rd)
{
	THIN_EPOCH_SCOPE;
	struct thin_pool *pool = rd->core->pool;
	struct thin_cursor c;
	int r;

	rd->origin = atomic_load(&rd->core->origin);
	thin_gather_reads(&rd->data, pool->params.data);
	thin_gather_reads(&rd->below, NULL);
	r = thin_cursor_init(&c, rd->core, rd->begin / pool->block_size,
			     thin_div_up(rd->end, pool->block_size));
	if (!r)
		r = add_runs(rd, &c);
	if (!r)
		r = thin_gather_go(&rd->data);
	if (!r)
		r = thin_gather_go(&rd->below);
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
