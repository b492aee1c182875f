/* SPDX-License-Identifier: BSD-3-Clause */

#include "life.h"

/*
 * A round's pool: made, closed and opened again, killed, held, grown.
 *
 * Each has a block size, origins and a policy of its own, and is small, so
 * that many run full.  One in which threads run does without crashes, since
 * nobody can say then what the last commit holds.
 */

#include "../unit/shelf.h"
#include "choose.h"
#include "monitor.h"
#include "requests.h"
#include "should.h"
#include "told.h"
#include "util/limits.h"
#include "volumes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of a volume: in most rounds; where blocks are large; by bytes. */
#define NR_BLOCKS	20
#define NR_BLOCKS_LARGE 4
#define NR_BLOCKS_BYTES 6

#define METADATA_BLOCKS 2048

static void open_pool(struct world *w)
{
	struct thin_error e = {""};
	int r;

	w->params.metadata = rec_lend(w->rec, REC_METADATA, &w->metadata->lent);
	w->params.data = rec_lend(w->rec, REC_DATA, &w->data->lent);
	r = thin_pool_open(&w->params, &w->pool, &e);
	SHOULD(!r, "open: %d, %s", r, e.text);
	if (w->started)
		SHOULD_BE(thin_pool_start(w->pool), 0);
	for (int v = 0; v < MODEL_VOLUMES; v++)
		if (w->m.volume[v].exists)
			open_volume(w, v);
	w->commits = commits_now(w);
}

int close_pool(struct world *w)
{
	for (int v = 0; v < MODEL_VOLUMES; v++)
		close_volume(w, v);
	return thin_pool_close(w->pool);
}

void do_reopen(struct world *w)
{
	SHOULD_BE(close_pool(w), 0);
	model_commit(&w->m);
	check_metadata(w);
	open_pool(w);
	check_devices(w);
	check_content(w);
}

void do_crash(struct world *w)
{
	if (w->started)
		return;
	rec_kill(w->rec, 0);
	(void)close_pool(w); /* into the void */
	rec_revive(w->rec);
	model_crash(&w->m);
	check_metadata(w);
	open_pool(w);
	check_devices(w);
	check_content(w);
}

void do_hold(struct world *w)
{
	if (w->held)
		SHOULD_BE(thin_pool_unhold(w->pool), 0);
	else
		SHOULD_BE(thin_pool_hold(w->pool), 0);
	w->held = !w->held;
	committed(w);
}

void do_grow(struct world *w)
{
	uint64_t nr = w->m.nr_data_blocks + 1 + below(w, 8);

	if (w->m.used < w->m.nr_data_blocks || nr > 400)
		return;
	SHOULD_BE(thin_pool_grow(w->pool, (w->m.nr_data_blocks - 1) * w->m.block_size, 0),
		  -EINVAL);
	SHOULD_BE(thin_pool_grow(w->pool, nr * w->m.block_size, 0), 0);
	w->m.nr_data_blocks = nr;
	committed(w);
}

static struct shelf *shelf_or_die(uint64_t bytes)
{
	struct shelf *sh = shelf_new(bytes);

	SHOULD(sh, "no memory");
	return sh;
}

/* Some of it zeros, so that there is something to tell apart. */
static void make_origin(struct world *w, int i, uint64_t size)
{
	uint8_t *bytes = calloc(1, size);

	SHOULD(bytes, "no memory");
	for (uint64_t at = 0; at < size; at += 4096)
		if (chance(w, 70))
			memcpy(bytes + at, w->payload + below(w, 4096),
			       lesser(4096, size - at));
	w->origin_shelf[i] = shelf_or_die(size);
	SHOULD_BE(thin_storage_write_at(w->origin_shelf[i]->memory, 0, bytes, size), 0);
	SHOULD_BE(thin_origin_open(&w->origin_shelf[i]->lent, "origin", NULL,
				   &w->origin[i], NULL),
		  0);
	w->m.origin[i] = (struct model_origin){bytes, size};
}

/* Less than a block, to the block, to the byte, and longer than any volume. */
static void make_origins(struct world *w)
{
	uint64_t bs = w->m.block_size;

	make_origin(w, 0, 1 + below(w, bs));
	make_origin(w, 1, bs * (1 + below(w, w->m.nr_blocks)));
	make_origin(w, 2, 1 + below(w, w->max_bytes));
	make_origin(w, 3, w->max_bytes + 1 + below(w, bs));
}

/* Data that is there before anybody wrote it must never be seen. */
static void make_pool(struct world *w, uint64_t nr_data_blocks)
{
	uint64_t bytes = nr_data_blocks * w->m.block_size;

	w->metadata = shelf_or_die(METADATA_BLOCKS * THIN_METADATA_BLOCK);
	w->data = shelf_or_die(bytes);
	SHOULD_BE(shelf_punch(&w->data->lent, 0, bytes), 0);
	SHOULD_BE(thin_metadata_format(w->metadata->memory,
				       (uint32_t)(w->m.block_size / THIN_SECTOR),
				       nr_data_blocks, NULL),
		  0);
	w->rec = rec_new(0);
	w->monitor = monitor_new(w->rec, w->started ? MONITOR_DISJOINT : MONITOR_STRICT);
}

static void choose_policy(struct world *w)
{
	w->params.metadata_cache = THIN_MIN_METADATA_CACHE;
	w->params.commit_interval_s = 1;
	w->params.discard = chance(w, 70)   ? THIN_DISCARD_PASSDOWN
			    : chance(w, 50) ? THIN_DISCARD_NOPASSDOWN
					    : THIN_DISCARD_IGNORE;
	w->m.ignore_discard = w->params.discard == THIN_DISCARD_IGNORE;
	w->started = !w->at && chance(w, 12);
}

static void choose_blocks(struct world *w, uint64_t *ret_size, uint64_t *ret_nr)
{
	static const uint64_t sizes[] = {4096, 4096, 12288, 65536, 65536, 131072};

	*ret_size = 4096;
	*ret_nr = NR_BLOCKS_BYTES;
	if (w->at)
		return;
	*ret_size = sizes[below(w, sizeof(sizes) / sizeof(sizes[0]))];
	*ret_nr = NR_BLOCKS;
	if (chance(w, 4)) { /* larger than a buffer */
		*ret_size = UINT64_C(2) << 20;
		*ret_nr = NR_BLOCKS_LARGE;
	}
}

void make_world(struct world *w)
{
	uint64_t bs, nr_blocks, nr_data_blocks;

	choose_blocks(w, &bs, &nr_blocks);
	nr_data_blocks = nr_blocks * (1 + below(w, 6));
	model_init(&w->m, bs, nr_blocks, nr_data_blocks);
	w->max_bytes = bs * nr_blocks;
	w->payload = malloc(w->max_bytes + 8192);
	w->buf = malloc(w->max_bytes + 16);
	SHOULD(w->payload && w->buf, "no memory");
	seeded_fill(&w->rng, w->payload, w->max_bytes + 8192);
	choose_policy(w);
	make_origins(w);
	make_pool(w, nr_data_blocks);
	open_pool(w);
}

void discard_world(struct world *w)
{
	for (int i = 0; i < MODEL_ORIGINS; i++) {
		thin_origin_unref(w->origin[i]);
		shelf_free(w->origin_shelf[i]);
		free(w->m.origin[i].bytes);
	}
	monitor_free(w->monitor);
	rec_free(w->rec);
	shelf_free(w->metadata);
	shelf_free(w->data);
	free(w->payload);
	free(w->buf);
	model_fini(&w->m);
}
