/* SPDX-License-Identifier: BSD-3-Clause */
#include "flat.h"

#include "fuzz.h"
#include "util/checked.h"
#include "util/lock.h"

#include <errno.h>
#include <string.h>

/* Mapping and unmapping memory would cost more than all that a run does. */
struct flat {
	struct thin_storage base;
	struct thin_mutex lock;
	uint64_t max, size;
	uint64_t end; /* of what is not zeros, or was written */
	uint8_t *bytes;
	struct thin_identity identity; /* size 0: none was given */
};

static struct flat *to_flat(struct thin_storage *s)
{
	return (struct flat *)s;
}

static int flat_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct flat *f = to_flat(s);

	thin_mutex_lock(&f->lock);
	for (size_t i = 0; i < nr; i++)
		memcpy(seg[i].buf, f->bytes + seg[i].offset, seg[i].len);
	thin_mutex_unlock(&f->lock);
	return 0;
}

static int flat_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct flat *f = to_flat(s);

	thin_mutex_lock(&f->lock);
	for (size_t i = 0; i < nr; i++) {
		memcpy(f->bytes + seg[i].offset, seg[i].buf, seg[i].len);
		f->end = thin_max(f->end, seg[i].offset + seg[i].len);
	}
	thin_mutex_unlock(&f->lock);
	return 0;
}

/* What is punched becomes garbage: nobody may rely on zeros there (I5). */
static int flat_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct flat *f = to_flat(s);

	thin_mutex_lock(&f->lock);
	memset(f->bytes + offset, 0xee, len);
	f->end = thin_max(f->end, offset + len);
	thin_mutex_unlock(&f->lock);
	return 0;
}

static int flat_flush(struct thin_storage *s)
{
	(void)s;
	return 0;
}

static int flat_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	*ret_bytes = to_flat(s)->size;
	return 0;
}

/* Only to grow: that is all that the library does. */
static int flat_resize(struct thin_storage *s, uint64_t bytes)
{
	struct flat *f = to_flat(s);

	if (bytes > f->max)
		return -EFBIG;
	f->size = thin_max(f->size, bytes);
	return 0;
}

static int flat_identity(struct thin_storage *s, struct thin_identity *ret)
{
	struct flat *f = to_flat(s);

	*ret = f->identity.size ? f->identity : (struct thin_identity){.size = f->size};
	return 0;
}

static void flat_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops flat_ops = {
	.name = "flat",
	.read = flat_read,
	.write = flat_write,
	.punch = flat_punch,
	.flush = flat_flush,
	.size = flat_size,
	.resize = flat_resize,
	.identity = flat_identity,
	.close = flat_close,
};

struct flat *flat_new(uint64_t max)
{
	struct flat *f = calloc(1, sizeof(*f));

	MUST(f);
	f->bytes = calloc(1, max);
	MUST(f->bytes);
	f->max = max;
	thin_mutex_init(&f->lock);
	return f;
}

struct thin_storage *flat_open(struct flat *f, const uint8_t *image, size_t size,
			       uint64_t bytes)
{
	if (size > bytes || bytes > f->max)
		return NULL;
	memcpy(f->bytes, image, size);
	if (f->end > size)
		memset(f->bytes + size, 0, f->end - size);
	f->end = size;
	f->size = bytes;
	return flat_reopen(f);
}

void flat_identify(struct flat *f, const struct thin_identity *id)
{
	f->identity = *id;
}

struct thin_storage *flat_reopen(struct flat *f)
{
	f->base = (struct thin_storage){.ops = &flat_ops};
	atomic_store(&f->base.known_size, f->size);
	return &f->base;
}
