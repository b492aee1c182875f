/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_world.h"

#include "model.h"

#include "util/checked.h"
#include "util/epoch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int __attribute__((format(printf, 3, 4)))
say(char *why, size_t len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, len, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int failed(struct metadata_world *w, const char *what, int r)
{
	if (!r || w->faults)
		return r;
	return say(w->failure, sizeof(w->failure), "%s: %s", what, thin_strerror(r));
}

/* --- states ------------------------------------------------------------------- */

/* 32 bits are enough for the data blocks of any test. */
static void state_init(struct metadata_state *st, uint64_t vblocks)
{
	*st = (struct metadata_state){.vblocks = vblocks};
	for (unsigned i = 0; i < METADATA_DEVICES; i++) {
		st->map[i] = must_alloc(vblocks, sizeof(uint32_t));
		memset(st->map[i], 0xff, vblocks * sizeof(uint32_t));
	}
}

static void state_fini(struct metadata_state *st)
{
	for (unsigned i = 0; i < METADATA_DEVICES; i++)
		free(st->map[i]);
}

static void state_assign(struct metadata_state *to, const struct metadata_state *from)
{
	uint32_t *map[METADATA_DEVICES];

	memcpy(map, to->map, sizeof(map));
	*to = *from;
	memcpy(to->map, map, sizeof(map));
	for (unsigned i = 0; i < METADATA_DEVICES; i++)
		memcpy(to->map[i], from->map[i], from->vblocks * sizeof(uint32_t));
}

static void remember(struct metadata_world *w)
{
	w->commits = must_grow(w->commits, w->nr_commits + 1, sizeof(*w->commits));
	state_init(&w->commits[w->nr_commits], w->now.vblocks);
	state_assign(&w->commits[w->nr_commits++], &w->now);
}

static uint64_t nr_mapped(const struct metadata_state *st, uint32_t id)
{
	uint64_t nr = 0;

	for (uint64_t v = 0; v < st->vblocks; v++)
		nr += st->map[id][v] != METADATA_NOWHERE;
	return nr;
}

/* --- comparing ------------------------------------------------------------------- */

static bool run_is(const uint32_t *map, const struct thin_run *run)
{
	for (uint64_t i = 0; i < run->nr; i++)
		if (map[run->vblock + i] !=
		    (run->mapped ? (uint32_t)(run->dblock + i) : METADATA_NOWHERE))
			return false;
	return true;
}

static int device_is(struct thin_device *d, const struct metadata_state *st, uint32_t id,
		     char *why, size_t len)
{
	struct thin_device_info info;
	struct thin_run runs[32];
	uint64_t pos = 0;

	thin_device_info(d, &info);
	if (info.mapped_blocks != nr_mapped(st, id))
		return say(why, len, "device %u has %" PRIu64 " blocks, not %" PRIu64, id,
			   info.mapped_blocks, nr_mapped(st, id));
	while (pos < st->vblocks) {
		size_t nr;
		int r = thin_metadata_lookup(d, pos, st->vblocks, runs, 32, &nr);

		if (r)
			return say(why, len, "lookup in device %u: %s", id,
				   thin_strerror(r));
		for (size_t i = 0; i < nr; i++) {
			if (!run_is(st->map[id], &runs[i]))
				return say(why, len,
					   "device %u is not right from %" PRIu64 " on",
					   id, pos);
			pos += runs[i].nr;
		}
	}
	return 0;
}

static int devices_are(struct thin_metadata *m, const struct metadata_state *st,
		       char *why, size_t len)
{
	int r = 0;

	for (uint32_t id = 0; id < METADATA_DEVICES && !r; id++) {
		struct thin_device *d;

		r = thin_device_open(m, id, &d);
		if (r == -ENOENT && !st->exists[id]) {
			r = 0;
			continue;
		}
		if (r)
			return say(why, len, "device %u: %s", id, thin_strerror(r));
		r = st->exists[id] ? device_is(d, st, id, why, len)
				   : say(why, len, "device %u is there", id);
		thin_device_close(d);
	}
	return r;
}

static int facts_are(struct thin_metadata *m, const struct metadata_state *st, char *why,
		     size_t len)
{
	struct thin_metadata_info info;

	thin_metadata_info(m, &info);
	if (info.transaction_id != st->transaction_id)
		return say(why, len, "the transaction id is %" PRIu64 ", not %" PRIu64,
			   info.transaction_id, st->transaction_id);
	if (!info.held_root == st->held)
		return say(why, len, "there is %s held root", st->held ? "no" : "a");
	if (info.nr_data_blocks != st->nr_data ||
	    info.nr_metadata_blocks != st->nr_metadata)
		return say(why, len, "a size is not right");
	return 0;
}

static int is(struct thin_metadata *m, const struct metadata_state *st, char *why,
	      size_t len)
{
	int r = facts_are(m, st, why, len);

	return r ? r : devices_are(m, st, why, len);
}

int metadata_is(struct metadata_world *w, struct thin_storage *s, uint32_t nr, char *why,
		size_t len)
{
	struct thin_metadata_params params = {.storage = s};
	struct thin_metadata *m;
	struct thin_error e = {""};
	int r = thin_metadata_open(&params, &m, &e);

	if (r)
		return say(why, len, "it does not open: %.300s", e.text);
	r = is(m, &w->commits[nr], why, len);
	thin_metadata_close(m);
	return r;
}

/* --- the world -----------------------------------------------------------------------
 */

void metadata_world_prepare(struct metadata_world *w, uint64_t metadata_blocks,
			    uint64_t data_blocks)
{
	*w = (struct metadata_world){0};
	disk_init(&w->under[REC_METADATA], metadata_blocks * THIN_METADATA_BLOCK);
	disk_init(&w->under[REC_DATA], 0);
	if (thin_metadata_format(&w->under[REC_METADATA].base, 128, data_blocks, NULL))
		abort();
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&w->before[f], 0);
		disk_copy(&w->before[f], &w->under[f]);
	}
	state_init(&w->now, METADATA_VBLOCKS);
	w->now.nr_data = data_blocks;
	w->now.nr_metadata = metadata_blocks;
	remember(w);
	w->top = &w->under[REC_METADATA].base;
	w->rec = rec_new(REC_KEEP);
	rec_look_below(w->rec, REC_METADATA, w->top);
	w->mon = monitor_new(w->rec, MONITOR_STRICT);
}

