/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/volume_storage.h"

#include <errno.h>

struct volume_storage {
	struct thin_storage storage;
	struct thin_volume *v;
	struct thin_identity identity;
};

static struct volume_storage *of(struct thin_storage *s)
{
	return (struct volume_storage *)s;
}

static int vs_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int r = thin_volume_read(of(s)->v, seg[i].buf, seg[i].offset, seg[i].len);
		if (r)
			return r == -ERANGE ? -EIO : r;
	}
	return 0;
}

static int vs_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	(void)s;
	(void)seg;
	(void)nr;
	return -EROFS;
}

static int vs_no_range(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	(void)s;
	(void)offset;
	(void)len;
	return -EROFS;
}

static int vs_no_resize(struct thin_storage *s, uint64_t bytes)
{
	(void)s;
	(void)bytes;
	return -EROFS;
}

/* Nothing is ever written, so there is nothing to make durable or to start. */
static int vs_nothing(struct thin_storage *s)
{
	(void)s;
	return 0;
}

static int vs_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	*ret_bytes = thin_volume_size(of(s)->v);
	return 0;
}

static int vs_identity(struct thin_storage *s, struct thin_identity *ret)
{
	*ret = of(s)->identity;
	return 0;
}

struct relay {
	thin_extent_fn *fn;
	void *ctx;
};

static int relay_extent(void *ctx, uint64_t offset, uint64_t len, enum thin_map_type type)
{
	struct relay *r = ctx;

	return r->fn(r->ctx, offset, len,
		     type == THIN_MAP_ZERO ? THIN_EXTENT_ZERO : THIN_EXTENT_DATA);
}

static int vs_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
		      thin_extent_fn *fn, void *ctx)
{
	struct relay r = {.fn = fn, .ctx = ctx};

	return thin_volume_map(of(s)->v, offset, len, relay_extent, &r);
}

static void vs_close(struct thin_storage *s)
{
	thin_volume_close(of(s)->v);
	free(s);
}

static const struct thin_storage_ops ops = {
	.name = "volume",
	.read = vs_read,
	.write = vs_write,
	.zero = vs_no_range,
	.punch = vs_no_range,
	.flush = vs_nothing,
	.size = vs_size,
	.resize = vs_no_resize,
	.extents = vs_extents,
	.identity = vs_identity,
	.start = vs_nothing,
	.close = vs_close,
};

int thin_volume_storage(struct thin_volume *v, const struct thin_identity *identity,
			struct thin_storage **ret)
{
	struct volume_storage *vs = malloc(sizeof(*vs));

	if (!vs)
		return -ENOMEM;
	*vs = (struct volume_storage){
		.storage.ops = &ops,
		.v = v,
		.identity = *identity,
	};
	*ret = &vs->storage;
	return 0;
}
