/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_VERIFY_H
#define THINBD_TESTS_VERIFY_H

/*
 * Is an image what a pool may be after a crash?
 *
 *  a  It opens, read-write, and needs no check.
 *  b  The audit finds nothing, not even a leak.
 *  d  Each volume that must be there is, no other one is, and each of its
 *     sectors holds one of the values that the model allows.  Since every
 *     sector of every volume is looked at, whoever's deleted data or the
 *     disk's old garbage would be seen, too (P8).
 *  f  Opening, reading and closing it changed nothing.
 *  g  It can be worked on; whoever calls does that.
 *
 * Where the same can be reached as in an image before, that one's verdict
 * stands; but now and then it is looked at all the same.
 */

#include "images.h"
#include "samples.h"

#include "pool/pool.h"

struct verify {
	struct seen states;
	struct image_counts *counts;
	struct samples *samples; /* may be NULL */
	uint64_t dice;
	/* What is below volumes that have an origin; NULL: none has. */
	struct thin_storage *origin;
	/*
	 * Each @go_on_every-th image that was looked at: go on from it, with
	 * the model of what it holds.  May be NULL.
	 */
	int (*go_on)(void *ctx, const struct image *img, const struct model *found);
	void *ctx;
	unsigned go_on_every;
	bool may_need_check; /* something failed: then the pool may say so, and is
				read-only */
	char failure[512];   /* what was wrong, and with which image */
};

/* An image_fn; @ctx is the struct verify.  -EINVAL and its @failure. */
int verify_image(void *ctx, struct image *img, const struct replay *rp);

/*
 * The same of a pool that is open, or of any storages: without the cache.
 * @found: gets the model of what there is; may be NULL.
 */
int verify_pool(struct verify *vf, struct thin_storage *metadata,
		struct thin_storage *data, const struct model *model,
		struct model *found);

void verify_fini(struct verify *vf);

/* All that can be reached, as one number. */
struct view;
uint64_t verify_state(const struct image *img, const struct view *v);

/* What can be reached of the metadata, likewise. */
uint64_t verify_metadata_state(const struct image *img, const struct view *v);

/* One audit: 0, or -EINVAL and the first thing it found in @why. */
int verify_audit(struct thin_storage *metadata, uint64_t nr_data_blocks, char *why,
		 size_t len);

/*
 * All of a volume against @may, model_may() or model_now().
 * @found: NULL, or gets what was read.
 */
int verify_volume(struct thin_volume *v, uint32_t volume, const struct model *model,
		  bool (*may)(const struct model *m, uint32_t volume, uint64_t sector,
			      uint32_t value),
		  struct model *found, char *why, size_t len);

/* An origin of one open pool, over what is shared by many; NULL without. */
struct thin_origin *verify_origin(struct thin_storage *storage);

#endif
