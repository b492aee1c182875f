/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*
 * Modes, and telling the owner about them.
 *
 *            no data block [space]                 room [space]
 *   WRITE -------------------------> OUT_OF_DATA ----------------> WRITE
 *   WRITE, OUT_OF_DATA ------------> OUT_OF_METADATA ------------> WRITE
 *            metadata at the reserve [space]
 *   any of these ------------------> READ_ONLY      a change or a commit
 *            failed, and the last commit is in force again [commit]
 *   any -> FAIL                      a flush failed, or even that [commit]
 *
 * Events may come up under locks, so they are noted there as bits, and told
 * by whoever next holds none.  What is told is how things are then: a mode
 * that came and went in between is not news.
 */

const char *thin_pool_mode_name(enum thin_pool_mode mode)
{
	static const char *const names[] = {
		[THIN_MODE_WRITE] = "rw",
		[THIN_MODE_OUT_OF_DATA] = "out_of_data_space",
		[THIN_MODE_OUT_OF_METADATA] = "out_of_metadata_space",
		[THIN_MODE_READ_ONLY] = "ro",
		[THIN_MODE_FAIL] = "fail",
	};

	return names[mode];
}

int thin_pool_may_read(struct thin_pool *pool)
{
	return thin_pool_mode(pool) == THIN_MODE_FAIL ? -ESHUTDOWN : 0;
}

int thin_pool_may_change(struct thin_pool *pool)
{
	switch (thin_pool_mode(pool)) {
	case THIN_MODE_READ_ONLY:
		return -EROFS;
	case THIN_MODE_FAIL:
		return -ESHUTDOWN;
	default:
		return 0;
	}
}

static bool may_follow(enum thin_pool_mode from, enum thin_pool_mode to)
{
	if (to == THIN_MODE_WRITE)
		return from == THIN_MODE_OUT_OF_DATA || from == THIN_MODE_OUT_OF_METADATA;
	return to > from;
}

static void note(struct thin_pool *pool, enum thin_pool_event event)
{
	atomic_fetch_or(&pool->untold, 1u << event);
}

void thin_pool_set_mode(struct thin_pool *pool, enum thin_pool_mode mode)
{
	thin_mutex_lock(&pool->mode_lock);
	if (may_follow(thin_pool_mode(pool), mode)) {
		atomic_store_explicit(&pool->mode, mode, memory_order_release);
		note(pool, THIN_EVENT_MODE);
	}
	thin_mutex_unlock(&pool->mode_lock);
}

static void describe(struct thin_pool *pool, enum thin_pool_event event, char *text,
		     size_t len)
{
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	if (event == THIN_EVENT_LOW_DATA)
		snprintf(text, len, "%" PRIu64 " of %" PRIu64 " data blocks are free",
			 thin_guarantees_spare(pool, &info), info.nr_data_blocks);
	else if (event == THIN_EVENT_LOW_METADATA)
		snprintf(text, len, "%" PRIu64 " of %" PRIu64 " metadata blocks are free",
			 info.metadata_free, info.nr_metadata_blocks);
	else
		snprintf(text, len, "%s", thin_pool_mode_name(thin_pool_mode(pool)));
}

static void tell(struct thin_pool *pool, unsigned events)
{
	char text[128];

	for (unsigned event = 0; events >> event && pool->params.event; event++) {
		if (!(events >> event & 1))
			continue;
		describe(pool, event, text, sizeof(text));
		pool->params.event(pool->params.event_ctx, event, text);
	}
}

/*
 * One at a time, or an old mode might be told after a new one.  Whoever finds
 * somebody at it leaves it to him; he looks again before he goes.
 */
void thin_pool_tell(struct thin_pool *pool)
{
	while (atomic_load(&pool->untold) && !atomic_exchange(&pool->telling, true)) {
		tell(pool, atomic_exchange(&pool->untold, 0));
		atomic_store(&pool->telling, false);
	}
}

/* Once when @free gets down to @mark, and again only after it was above. */
static void check_low_water(struct thin_pool *pool, uint64_t free, uint64_t mark,
			    bool *told, enum thin_pool_event event)
{
	bool low = mark && free <= mark;

	if (low && !*told)
		note(pool, event);
	*told = low;
}

void thin_pool_set_low_water(struct thin_pool *pool, uint64_t data, uint64_t metadata)
{
	atomic_store(&pool->low_water_data, data);
	atomic_store(&pool->low_water_metadata, metadata);
	thin_worker_kick(&pool->watcher);
}

void thin_pool_watch(struct thin_pool *pool)
{
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	check_low_water(pool, thin_guarantees_spare(pool, &info),
			atomic_load(&pool->low_water_data), &pool->low_data,
			THIN_EVENT_LOW_DATA);
	check_low_water(pool, info.metadata_free, atomic_load(&pool->low_water_metadata),
			&pool->low_metadata, THIN_EVENT_LOW_METADATA);
	thin_pool_tell(pool);
	thin_volumes_watch(pool);
}
