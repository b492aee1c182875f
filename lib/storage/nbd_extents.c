/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include "util/checked.h"

/*
 * What an export holds, by its base:allocation.
 *
 * A server describes as much as it likes of what it is asked for, or more,
 * in whole blocks of its own and in pieces of any length; the caller gets
 * exactly the range that he asked for, neighbours of one type joined.
 */

/* Extents on their way to the caller: one is held back until it ends. */
struct feed {
	thin_extent_fn *fn;
	void *ctx;
	uint64_t offset, len;
	enum thin_extent_type type;
};

static int feed_flush(struct feed *f)
{
	int r = f->len ? f->fn(f->ctx, f->offset, f->len, f->type) : 0;

	f->offset += f->len;
	f->len = 0;
	return r;
}

static int feed_add(struct feed *f, uint64_t len, enum thin_extent_type type)
{
	int r = f->type == type ? 0 : feed_flush(f);

	f->type = type;
	f->len += len;
	return r;
}

/* What the server says from @offset on; at least something. */
static int ask_status(struct thin_nbd_conn *conn, uint64_t offset, uint64_t len,
		      struct thin_nbd_status *st)
{
	uint64_t block = conn->expected->min_block;
	uint64_t first = offset / block * block;
	struct thin_nbd_request req = {
		.op = THIN_NBD_STATUS,
		.offset = first,
		.len = thin_min(thin_div_up(offset + len - first, block) * block,
				THIN_NBD_LONGEST),
		.status = st,
	};
	size_t skipped = 0;
	int r;

	req.len = thin_min(req.len, conn->expected->size - first);
	r = thin_nbd_conn_call(conn, &req, 1);
	if (r)
		return r;
	/* Its first extent begins at the block, not at the offset. */
	while (skipped < st->nr && st->extent[skipped].len <= offset - first) {
		first += st->extent[skipped].len;
		st->extent[skipped++].len = 0;
	}
	if (skipped < st->nr)
		st->extent[skipped].len -= offset - first;
	else
		*st = (struct thin_nbd_status){.extent = {{len, THIN_EXTENT_DATA}},
					       .nr = 1};
	return 0;
}

int thin_nbd_extents(struct thin_nbd_conn *conn, uint64_t offset, uint64_t len,
		     thin_extent_fn *fn, void *ctx)
{
	struct feed feed = {.fn = fn, .ctx = ctx, .offset = offset};
	int r = 0;

	while (len && !r) {
		struct thin_nbd_status st;

		r = ask_status(conn, offset, len, &st);
		for (size_t i = 0; i < st.nr && len && !r; i++) {
			uint64_t piece = thin_min(st.extent[i].len, len);

			if (piece)
				r = feed_add(&feed, piece, st.extent[i].type);
			offset += piece;
			len -= piece;
		}
	}
	return r ? r : feed_flush(&feed);
}