int metadata_world_start(struct metadata_world *w)
{
	struct thin_metadata_params params = {0};
	int r;

	params.storage = w->lent = rec_lend(w->rec, REC_METADATA, w->top);
	r = thin_metadata_open(&params, &w->m, NULL);

	if (r)
		w->m = NULL;
	return failed(w, "open", r);
}

int metadata_world_open(struct metadata_world *w, uint64_t metadata_blocks,
			uint64_t data_blocks)
{
	metadata_world_prepare(w, metadata_blocks, data_blocks);
	return metadata_world_start(w);
}

void metadata_world_crash(struct metadata_world *w)
{
	rec_stop(w->rec);
	thin_metadata_close(thin_steal(w->m));
}

void metadata_world_close(struct metadata_world *w)
{
	metadata_world_crash(w);
	monitor_free(w->mon);
	rec_free(w->rec);
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_fini(&w->under[f]);
		disk_fini(&w->before[f]);
	}
	state_fini(&w->now);
	for (uint32_t i = 0; i < w->nr_commits; i++)
		state_fini(&w->commits[i]);
	free(w->commits);
}

static int watch(struct metadata_world *w, int r)
{
	if (!monitor_verdict(w->mon)[0])
		return r;
	return say(w->failure, sizeof(w->failure), "monitor: %s",
		   monitor_verdict(w->mon));
}

/* --- changes
 * ---------------------------------------------------------------------------- */

/* What was refused changed nothing. */
static bool refused(struct metadata_world *w, int r)
{
	bool no_room = r == -ENOBUFS || r == -ENOSPC;

	w->refusals += no_room;
	return no_room;
}

int metadata_create(struct metadata_world *w, uint32_t id)
{
	int r = thin_metadata_create_thin(w->m, id);

	if (refused(w, r))
		return 0;
	if (!r) {
		w->now.exists[id] = true;
		memset(w->now.map[id], 0xff, w->now.vblocks * sizeof(uint32_t));
	}
	return watch(w, failed(w, "create", r));
}

int metadata_snap(struct metadata_world *w, uint32_t id, uint32_t origin)
{
	int r = thin_metadata_create_snap(w->m, id, origin);

	if (refused(w, r))
		return 0;
	if (!r) {
		w->now.exists[id] = true;
		memcpy(w->now.map[id], w->now.map[origin],
		       w->now.vblocks * sizeof(uint32_t));
	}
	return watch(w, failed(w, "snapshot", r));
}

int metadata_delete(struct metadata_world *w, uint32_t id)
{
	int r = thin_metadata_delete(w->m, id);

	if (!r)
		w->now.exists[id] = false;
	return watch(w, failed(w, "delete", r));
}

static int insert(struct metadata_world *w, struct thin_device *d, uint32_t id,
		  uint64_t vblock, uint64_t dblock, uint64_t nr)
{
	int r = thin_metadata_insert(d, vblock, dblock, nr);

	if (r)
		thin_metadata_unreserve(w->m, dblock, nr);
	for (uint64_t i = 0; i < nr && !r; i++)
		w->now.map[id][vblock + i] = (uint32_t)(dblock + i);
	return r;
}

