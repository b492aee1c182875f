/* SPDX-License-Identifier: BSD-3-Clause */
#include "bases.h"
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Volumes, through the pool's own functions: all short sequences of
 * operations from each of the bases, and long random ones.
 */

/* Work on after a crash: so many operations, on one state in so many. */
#define GO_ON_OPS    20
#define GO_ON_EVERY  40
#define SECOND_EVERY 50 /* of these crash a second time */

struct run {
	struct session *s;
	const struct base *base;
	struct world w;
	struct ops done;
	struct verify vf;
	bool second;
	uint64_t go_ons;
};

static int go_on(void *ctx, const struct image *img, const struct model *found);

static void run_begin(struct run *run, struct session *s, const struct base *base)
{
	*run = (struct run){.s = s, .base = base};
	run->vf = (struct verify){
		.counts = &s->counts,
		.samples = s->samples,
		.origin = world_origin(),
		.go_on = go_on,
		.ctx = run,
		.go_on_every = s->opt.ops ? 1 : GO_ON_EVERY,
	};
}

static void run_end(struct run *run)
{
	world_close(&run->w);
	ops_fini(&run->done);
	verify_fini(&run->vf);
}

static int run_op(struct run *run, struct op op)
{
	if (!op.kind)
		return 0;
	ops_add(&run->done, op);
	return world_do(&run->w, &op);
}

static int crash_everywhere(struct run *run)
{
	struct images im;
	struct replay rp;
	int r;

	world_crash(&run->w);
	session_images(run->s, &im, verify_image, &run->vf);
	if (run->second)
		im.max_exact = im.random_subsets = im.random_mixes = 2;
	replay_init(&rp, run->w.rec, run->base->disk, &run->base->model,
		    run->s->opt.seed);
	r = images_explore(&im, &rp);
	replay_fini(&rp);
	images_fini(&im);
	if (r)
		snprintf(run->w.failure, sizeof(run->w.failure), "%s", run->vf.failure);
	return r;
}

/* --- after a crash ------------------------------------------------------------- */

static int work_on(struct run *run, uint64_t seed)
{
	struct seeded rnd = {seed};
	int r = world_open(&run->w, run->base);

	if (!r)
		r = world_check(&run->w);
	for (unsigned i = 0; i < GO_ON_OPS && !r; i++)
		r = run_op(run, op_random(&rnd, &run->w.model, WORLD_BLOCK));
	return r;
}

/* What is there when the process is killed and the machine is not. */
static int look_after_kill(struct run *run)
{
	world_crash(&run->w);
	return verify_pool(&run->vf, &run->w.under[REC_METADATA].base,
			   &run->w.under[REC_DATA].base, &run->w.model, NULL);
}

static int go_on(void *ctx, const struct image *img, const struct model *found)
{
	struct run *first = ctx, *run = must_alloc(1, sizeof(*run));
	struct base base;
	char *text;
	int r;

	base_of_image(&base, first->base, img, found);
	run_begin(run, first->s, &base);
	run->second = true;
	run->vf.go_on = NULL;
	r = work_on(run, img->sum);
	if (!r)
		r = look_after_kill(run);
	if (!r && (first->s->opt.ops || ++first->go_ons % SECOND_EVERY == 1)) {
		first->s->counts.seconds++;
		r = crash_everywhere(run);
	}
	if (r) {
		text = ops_print(&run->done);
		snprintf(first->vf.failure, sizeof(first->vf.failure),
			 "working on after a crash: %.240s%.60s\n  with: %.160s",
			 run->w.failure, run->vf.failure, text);
		free(text);
	}
	run_end(run);
	base_fini(&base);
	free(run);
	return r;
}

/* --- all short sequences ----------------------------------------------------------- */

static int end_run(struct run *run, int r)
{
	if (!r)
		r = run_op(run, (struct op){.kind = 'f'});
	if (!r)
		r = crash_everywhere(run);
	if (r)
		r = session_fail(run->s, run->base, &run->done, run->w.failure);
	session_progress(run->s);
	run_end(run);
	return r;
}

