/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>
#include <libnbd.h>
#include <string.h>

/*
 * NBD exports: the vtable.  Calls are cut into requests that the server
 * takes; nbd_conn.c brings them there, and through a loss of the server.
 *
 * There are several connections where the server says that one sees what
 * another did (multi-conn), and where we only read; with a single caller
 * only the first is ever made.  What is written goes over one connection:
 * [R2] of nbd_replay.c.
 *
 * A server may want requests aligned (min_block).  What is not is read into
 * a buffer that is, and written from it:
 *
 *   [N1] While somebody reads a block to write it back with a few bytes
 *        changed, nobody else writes: his bytes would be undone.
 */

/* Requests in flight of one call; they are on its stack. */
#define WINDOW 64u

struct nbd {
	struct thin_storage base;
	char *uri;
	struct thin_nbd_export export;
	struct thin_sharded_lock rewrite_lock; /* [N1] */
	unsigned nr_conns;		       /* may be used */
	struct thin_nbd_conn conn[THIN_NBD_CONNECTIONS];
};

static struct nbd *to_nbd(struct thin_storage *s)
{
	return (struct nbd *)s;
}

static struct thin_nbd_conn *least_loaded(struct nbd *n)
{
	struct thin_nbd_conn *best = &n->conn[0];

	for (unsigned i = 1; i < n->nr_conns; i++)
		if (atomic_load(&n->conn[i].load) < atomic_load(&best->load))
			best = &n->conn[i];
	return best;
}

/* --- cutting ----------------------------------------------------------- */

/* Requests to be sent together, and sent when there is no room for more. */
struct window {
	struct nbd *n;
	enum thin_nbd_op op;
	struct thin_nbd_request req[WINDOW];
	size_t nr;
};

static int window_send(struct window *w)
{
	size_t nr = w->nr;

	w->nr = 0;
	return nr ? thin_nbd_conn_call(least_loaded(w->n), w->req, nr) : 0;
}

/* @buf: NULL for what has no data. */
static int window_add(struct window *w, uint64_t offset, uint8_t *buf, uint64_t len)
{
	uint64_t longest = buf ? w->n->export.max_block : THIN_NBD_LONGEST;
	int r = 0;

	while (len && !r) {
		uint64_t n = thin_min(len, longest);

		w->req[w->nr++] = (struct thin_nbd_request){
			.op = w->op,
			.offset = offset,
			.len = n,
			.buf = buf,
		};
		offset += n;
		len -= n;
		if (buf)
			buf += n;
		if (w->nr == WINDOW)
			r = window_send(w);
	}
	return r;
}

static int transfer(struct nbd *n, enum thin_nbd_op op, const struct thin_segment *seg,
		    size_t nr)
{
	struct window w = {.n = n, .op = op, .nr = 0};
	int r = 0;

	for (size_t i = 0; i < nr && !r; i++)
		r = window_add(&w, seg[i].offset, seg[i].buf, seg[i].len);
	return r ? r : window_send(&w);
}

static int without_data(struct nbd *n, enum thin_nbd_op op, uint64_t offset, uint64_t len)
{
	struct window w = {.n = n, .op = op, .nr = 0};
	int r = window_add(&w, offset, NULL, len);

	return r ? r : window_send(&w);
}

/* --- what is not aligned ----------------------------------------------- */

static bool range_aligned(const struct nbd *n, uint64_t offset, uint64_t len)
{
	return !((offset | len) & (n->export.min_block - 1));
}

static bool all_aligned(const struct nbd *n, const struct thin_segment *seg, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (!range_aligned(n, seg[i].offset, seg[i].len))
			return false;
	return true;
}

/* The blocks around @seg, read into a new buffer that @ret then owns. */
static int read_around(struct nbd *n, const struct thin_segment *seg,
		       struct thin_segment *ret)
{
	uint64_t block = n->export.min_block;
	uint64_t first = seg->offset / block * block;
	uint64_t end = thin_div_up(seg->offset + seg->len, block) * block;
	struct thin_segment around = {.offset = first};
	int r;

