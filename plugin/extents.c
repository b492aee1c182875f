/* SPDX-License-Identifier: BSD-3-Clause */
#include "extents.h"

#include <errno.h>

/* In one reply; nbdkit takes a million, the client asks again for the rest. */
#define MAX_EXTENTS 1024

#define DONE 1 /* ends the walk, is no error */

/* The extent that is being joined, of one type. */
struct report {
	uint64_t end; /* of the request */
	uint64_t offset;
	uint64_t len;
	uint32_t type;
	size_t nr;
	bool one;
	struct nbdkit_extents *extents;
};

static uint32_t type_of(enum thinbd_extent kind)
{
	return kind == THINBD_EXTENT_ZERO ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
}

/* Hand over what was joined. */
static int emit(struct report *r)
{
	if (!r->len)
		return 0;
	if (nbdkit_add_extent(r->extents, r->offset, r->len, r->type) < 0)
		return errno ? -errno : -ENOMEM;
	r->offset += r->len;
	r->len = 0;
	r->nr++;
	return r->one || r->nr == MAX_EXTENTS ? DONE : 0;
}

static int take(void *ctx, uint64_t offset, uint64_t len, enum thinbd_extent kind)
{
	struct report *r = ctx;
	uint32_t type = type_of(kind);

	if (offset != r->offset + r->len || offset >= r->end)
		return -EIO; /* there is a gap: say nothing rather than something wrong */
	if (len > r->end - offset)
		len = r->end - offset;
	if (r->len && type != r->type) {
		int err = emit(r);
		if (err)
			return err;
	}
	r->type = type;
	r->len += len;
	return 0;
}

int report_extents(struct thinbd_volume *v, uint64_t offset, uint64_t count, bool one,
		   struct nbdkit_extents *extents)
{
	struct report r = {
		.end = offset + count,
		.offset = offset,
		.one = one,
		.extents = extents,
	};
	int err = thinbd_extents(v, offset, count, take, &r);

	if (!err)
		err = emit(&r);
	if (err < 0)
		return err;
	return r.nr ? 0 : -EIO;
}