/* @code: its digits, to the base of OP_KINDS, are the operations. */
static int one_sequence(struct session *s, const struct base *base, unsigned code,
			unsigned length)
{
	struct run run;
	int r;

	run_begin(&run, s, base);
	r = world_open(&run.w, base);
	for (unsigned i = 0; i < length && !r; i++, code /= OP_KINDS)
		r = run_op(&run, op_choice(code % OP_KINDS, &run.w.model));
	return end_run(&run, r);
}

static int sequences_from(struct session *s, unsigned from)
{
	unsigned length = s->opt.long_run ? 3 : 2, nr = 1;
	struct base base;
	int r = 0;

	for (unsigned i = 0; i < length; i++)
		nr *= OP_KINDS;
	base_make(&base, from);
	for (unsigned code = 0; code < nr && !r; code++)
		if (session_mine(s))
			r = one_sequence(s, &base, code, length);
	base_fini(&base);
	return r;
}

int crash_sequences(struct session *s)
{
	int r = 0;

	for (unsigned i = 0; i < bases_nr() && !r; i++)
		if (!s->opt.state || !strcmp(s->opt.state, base_name(i)))
			r = sequences_from(s, i);
	return r;
}

/* --- kill -9 first, power cut later ----------------------------------------------------
 */

/*
 * Killed at each write of each operation, opened again, used, and crashed
 * everywhere: what the first process wrote is read by the second one, and
 * yet not durable.
 * @ret_late: the process lived to the end of it.
 */
static int one_kill(struct session *s, const struct base *base, unsigned choice,
		    uint64_t changes, bool *ret_late)
{
	struct run run;
	int r;

	run_begin(&run, s, base);
	r = world_open(&run.w, base);
	if (!r)
		r = run_op(&run, (struct op){.kind = 'x', .nr = changes});
	if (!r)
		r = run_op(&run, op_choice(choice, &run.w.model));
	if (!r)
		r = run_op(&run, (struct op){.kind = 'f'});
	*ret_late = !rec_killed(run.w.rec) && !run.w.deaths;
	if (!r)
		r = run_op(&run, (struct op){.kind = 'w', .first = 12, .nr = 16});
	return end_run(&run, r);
}

static int kills_from(struct session *s, unsigned from)
{
	struct base base;
	int r = 0;

	base_make(&base, from);
	for (unsigned choice = 0; choice < OP_KINDS && !r; choice++) {
		bool late = !session_mine(s);

		for (uint64_t changes = 0; !late && !r; changes++)
			r = one_kill(s, &base, choice, changes, &late);
	}
	base_fini(&base);
	return r;
}

int crash_kills(struct session *s)
{
	int r = 0;

	for (unsigned i = 0; i < bases_nr() && !r; i++)
		if (!s->opt.state || !strcmp(s->opt.state, base_name(i)))
			r = kills_from(s, i);
	return r;
}

/* --- random ones ----------------------------------------------------------------------
 */

#define RANDOM_RUNS	 24
#define RANDOM_RUNS_LONG 2000

static int one_random(struct session *s, uint64_t seed)
{
	struct seeded rnd = {seed};
	unsigned nr = 50 + (unsigned)seeded_below(&rnd, s->opt.long_run ? 450 : 100);
	struct base base;
	struct run run;
	int r;

	base_make(&base, (unsigned)seeded_below(&rnd, bases_nr()));
	run_begin(&run, s, &base);
	r = world_open(&run.w, &base);
	for (unsigned i = 0; i < nr && !r; i++)
		r = run_op(&run, op_random(&rnd, &run.w.model, WORLD_BLOCK));
	r = end_run(&run, r);
	base_fini(&base);
	return r;
}

int crash_random(struct session *s)
{
	unsigned nr = s->opt.long_run ? RANDOM_RUNS_LONG : RANDOM_RUNS;
	struct seeded rnd = {s->opt.seed};
	int r = 0;

	for (unsigned i = 0; i < nr && !r; i++) {
		uint64_t seed = seeded_next(&rnd);

		if (session_mine(s))
			r = one_random(s, seed);
	}
	return r;
}

/* --- given ones
 * ------------------------------------------------------------------------- */

int crash_ops(struct session *s, const struct base *base, const struct ops *ops)
{
	struct run run;
	int r;

	run_begin(&run, s, base);
	r = world_open(&run.w, base);
	for (size_t i = 0; i < ops->nr && !r; i++)
		r = run_op(&run, ops->op[i]);
	return end_run(&run, r);
}
