/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_METADATA_MODEL_H
#define THINBD_TESTS_METADATA_MODEL_H

/*
 * What a pool's metadata should say: for each device a plain array from
 * vblock to data block.  Small enough to be compared as a whole.
 */

#include "unit.h"

#include "metadata/metadata.h"
#include "util/epoch.h"

#include <errno.h>
#include <stdbool.h>

#define MODEL_DEVICES 12
#define MODEL_VBLOCKS 1200u
#define MODEL_DBLOCKS 20000u
#define UNMAPPED      UINT64_MAX

struct model_device {
	bool exists;
	uint64_t map[MODEL_VBLOCKS];
};

struct model {
	struct model_device device[MODEL_DEVICES];
};

static inline uint64_t model_mapped(const struct model_device *d)
{
	uint64_t nr = 0;

	for (uint32_t v = 0; v < MODEL_VBLOCKS; v++)
		nr += d->map[v] != UNMAPPED;
	return nr;
}

/* How many devices' places each data block is in. */
static inline void model_count(const struct model *m, uint32_t *counts)
{
	memset(counts, 0, MODEL_DBLOCKS * sizeof(*counts));
	for (unsigned i = 0; i < MODEL_DEVICES; i++)
		for (uint32_t v = 0; m->device[i].exists && v < MODEL_VBLOCKS; v++)
			if (m->device[i].map[v] != UNMAPPED)
				counts[m->device[i].map[v]]++;
}

/* How many of @d's blocks nobody else has. */
static inline uint64_t model_exclusive(const struct model_device *d,
				       const uint32_t *counts)
{
	uint64_t nr = 0;

	for (uint32_t v = 0; v < MODEL_VBLOCKS; v++)
		nr += d->map[v] != UNMAPPED && counts[d->map[v]] == 1;
	return nr;
}

static inline void model_clear(struct model_device *d)
{
	for (uint32_t v = 0; v < MODEL_VBLOCKS; v++)
		d->map[v] = UNMAPPED;
}

/* One device against its model, by lookups of @step runs at a time. */
static inline void model_check_device(struct thin_metadata *m, uint32_t id,
				      const struct model_device *model, size_t step)
{
	struct thin_run runs[64];
	struct thin_device *d;
	struct thin_device_info info;
	uint64_t pos = 0;

	assert_int_equal(thin_device_open(m, id, &d), 0);
	thin_device_info(d, &info);
	assert_int_equal(info.mapped_blocks, model_mapped(model));
	while (pos < MODEL_VBLOCKS) {
		size_t nr;

		assert_int_equal(
			thin_metadata_lookup(d, pos, MODEL_VBLOCKS, runs, step, &nr), 0);
		assert_true(nr > 0 && nr <= step);
		for (size_t i = 0; i < nr; i++) {
			assert_int_equal(runs[i].vblock, pos);
			for (uint64_t b = 0; b < runs[i].nr; b++, pos++)
				assert_int_equal(model->map[pos],
						 runs[i].mapped ? runs[i].dblock + b
								: UNMAPPED);
		}
	}
	thin_device_close(d);
}

/* What the metadata say of @id, which may be remembered from before. */
static inline void model_check_usage(struct thin_metadata *m, const struct model *model,
				     uint32_t id)
{
	static uint32_t counts[MODEL_DBLOCKS];
	struct thin_device_info info;
	struct thin_metadata_info pool;
	uint64_t exclusive, expect;

	if (!model->device[id].exists) {
		assert_int_equal(thin_metadata_usage(m, id, &info, &exclusive), -ENOENT);
		return;
	}
	model_count(model, counts);
	expect = model_exclusive(&model->device[id], counts);
	thin_metadata_info(m, &pool);
	assert_int_equal(thin_metadata_usage(m, id, &info, &exclusive), 0);
	assert_int_equal(info.id, id);
	assert_int_equal(info.mapped_blocks, model_mapped(&model->device[id]));
	/* What is held has all that there was then. */
	if (pool.held_root)
		assert_true(exclusive <= expect);
	else
		assert_int_equal(exclusive, expect);
}

static inline void model_check_all(struct thin_metadata *m, const struct model *model)
{
	static uint32_t counts[MODEL_DBLOCKS];
	struct thin_metadata_info info;
	uint64_t used = 0;

	model_count(model, counts);
	for (uint32_t b = 0; b < MODEL_DBLOCKS; b++)
		used += counts[b] > 0;
	thin_metadata_info(m, &info);
	assert_int_equal(info.data_allocated, used);
	for (uint32_t i = 0; i < MODEL_DEVICES; i++) {
		struct thin_device *d;

		if (model->device[i].exists)
			model_check_device(m, i, &model->device[i], 1 + i * 5);
		else
			assert_int_equal(thin_device_open(m, i, &d), -ENOENT);
	}
}

#endif
