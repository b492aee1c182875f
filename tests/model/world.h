/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_WORLD_H
#define THINBD_TESTS_MODEL_WORLD_H

/*
 * What a round's operations are done to: a pool, the model of it, and what
 * both stand on.
 */

#include "../unit/seeded.h"
#include "model.h"
#include "pool/pool.h"

struct world {
	struct seeded rng;
	const uint8_t *at, *end; /* bytes to choose by, until @end; NULL: by rng */
	struct model m;
	struct shelf *metadata, *data, *origin_shelf[MODEL_ORIGINS];
	struct thin_origin *origin[MODEL_ORIGINS];
	struct recorder *rec; /* between the pool and its shelves */
	struct monitor *monitor;
	struct thin_pool_params params;
	struct thin_pool *pool;
	struct thin_volume *volume[MODEL_VOLUMES];
	bool started; /* threads run */
	uint32_t next_device;
	uint64_t commits; /* that the model knows of */
	uint8_t *payload, *buf;
	uint64_t max_bytes; /* of a volume */
	bool held;	    /* thin_pool_hold() */
};

/* The smaller of the two. */
static inline uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
