/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_world.h"
#include "session.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The metadata alone: larger trees than volumes make in these tests, that
 * split and merge, and transactions that are larger than the cache.
 */

/* --- images ------------------------------------------------------------------ */

struct check {
	struct session *s;
	struct metadata_world *w;
	struct seen states;
	char why[400];
};

static int judge(struct check *c, const struct image *img, const struct model *model)
{
	struct thin_storage *s =
		(struct thin_storage *)(uintptr_t)&img->disk[REC_METADATA];
	int r;

	c->s->counts.opens++;
	r = verify_audit(s, 0, c->why, sizeof(c->why));
	if (r)
		return r;
	r = metadata_is(c->w, s, model->done, c->why, sizeof(c->why));
	if (r && model->begun != model->done)
		r = metadata_is(c->w, s, model->begun, c->why, sizeof(c->why));
	if (!r && img->disk[REC_METADATA].changes) {
		snprintf(c->why, sizeof(c->why), "opening it changed it");
		r = -EINVAL;
	}
	return r;
}

static int check_image(void *ctx, struct image *img, const struct replay *rp)
{
	struct check *c = ctx;
	struct view v;
	uint64_t state;
	int r = view_read(&v, &img->disk[REC_METADATA].base,
			  img->disk[REC_METADATA].bytes);

	if (r)
		snprintf(c->why, sizeof(c->why), "what it refers to is lost: %s", v.why);
	state = r ? 0 : verify_metadata_state(img, &v);
	if (!r && seen_add(&c->states, state ^ model_hash(&rp->model))) {
		c->s->counts.states++;
		r = judge(c, img, &rp->model);
		if (!r && samples_add(c->s->samples, &img->disk[REC_METADATA], state)) {
			r = -EINVAL;
			snprintf(c->why, sizeof(c->why), "%s",
				 samples_verdict(c->s->samples));
		}
	}
	view_fini(&v);
	if (r)
		fprintf(stderr, "in a crash after event %" PRIu64 " (%s):\n", rp->now,
			img->how);
	return r;
}

int crash_metadata_world(struct session *s, struct metadata_world *w, uint64_t seed)
{
	struct check c = {.s = s, .w = w};
	struct model nothing;
	struct images im;
	struct replay rp;
	int r;

	model_init(&nothing);
	session_images(s, &im, check_image, &c);
	replay_init(&rp, w->rec, w->before, &nothing, seed);
	r = images_explore(&im, &rp);
	replay_fini(&rp);
	images_fini(&im);
	seen_fini(&c.states);
	if (r)
		snprintf(w->failure, sizeof(w->failure), "%s", c.why);
	return r;
}

/* --- runs ----------------------------------------------------------------------- */

static int end_run(struct session *s, struct metadata_world *w, uint64_t seed, int r)
{
	if (!r)
		r = metadata_commit(w);
	metadata_world_crash(w);
	if (!r)
		r = crash_metadata_world(s, w, seed);
	if (r)
		fprintf(stderr,
			"%s: FAILED: %s\n  again: crash %s --seed %" PRIu64 "%s\n",
			s->test, w->failure, s->test, s->opt.seed,
			s->opt.long_run ? " --long" : "");
	session_progress(s);
	metadata_world_close(w);
	return r;
}

static int random_run(struct session *s, uint64_t seed)
{
	struct metadata_world w;
	struct seeded rnd = {seed};
	unsigned nr = 100 + (unsigned)seeded_below(&rnd, 300);
	int r = metadata_world_open(&w, 512, 4000);

	for (unsigned i = 0; i < nr && !r; i++)
		r = metadata_step(&w, &rnd);
	return end_run(s, &w, seed, r);
}

/*
 * A device with more leaves than the cache has room for, all of which one
 * transaction copies: some are written before their time.
 */
static int large_run(struct session *s, uint64_t seed)
{
	struct metadata_world w;
	struct seeded rnd = {seed};
	int r = metadata_world_open(&w, 3000, 60000);

	if (!r)
		r = metadata_create(&w, 0);
	for (uint64_t b = 0; b < METADATA_VBLOCKS && !r; b += 60)
		r = metadata_map(&w, 0, b, 60);
	if (!r)
		r = metadata_commit(&w);
	if (!r)
		r = metadata_snap(&w, 1, 0);
	if (!r)
		r = metadata_commit(&w);
	for (uint64_t b = 0; b < METADATA_VBLOCKS && !r; b += 60)
		r = metadata_map(&w, (uint32_t)seeded_below(&rnd, 2), b, 1);
	return end_run(s, &w, seed, r);
}

#define RUNS	  40
#define RUNS_LONG 4000

int crash_metadata(struct session *s)
{
	unsigned nr = s->opt.long_run ? RUNS_LONG : RUNS;
	struct seeded rnd = {s->opt.seed};
	int r = 0;

	for (unsigned i = 0; i < nr && !r; i++) {
		uint64_t seed = seeded_next(&rnd);

		if (session_mine(s))
			r = i % 200 ? random_run(s, seed) : large_run(s, seed);
	}
	return r;
}