	around.len = thin_min(end, n->export.size) - first;
	around.buf = malloc(around.len);
	if (!around.buf)
		return -ENOMEM;
	r = transfer(n, THIN_NBD_READ, &around, 1);
	if (r)
		free(around.buf);
	else
		*ret = around;
	return r;
}

static int unaligned(struct nbd *n, bool write, const struct thin_segment *seg, size_t nr)
{
	int r = 0;

	for (size_t i = 0; i < nr && !r; i++) {
		struct thin_segment around;
		uint8_t *inside;

		if (!seg[i].len)
			continue;
		r = read_around(n, &seg[i], &around);
		if (r)
			break;
		inside = (uint8_t *)around.buf + (seg[i].offset - around.offset);
		if (write) {
			memcpy(inside, seg[i].buf, seg[i].len);
			r = transfer(n, THIN_NBD_WRITE, &around, 1);
		} else {
			memcpy(seg[i].buf, inside, seg[i].len);
		}
		free(around.buf);
	}
	return r;
}

/* --- the vtable -------------------------------------------------------- */

static int nbd_op_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct nbd *n = to_nbd(s);

	return all_aligned(n, seg, nr) ? transfer(n, THIN_NBD_READ, seg, nr)
				       : unaligned(n, false, seg, nr);
}

static int nbd_op_flush(struct thin_storage *s)
{
	struct nbd *n = to_nbd(s);
	struct thin_nbd_request req = {.op = THIN_NBD_FLUSH};

	/* A server that can not flush has nothing that it would have to. */
	return n->export.can_flush ? thin_nbd_conn_call(&n->conn[0], &req, 1) : 0;
}

/* The log must not grow for ever.  A flush that failed counts (S4). */
static int bound_log(struct nbd *n, int r)
{
	if (r || thin_nbd_conn_logged(&n->conn[0]) <= THIN_NBD_REPLAY_MAX)
		return r;
	return thin_storage_flush(&n->base);
}

static int nbd_op_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct nbd *n = to_nbd(s);
	int r;

	if (all_aligned(n, seg, nr)) {
		thin_sharded_read(&n->rewrite_lock);
		r = transfer(n, THIN_NBD_WRITE, seg, nr);
		thin_sharded_read_end(&n->rewrite_lock);
	} else {
		thin_sharded_write(&n->rewrite_lock);
		r = unaligned(n, true, seg, nr);
		thin_sharded_write_end(&n->rewrite_lock);
	}
	return bound_log(n, r);
}

static int nbd_op_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct nbd *n = to_nbd(s);
	int r;

	if (!n->export.can_zero || !range_aligned(n, offset, len))
		return -ENOTSUP;
	thin_sharded_read(&n->rewrite_lock);
	r = without_data(n, THIN_NBD_ZERO, offset, len);
	thin_sharded_read_end(&n->rewrite_lock);
	return bound_log(n, r);
}

/* Of the blocks at the edges a part is still wanted: they stay. */
static int nbd_op_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct nbd *n = to_nbd(s);
	uint64_t block = n->export.min_block;
	uint64_t first = thin_div_up(offset, block) * block,
		 end = (offset + len) / block * block;
	int r;

	if (!n->export.can_trim)
		return -ENOTSUP;
	if (first >= end)
		return 0;
	thin_sharded_read(&n->rewrite_lock);
	r = without_data(n, THIN_NBD_TRIM, first, end - first);
	thin_sharded_read_end(&n->rewrite_lock);
	return bound_log(n, r);
}

/* As it was when we connected; another size is another export. */
static int nbd_op_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	*ret_bytes = to_nbd(s)->export.size;
	return 0;
}

