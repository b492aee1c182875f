/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_DM_THIN_H
#define THINBD_TESTS_DM_THIN_H

/* Ground for the tests of what docs/dm-thin.md says, row by row. */

#include "pool_ground.h"

#include "audit/audit.h"
#include "metadata/metadata_internal.h"

#define NOWHERE UINT64_MAX

/* The data storage has somebody's deleted data everywhere (0xee). */
static inline struct ground *ground_stale(uint64_t data_blocks)
{
	struct ground *g = ground_new(data_blocks);

	assert_int_equal(shelf_punch(&g->data->lent, 0, data_blocks * BLOCK), 0);
	g->data->punches = 0;
	return g;
}

static inline int tell_finding(void *ctx, const struct thin_finding *f)
{
	char text[THIN_FINDING_TEXT];

	(void)ctx;
	thin_finding_format(f, NULL, NULL, text, sizeof(text));
	if (f->severity != THIN_AUDIT_NOTE)
		print_error("audit: %s\n", text);
	return 0;
}

/* Commit; then the metadata must be without fault, and lose no block. */
static inline void expect_sound(struct ground *g)
{
	struct thin_audit_summary s;

	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(
		thin_audit(g->metadata->memory, NULL, tell_finding, NULL, &s, NULL), 0);
	assert_int_equal(s.fatal + s.nonfatal, 0);
	assert_int_equal(s.data_used, ground_used(g));
}

static inline void snapshot(struct ground *g, uint32_t origin, uint32_t snap)
{
	struct thin_snap_pair pair = {origin, snap};

	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
}

static inline void delete_device(struct ground *g, uint32_t device)
{
	assert_int_equal(thin_pool_delete(g->pool, &device, 1), 0);
}

/* Which data block @vblock is mapped to. */
static inline uint64_t block_of(struct thin_volume *v, uint64_t vblock)
{
	struct thin_run run;
	size_t nr;

	assert_int_equal(
		thin_metadata_lookup(v->core->d, vblock, vblock + 1, &run, 1, &nr), 0);
	return run.mapped ? run.dblock : NOWHERE;
}

static inline uint64_t mapped_blocks(struct thin_volume *v)
{
	struct thin_device_info info;

	thin_device_info(v->core->d, &info);
	return info.mapped_blocks;
}

/* --- metadata alone ------------------------------------------------------------- */

#define SMALL UINT64_C(4096) /* a data block here: many cost nothing */

static inline struct ground *ground_small(uint64_t data_blocks)
{
	struct ground *g = ground_make(SMALL, data_blocks, 2048);

	ground_open(g);
	return g;
}

/* Mappings without data. */
static inline void map_blocks(struct thin_volume *v, uint64_t vblock, uint64_t nr)
{
	struct thin_metadata *m = v->core->pool->m;

	while (nr) {
		uint64_t dblock, got;

		assert_int_equal(thin_metadata_reserve(m, nr, &dblock, &got), 0);
		assert_int_equal(thin_metadata_insert(v->core->d, vblock, dblock, got),
				 0);
		vblock += got;
		nr -= got;
	}
}

static inline void trim_blocks(struct thin_volume *v, uint64_t begin, uint64_t end)
{
	assert_int_equal(thin_volume_trim(v, begin * SMALL, (end - begin) * SMALL, 0), 0);
}

/* Where each of the first @nr blocks is, to be freed. */
static inline uint64_t *map_of(struct thin_volume *v, uint64_t nr)
{
	uint64_t *map = calloc(nr, sizeof(*map)), pos = 0;
	struct thin_run runs[16];
	size_t n;

	assert_non_null(map);
	while (pos < nr) {
		assert_int_equal(thin_metadata_lookup(v->core->d, pos, nr, runs, 16, &n),
				 0);
		for (size_t i = 0; i < n; i++)
			for (uint64_t b = 0; b < runs[i].nr; b++)
				map[pos++] =
					runs[i].mapped ? runs[i].dblock + b : NOWHERE;
	}
	return map;
}

static inline void expect_map(struct thin_volume *v, const uint64_t *want, uint64_t nr)
{
	uint64_t *map = map_of(v, nr);

	assert_memory_equal(map, want, nr * sizeof(*map));
	free(map);
}

#endif
