/* SPDX-License-Identifier: BSD-3-Clause */

#include "rounds.h"

/*
 * A pool against the model: operations on a dozen volumes, every answer
 * compared.
 *
 * Here is which operations there are, and how often each is done; what they
 * do stands in volumes.c, requests.c, told.c and life.c, what they are done
 * to in world.h.  After every commit the metadata is audited, and an ordering
 * monitor listens to all I/O (crash/monitor.h).
 */

#include "choose.h"
#include "life.h"
#include "monitor.h"
#include "requests.h"
#include "should.h"
#include "told.h"
#include "util/limits.h"
#include "volumes.h"

/* Operations of a round whose blocks are large. */
#define LARGE_OPS 200

/* In the end everything goes, and nothing is left. */
static void end_round(struct world *w)
{
	rounds_run.what = "the end of a round";
	check_content(w);
	if (w->held)
		do_hold(w);
	while (any_volume(w) != MODEL_NONE)
		do_delete(w);
	check_used(w);
	SHOULD_BE(close_pool(w), 0);
	model_commit(&w->m);
	SHOULD_BE(w->m.used, 0);
	check_metadata(w);
	SHOULD(!*monitor_verdict(w->monitor), "a crash could do harm");
	discard_world(w);
}

static const struct {
	const char *name;
	void (*fn)(struct world *w);
	unsigned weight;
} operations[] = {
	{"write", do_write, 300},
	{"read", do_read, 250},
	{"zero", do_zero, 80},
	{"trim", do_trim, 80},
	{"flush", do_flush, 30},
	{"commit", do_commit, 20},
	{"map", do_map, 40},
	{"create", do_create, 20},
	{"snapshot", do_snapshot, 30},
	{"delete", do_delete, 20},
	{"resize", do_resize, 10},
	{"hydrate", do_hydrate, 10},
	{"drop origin", do_drop_origin, 3},
	{"exclusive", do_exclusive, 10},
	{"cache", do_cache, 5},
	{"hold", do_hold, 3},
	{"grow", do_grow, 10},
	{"reopen", do_reopen, 3},
	{"crash", do_crash, 4},
	{"check", check_content, 3},
};

#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void do_any(struct world *w)
{
	unsigned total = 0, pick;
	size_t i = 0;

	for (size_t n = 0; n < NR_OPERATIONS; n++)
		total += operations[n].weight;
	pick = (unsigned)below(w, total);
	while (pick >= operations[i].weight)
		pick -= operations[i++].weight;
	rounds_run.what = operations[i].name;
	operations[i].fn(w);
	check_used(w);
}

void round_by_seed(uint64_t seed, uint64_t ops)
{
	struct world w = {.rng = {seed}};

	rounds_run.what = "the beginning of a round";
	make_world(&w);
	if (w.m.block_size > THIN_METADATA_BLOCK * 64)
		ops = lesser(ops, LARGE_OPS);
	for (uint64_t i = 0; i < ops; i++, rounds_run.op++)
		do_any(&w);
	end_round(&w);
	rounds_run.round++;
}

void round_by_bytes(const uint8_t *bytes, size_t size)
{
	struct world w = {.at = bytes, .end = bytes + size};

	rounds_run.what = "the beginning of a round";
	make_world(&w);
	for (; w.at < w.end; rounds_run.op++)
		do_any(&w);
	end_round(&w);
	rounds_run.round++;
}
