/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_world.h"
#include "points.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * Room that runs out (P7): each script in pools of 0, 1, 2 ... data blocks,
 * until it does not run short of any; and the metadata alone in all sizes
 * from the smallest on.  What is refused changes nothing, what gives room
 * back works, and when there is more it goes on.
 */

static int blame(const char *what, uint64_t nr, const char *failure)
{
	fprintf(stderr, "fault: FAILED: %s, %" PRIu64 " blocks: %s\n", what, nr, failure);
	return -EINVAL;
}

/* --- data --------------------------------------------------------------------- */

#define PLENTY 120 /* blocks: enough for any script */

static int do_text(struct world *w, const char *text)
{
	const char *bad;
	struct ops ops;
	int r = 0;

	if (!ops_parse(&ops, text, &bad))
		abort();
	for (size_t i = 0; i < ops.nr && !r; i++)
		r = world_do(w, &ops.op[i]);
	ops_fini(&ops);
	return r;
}

/* With all its blocks trimmed a volume can be written again, if there is one. */
static int use_what_is_freed(struct world *w, uint64_t nr)
{
	unsigned before;
	int r = do_text(w, "d 3; d 2; d 4; u; t 0 0 128; t 1 0 128; f 0; f 1; k");

	before = w->refusals;
	if (!r && nr)
		r = do_text(w, "W 1 0 8; T 1 0 8; W 0 0 8");
	if (!r && w->refusals != before)
		r = blame("a write after trims and deletes was refused", nr, "");
	return r;
}

static int use_what_is_new(struct world *w, const struct script *script)
{
	unsigned before;
	struct op grow = {.kind = 'g', .nr = PLENTY};
	int r = world_do(w, &grow);

	before = w->refusals;
	if (!r)
		r = do_text(w, script->ops);
	if (!r)
		r = do_text(w, "w 0 0 128; w 1 0 128; f 0; f 1");
	if (!r && w->refusals != before)
		r = blame("a write after growing was refused", PLENTY, "");
	return r;
}

static int crash_everywhere(struct points *pt, struct world *w, struct verify *vf)
{
	struct images im;
	struct replay rp;
	int r;

	world_crash(w);
	session_images(pt->s, &im, verify_image, vf);
	if (!pt->s->opt.long_run)
		im.max_exact = im.random_subsets = im.random_mixes = 2;
	replay_init(&rp, w->rec, w->base->disk, &w->base->model, pt->nr);
	r = images_explore(&im, &rp);
	replay_fini(&rp);
	images_fini(&im);
	return r;
}

/* @ret_short: whether there was too little. */
static int one_size(struct points *pt, const struct script *script, uint64_t nr,
		    bool *ret_short)
{
	struct verify vf = {.counts = &pt->s->counts, .origin = world_origin()};
	struct base base;
	struct world w;
	int r;

	base_init(&base, script->name);
	base_format(&base, WORLD_METADATA, nr);
	base.origin = !strcmp(script->base, "origin");
	r = world_open(&w, &base);
	if (!r)
		r = do_text(&w, base_ops(base_find(script->base)));
	if (!r)
		r = do_text(&w, "c 0; c 1");
	if (!r)
		r = do_text(&w, script->ops);
	*ret_short = w.refusals;
	if (!r)
		r = use_what_is_freed(&w, nr);
	if (!r)
		r = use_what_is_new(&w, script);
	if (r)
		blame(script->name, nr, w.failure);
	if (!r && crash_everywhere(pt, &w, &vf))
		r = blame(script->name, nr, vf.failure);
	world_close(&w);
	verify_fini(&vf);
	base_fini(&base);
	pt->nr++;
	return r;
}

static int data_sizes(struct points *pt)
{
	int r = 0;

	for (unsigned i = 0; i < nr_scripts && !r; i++) {
		bool too_few = session_mine(pt->s);

		for (uint64_t nr = 0; too_few && nr < PLENTY && !r; nr++)
			r = one_size(pt, &scripts[i], nr, &too_few);
	}
	return r;
}

/* --- metadata ---------------------------------------------------------------------- */

#define REFUSALS 20 /* enough to be sure that it is full */

/* Fill it with changes that cost as much as can be. */
static int fill(struct metadata_world *w, struct seeded *rnd)
{
	int r = 0;

	w->refusals = 0;
	for (unsigned i = 0; i < 20000 && w->refusals < REFUSALS && !r; i++) {
		uint32_t id = (uint32_t)seeded_below(rnd, METADATA_DEVICES);
		uint64_t v = seeded_below(rnd, METADATA_VBLOCKS);

		if (!w->now.exists[id])
			r = w->now.exists[0] && id ? metadata_snap(w, id, 0)
						   : metadata_create(w, id);
		else
			r = metadata_map(w, id, v, 1);
	}
	return r;
}

/* All of that is possible with nothing but the reserve. */
static int give_back(struct metadata_world *w, struct seeded *rnd)
{
	int r = 0;

	for (uint32_t id = 0; id < METADATA_DEVICES && !r; id++) {
		if (!w->now.exists[id])
			continue;
		for (unsigned i = 0; i < 4 && !r; i++) {
			uint64_t v = seeded_below(rnd, METADATA_VBLOCKS - 2000);

			r = metadata_trim(w, id, v, v + 1 + seeded_below(rnd, 1999));
			if (!r)
				r = metadata_commit(w);
		}
		if (!r && id % 2)
			r = metadata_delete(w, id);
		if (!r)
			r = metadata_commit(w);
	}
	return r;
}

static int use_more(struct metadata_world *w)
{
	unsigned before;
	int r = metadata_grow(w, false, w->now.nr_metadata + 64);

	if (!r)
		r = metadata_commit(w);
	before = w->refusals;
	if (!r && !w->now.exists[1])
		r = metadata_create(w, 1);
	for (uint64_t v = 0; v < 100 && !r; v++)
		r = metadata_map(w, 1, v, 1);
	if (!r && w->refusals != before)
		r = blame("a mapping after growing was refused", w->now.nr_metadata, "");
	return r ? r : metadata_commit(w);
}

static int one_metadata_size(struct points *pt, uint64_t nr)
{
	struct seeded rnd = {pt->s->opt.seed + nr};
	struct metadata_world w;
	int r = metadata_world_open(&w, nr, 30000);

	if (!r)
		r = fill(&w, &rnd);
	if (!r && w.refusals < REFUSALS)
		r = blame("it does not get full", nr, "");
	if (!r)
		r = give_back(&w, &rnd);
	if (!r)
		r = fill(&w, &rnd);
	if (!r)
		r = use_more(&w);
	metadata_world_crash(&w);
	if (!r)
		r = metadata_is(&w, &w.under[REC_METADATA].base, w.done, w.failure,
				sizeof(w.failure));
	if (!r)
		r = verify_audit(&w.under[REC_METADATA].base, 0, w.failure,
				 sizeof(w.failure));
	if (r)
		blame("metadata", nr, w.failure);
	metadata_world_close(&w);
	pt->nr++;
	return r;
}

#define SIZES	   24
#define SIZES_LONG 400

static int metadata_sizes(struct points *pt)
{
	uint64_t nr = pt->s->opt.long_run ? SIZES_LONG : SIZES;
	int r = 0;

	for (uint64_t i = 0; i < nr && !r; i++)
		if (session_mine(pt->s))
			r = one_metadata_size(pt, THIN_MIN_METADATA_BLOCKS + i +
							  i * i / 8 % 40);
	return r;
}

int loop_space(struct points *pt)
{
	int r = data_sizes(pt);

	return r ? r : metadata_sizes(pt);
}