/* As many of them as can be had in a row. */
int metadata_map(struct metadata_world *w, uint32_t id, uint64_t vblock, uint64_t nr)
{
	struct thin_device *d;
	uint64_t dblock;
	int r = thin_device_open(w->m, id, &d);

	if (r)
		return failed(w, "device", r);
	r = thin_metadata_reserve(w->m, nr, &dblock, &nr);
	if (!r)
		r = insert(w, d, id, vblock, dblock, nr);
	thin_device_close(d);
	return refused(w, r) ? metadata_commit(w) : watch(w, failed(w, "map", r));
}

int metadata_trim(struct metadata_world *w, uint32_t id, uint64_t begin, uint64_t end)
{
	struct thin_device *d;
	int r = thin_device_open(w->m, id, &d);
	uint64_t next = begin;

	if (r)
		return failed(w, "device", r);
	while (next < end && !r)
		r = thin_metadata_remove_range(d, next, end, 300, &next, NULL);
	thin_device_close(d);
	for (uint64_t v = begin; v < end && !r; v++)
		w->now.map[id][v] = METADATA_NOWHERE;
	return watch(w, failed(w, "trim", r));
}

int metadata_commit(struct metadata_world *w)
{
	struct rec_mark m = {.kind = MARK_BEGIN, .request = w->nr_commits};
	struct thin_freed *freed = NULL;
	int r;

	remember(w);
	rec_mark(w->rec, &m);
	r = thin_metadata_commit(w->m, NULL, &freed);
	m.kind = MARK_DONE;
	if (!r) {
		rec_mark(w->rec, &m);
		w->done = m.request;
	}
	thin_epoch_synchronize();
	if (!r)
		thin_metadata_release(w->m, freed);
	return watch(w, failed(w, "commit", r));
}

int metadata_go_back(struct metadata_world *w, bool reopen)
{
	int r;

	state_assign(&w->now, &w->commits[w->done]);
	if (!reopen)
		return watch(w, failed(w, "abort", thin_metadata_abort(w->m, false)));
	thin_metadata_close(thin_steal(w->m));
	r = metadata_world_start(w);
	return r ? r : watch(w, 0);
}

static int hold(struct metadata_world *w)
{
	int r = w->now.held ? thin_metadata_unhold(w->m) : thin_metadata_hold(w->m);

	if (refused(w, r))
		return 0;
	if (!r)
		w->now.held = !w->now.held;
	return watch(w, failed(w, "hold", r));
}

int metadata_grow(struct metadata_world *w, bool data, uint64_t nr_blocks)
{
	int r = 0;

	if (!data)
		r = thin_storage_resize(w->lent, nr_blocks * THIN_METADATA_BLOCK);
	if (!r)
		r = data ? thin_metadata_grow_data(w->m, nr_blocks)
			 : thin_metadata_grow_metadata(w->m, nr_blocks);
	if (refused(w, r))
		return 0;
	if (!r && data)
		w->now.nr_data = nr_blocks;
	else if (!r)
		w->now.nr_metadata = nr_blocks;
	return watch(w, failed(w, "grow", r));
}

static int grow(struct metadata_world *w, struct seeded *rnd)
{
	bool data = seeded_below(rnd, 2);
	uint64_t nr = data ? w->now.nr_data : w->now.nr_metadata;

	nr += 1 + seeded_below(rnd, 20);
	return nr > 20000 ? 0 : metadata_grow(w, data, nr);
}

static int set_transaction_id(struct metadata_world *w)
{
	uint64_t old = w->now.transaction_id++;

	return watch(w, failed(w, "transaction id",
			       thin_metadata_set_transaction_id(w->m, old, old + 1)));
}

/* Something about a device that is there, or is not. */
static int step_device(struct metadata_world *w, struct seeded *rnd, uint32_t id)
{
	uint64_t first = seeded_below(rnd, METADATA_SMALL), dice = seeded_below(rnd, 100);
	uint64_t nr = 1 + seeded_below(rnd, seeded_below(rnd, 4) ? 8 : 250);
	uint32_t other = (uint32_t)seeded_below(rnd, METADATA_DEVICES);

	if (!w->now.exists[id])
		return w->now.exists[other] ? metadata_snap(w, id, other)
					    : metadata_create(w, id);
	if (dice < 4)
		return metadata_delete(w, id);
	if (dice < 30)
		return metadata_trim(w, id, first,
				     thin_min(METADATA_SMALL, first + 2 * nr));
	return metadata_map(w, id, first, thin_min(nr, METADATA_SMALL - first));
}

int metadata_step(struct metadata_world *w, struct seeded *rnd)
{
	uint64_t dice = seeded_below(rnd, 1000);

	if (dice < 5)
		return metadata_go_back(w, dice < 3);
	if (dice < 15)
		return hold(w);
	if (dice < 25)
		return grow(w, rnd);
	if (dice < 30)
		return set_transaction_id(w);
	if (dice < 90)
		return metadata_commit(w);
	return step_device(w, rnd, (uint32_t)seeded_below(rnd, METADATA_DEVICES));
}