static int nbd_op_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
			  thin_extent_fn *fn, void *ctx)
{
	struct nbd *n = to_nbd(s);

	if (!n->export.can_extents)
		return fn(ctx, offset, len, THIN_EXTENT_DATA);
	return thin_nbd_extents(least_loaded(n), offset, len, fn, ctx);
}

/* The process is another one now; so is its connection. */
static int nbd_op_start(struct thin_storage *s)
{
	struct nbd *n = to_nbd(s);

	thin_nbd_conn_hang_up(&n->conn[0]);
	if (s->readonly && n->export.can_multi_conn)
		n->nr_conns = THIN_NBD_CONNECTIONS;
	return 0;
}

static void nbd_op_close(struct thin_storage *s)
{
	struct nbd *n = to_nbd(s);

	for (size_t i = 0; i < THIN_NBD_CONNECTIONS; i++)
		thin_nbd_conn_fini(&n->conn[i]);
	thin_sharded_fini(&n->rewrite_lock);
	thin_nbd_export_fini(&n->export);
	free(n->uri);
	free(n);
}

void thin_nbd_set_patience(struct thin_storage *s, uint64_t ms)
{
	for (size_t i = 0; i < THIN_NBD_CONNECTIONS; i++)
		to_nbd(s)->conn[i].patience_ms = ms;
}

static const struct thin_storage_ops nbd_ops = {
	.name = "nbd",
	.read = nbd_op_read,
	.write = nbd_op_write,
	.zero = nbd_op_zero,
	.punch = nbd_op_punch,
	.flush = nbd_op_flush,
	.size = nbd_op_size,
	.extents = nbd_op_extents,
	.start = nbd_op_start,
	.close = nbd_op_close,
};

static struct nbd *nbd_new(const char *uri, bool readonly)
{
	struct nbd *n = aligned_alloc(_Alignof(struct nbd), sizeof(*n));

	if (!n)
		return NULL;
	*n = (struct nbd){
		.base.ops = &nbd_ops,
		.base.readonly = readonly,
		.uri = strdup(uri),
		.nr_conns = 1,
	};
	thin_sharded_init(&n->rewrite_lock);
	return n;
}

/* Connect for the first time: whatever is there is what we expect later. */
static int connect_first(struct nbd *n, struct thin_error *e)
{
	uint64_t deadline = thin_now_ns() + THIN_NBD_CONNECT_MS * UINT64_C(1000000);
	struct thin_error why = {""};
	struct nbd_handle *handle;
	int r = thin_nbd_handshake(n->uri, deadline, &handle, &n->export, &why);

	if (r)
		return thin_error_set(
			e, r,
			"%s: cannot connect: %s; check that the server runs, and "
			"its list of exports (nbdinfo --list)",
			n->uri, why.text);
	for (size_t i = 0; i < THIN_NBD_CONNECTIONS && !r; i++) {
		r = thin_nbd_conn_init(&n->conn[i], n->uri, &n->export, n->base.readonly);
		if (!r && i)
			thin_nbd_conn_join(&n->conn[i], &n->conn[0]);
	}
	if (r) {
		nbd_close(handle);
		return thin_error_set(e, r, "%s: %s", n->uri, thin_strerror(r));
	}
	thin_nbd_conn_adopt(&n->conn[0], handle);
	if (n->export.readonly && !n->base.readonly)
		return thin_error_set(
			e, -EROFS,
			"%s: the server lets nobody write; have it serve read-write",
			n->uri);
	return 0;
}

int thin_storage_open_nbd(const char *uri, unsigned flags, struct thin_storage **ret,
			  struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct nbd *n = nbd_new(uri, flags & THIN_STORAGE_READONLY);
	int r;

	if (!n)
		return thin_error_set(e, -ENOMEM, "%s: no memory", uri);
	s = &n->base;
	r = n->uri ? connect_first(n, e) : -ENOMEM;
	if (r)
		return r;
	*ret = thin_steal(s);
	return 0;
}
