/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/*
 * External origins: what volumes show where they have no blocks of their own.
 *
 *  E1  Never written (I6): this file has no call that could.
 *  E2  Where it ends is what its identity said at open, to the byte.  Past
 *      that it reads as zeros, in every mode (dm-thin's read-only and full
 *      pools give errors there).
 *  E3  It serves nothing once it was seen to have changed (I6): bytes of the
 *      old and the new one would mix.  It is looked at once a second, so a
 *      change is noticed within that time, not before.
 *  E4  It is open as long as somebody has a reference, and not longer: who has
 *      one by looking it up (thin_origin_try_ref()) is told first when it goes.
 */

struct thin_origin {
	struct thin_storage *storage;
	char *name;
	struct thin_identity identity;
	_Atomic unsigned refs;
	atomic_bool stale;
	void (*gone)(void *ctx); /* or NULL */
	void *ctx;
	struct thin_mutex lock;
	bool started THIN_GUARDED_BY(lock);
};

static bool same(const struct thin_identity *a, const struct thin_identity *b)
{
	return a->size == b->size && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

static int differs(struct thin_error *e, const char *name,
		   const struct thin_identity *was, const struct thin_identity *is)
{
	return thin_error_set(e, -ESTALE,
			      "origin %s: it has changed; recorded: size %" PRIu64
			      ", inode %" PRIu64 ", mtime %" PRId64 ", ctime %" PRId64
			      "; now: size %" PRIu64 ", inode %" PRIu64 ", mtime %" PRId64
			      ", ctime %" PRId64,
			      name, was->size, was->inode, was->mtime_ns, was->ctime_ns,
			      is->size, is->inode, is->mtime_ns, is->ctime_ns);
}

int thin_origin_open(struct thin_storage *storage, const char *name,
		     const struct thin_identity *identity, struct thin_origin **ret,
		     struct thin_error *e)
{
	_cleanup_free struct thin_origin *o = calloc(1, sizeof(*o));
	_cleanup_free char *copy = strdup(name);
	int r;

	if (!o || !copy)
		return thin_error_set(e, -ENOMEM, "origin %s: no memory", name);
	r = thin_storage_identity(storage, &o->identity);
	if (r)
		return thin_error_set(e, r, "origin %s: can not tell what it is: %s",
				      name, thin_strerror(r));
	if (identity && !same(identity, &o->identity))
		return differs(e, name, identity, &o->identity);
	o->storage = storage;
	o->name = thin_steal(copy);
	o->refs = 1;
	thin_mutex_init(&o->lock);
	*ret = thin_steal(o);
	return 0;
}

struct thin_origin *thin_origin_ref(struct thin_origin *o)
{
	atomic_fetch_add(&o->refs, 1);
	return o;
}

bool thin_origin_try_ref(struct thin_origin *o)
{
	unsigned refs = atomic_load(&o->refs);

	while (refs && !atomic_compare_exchange_weak(&o->refs, &refs, refs + 1))
		;
	return refs;
}

void thin_origin_on_close(struct thin_origin *o, void (*gone)(void *ctx), void *ctx)
{
	o->gone = gone;
	o->ctx = ctx;
}

void thin_origin_unref(struct thin_origin *o)
{
	if (!o || atomic_fetch_sub(&o->refs, 1) > 1)
		return;
	if (o->gone)
		o->gone(o->ctx);
	thin_storage_close(o->storage);
	thin_mutex_fini(&o->lock);
	free(o->name);
	free(o);
}

uint64_t thin_origin_size(const struct thin_origin *o)
{
	return o->identity.size;
}

const struct thin_identity *thin_origin_identity(const struct thin_origin *o)
{
	return &o->identity;
}

const char *thin_origin_name(const struct thin_origin *o)
{
	return o->name;
}

int thin_origin_start(struct thin_origin *o)
{
	int r = 0;

	thin_mutex_lock(&o->lock);
	if (!o->started) {
		r = thin_storage_start(o->storage);
		o->started = !r;
	}
	thin_mutex_unlock(&o->lock);
	return r;
}

/* One that does not answer now is not one that changed: its reads will fail. */
bool thin_origin_turned(struct thin_origin *o)
{
	struct thin_identity now;

	if (atomic_load(&o->stale) || thin_storage_identity(o->storage, &now) ||
	    same(&o->identity, &now))
		return false;
	return !atomic_exchange(&o->stale, true);
}

static int check(const struct thin_origin *o)
{
	return atomic_load_explicit(&o->stale, memory_order_relaxed) ? -ESTALE : 0;
}

int thin_origin_gather(struct thin_origin *o, uint64_t end, struct thin_gather *g,
		       uint64_t offset, void *buf, size_t len)
{
	size_t below = offset < end ? (size_t)thin_min(len, end - offset) : 0;
	int r;

	memset((uint8_t *)buf + below, 0, len - below);
	if (!below)
		return 0;
	r = check(o);
	if (r)
		return r;
	g->s = o->storage;
	return thin_gather_add(g, offset, buf, below);
}

int thin_origin_extents(struct thin_origin *o, uint64_t offset, uint64_t len,
			thin_extent_fn *fn, void *ctx)
{
	int r = check(o);

	return r ? r : thin_storage_extents(o->storage, offset, len, fn, ctx);
}
