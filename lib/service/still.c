/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/still.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>

/*
 * All blocks that a pinned commit leads to stay where they are, but for block
 * 0, which the next commit overwrites: so reads go to the metadata storage, and
 * block 0 is laid over them.
 */
struct picture {
	struct thin_storage storage;
	struct thin_storage *below;
	uint8_t superblock[THIN_METADATA_BLOCK];
};

static void lay_over(const struct picture *p, const struct thin_segment *seg)
{
	uint64_t end = thin_min(seg->offset + seg->len, THIN_METADATA_BLOCK);

	if (seg->offset < end)
		memcpy(seg->buf, p->superblock + seg->offset, end - seg->offset);
}

static int picture_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct picture *p = (struct picture *)s; /* its first member */
	int r = thin_storage_read(p->below, seg, nr);

	for (size_t i = 0; i < nr && !r; i++)
		lay_over(p, &seg[i]);
	return r;
}

static int picture_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	return thin_storage_size(((struct picture *)s)->below, ret_bytes);
}

/* It is read-only: these are not called. */
static int picture_write(struct thin_storage *s, const struct thin_segment *seg,
			 size_t nr)
{
	(void)s;
	(void)seg;
	(void)nr;
	return -EROFS;
}

static int picture_flush(struct thin_storage *s)
{
	(void)s;
	return 0;
}

/* It belongs to whoever took it. */
static void picture_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops picture_ops = {
	.name = "picture",
	.read = picture_read,
	.write = picture_write,
	.flush = picture_flush,
	.size = picture_size,
	.close = picture_close,
};

static int taken(const struct thin_still *s)
{
	return s->taken ? s->taken(s->ctx) : 0;
}

/* @ret_whole: what was looked at was there all the while. */
static int look_pinned(struct thinbd *t, const struct thin_still *s, bool *ret_whole)
{
	struct picture p = {
		.storage = {.ops = &picture_ops, .readonly = true},
		.below = thin_pool_metadata_storage(t->pool),
	};

	*ret_whole = false;
	thin_mutex_lock(&t->lock);
	int r = thin_pool_pin(t->pool, p.superblock);
	if (r) {
		thin_mutex_unlock(&t->lock);
		return r;
	}
	r = taken(s);
	thin_mutex_unlock(&t->lock);
	if (!r)
		r = s->look(s->ctx, &p.storage);
	*ret_whole = thin_pool_unpin(t->pool);
	return r;
}

/* The lock first: who has it may be waiting for a commit. */
static int look_frozen(struct thinbd *t, const struct thin_still *s)
{
	thin_mutex_lock(&t->lock);
	thin_pool_freeze(t->pool);
	int r = taken(s);
	thin_mutex_unlock(&t->lock);
	if (!r)
		r = s->look(s->ctx, thin_pool_metadata_storage(t->pool));
	thin_pool_thaw(t->pool);
	return r;
}

int thin_still_look(struct thinbd *t, const struct thin_still *s)
{
	bool whole;
	int r = look_pinned(t, s, &whole);

	return whole || r == -ESHUTDOWN ? r : look_frozen(t, s);
}
