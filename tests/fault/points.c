/* SPDX-License-Identifier: BSD-3-Clause */
#include "points.h"

#include "oom.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After a fault the pool is used again, by so many random operations. */
#define USE_AGAIN 10

struct point {
	struct points *pt;
	const struct script *script;
	const struct fault *fault;
	const struct base *base;
	struct fault_plan plan;
	struct fault_storage storage[REC_FILES];
	struct world w;
	struct verify vf;
	bool fired;
	char failure[512];
};

const char *fault_describe(const struct fault *f)
{
	static const char *const done[] = {"", ", half of it done", ", all of it done"};
	static char text[160];

	if (f->alloc_at)
		snprintf(text, sizeof(text), "allocation %" PRIu64 "%s", f->alloc_at,
			 f->alloc_sticky ? " and all after it" : "");
	else
		snprintf(text, sizeof(text), "%s%s%s%s%s%" PRIu64 "%s, %s%s",
			 f->plan.classes & FAULT_READ ? "read " : "",
			 f->plan.classes & FAULT_WRITE ? "write " : "",
			 f->plan.classes & FAULT_FLUSH ? "flush " : "",
			 f->plan.classes & FAULT_PUNCH ? "punch " : "",
			 f->plan.classes & FAULT_RESIZE ? "resize " : "", f->plan.at,
			 f->plan.sticky ? " and all after it" : "",
			 thin_errname(f->plan.error), done[f->plan.done]);
	return text;
}

static int blame(struct point *p, const char *when, const char *what)
{
	snprintf(p->failure, sizeof(p->failure), "%s: %.430s", when, what);
	return -EINVAL;
}

/* --- the script ------------------------------------------------------------------- */

static void arm(struct point *p)
{
	p->plan = p->fault->plan;
	oom_arm(p->fault->alloc_at, p->fault->alloc_sticky);
}

static void disarm(struct point *p)
{
	p->fired = oom_disarm() || p->plan.fired;
	p->plan.at = 0;
}

static int start(struct point *p)
{
	world_prepare(&p->w, p->base);
	for (unsigned f = 0; f < REC_FILES; f++) {
		fault_lend(&p->storage[f], &p->plan, &p->w.under[f].base);
		p->w.top[f] = &p->storage[f].base;
	}
	p->w.faults = true;
	arm(p);
	(void)world_start(&p->w); /* it may fail: then there is nothing to do */
	return 0;
}

/* What can be read is right, with a fault and after it; nothing fails here. */
static int check_meanwhile(struct point *p)
{
	int r;

	p->plan.paused = true;
	must_alloc_depth++;
	r = world_check(&p->w);
	must_alloc_depth--;
	p->plan.paused = false;
	return r;
}

/* I9: after a flush that failed the pool has failed, and stays so. */
static int check_failed(struct point *p)
{
	struct thin_pool_status st;
	int r;

	if (!p->plan.flush_fired || !p->w.pool)
		return 0;
	thin_pool_status(p->w.pool, &st);
	if (st.mode != THIN_MODE_FAIL)
		return blame(p, "after a failed flush", thin_pool_mode_name(st.mode));
	r = thin_pool_commit(p->w.pool);
	if (r != -ESHUTDOWN)
		return blame(p, "a commit after a failed flush", thin_strerror(r));
	if (p->w.volume[0] && thin_volume_flush(p->w.volume[0]) != -ESHUTDOWN)
		return blame(p, "a second flush after a failed one", "no -ESHUTDOWN");
	return 0;
}

static int do_script(struct point *p)
{
	struct ops ops;
	const char *bad;
	int r = 0;

	must_alloc_depth++;
	if (!ops_parse(&ops, p->script->ops, &bad))
		abort();
	must_alloc_depth--;
	for (size_t i = 0; i < ops.nr && !r; i++) {
		r = world_do(&p->w, &ops.op[i]);
		if (!r && p->w.pool)
			r = check_meanwhile(p);
		if (r)
			blame(p, "in the script", p->w.failure);
		else if (ops.op[i].kind == 'o')
			p->plan.flush_fired = false; /* a new life */
		else
			r = check_failed(p);
	}
	ops_fini(&ops);
	return r;
}

/* --- afterwards ----------------------------------------------------------------------
 */

/* What `thinbd check` does after an audit found nothing. */
static int clear_needs_check(struct disk *metadata)
{
	struct thin_metadata_params params = {.storage = &metadata->base};
	struct thin_metadata *m;
	int r = thin_metadata_open(&params, &m, NULL);

	if (r)
		return r;
	r = thin_metadata_clear_needs_check(m);
	thin_metadata_close(m);
	return r;
}

static int use_again(struct point *p, const struct model *found)
{
	struct seeded rnd = {p->pt->nr};
	struct image img = {.sum = 0};
	struct base base;
	struct world w;
	int r;

	for (unsigned f = 0; f < REC_FILES; f++)
		img.disk[f] = p->w.under[f];
	base_of_image(&base, p->base, &img, found);
	r = world_open(&w, &base);
	for (unsigned i = 0; i < USE_AGAIN && !r; i++) {
		struct op op = op_random(&rnd, &w.model, WORLD_BLOCK);

		r = world_do(&w, &op);
	}
	world_crash(&w);
	if (r)
		blame(p, "used again", w.failure);
	else
		r = verify_pool(&p->vf, &w.under[REC_METADATA].base,
				&w.under[REC_DATA].base, &w.model, NULL);
	world_close(&w);
	base_fini(&base);
	return r;
}

/* The process is gone, the machine is not: all that was written is there. */
static int open_again(struct point *p)
{
	struct disk *d = p->w.under;
	struct model found;
	int r;

	p->vf.may_need_check = true;
	r = verify_pool(&p->vf, &d[REC_METADATA].base, &d[REC_DATA].base, &p->w.model,
			NULL);
	if (r)
		return blame(p, "opened again", p->vf.failure);
	r = clear_needs_check(&d[REC_METADATA]);
	if (r)
		return blame(p, "clearing needs_check", thin_strerror(r));
	p->vf.may_need_check = false;
	r = verify_pool(&p->vf, &d[REC_METADATA].base, &d[REC_DATA].base, &p->w.model,
			&found);
	if (r)
		return blame(p, "opened again after a check", p->vf.failure);
	r = use_again(p, &found);
	model_fini(&found);
	return r;
}

/* The machine is gone, too. */
static int crash_everywhere(struct point *p)
{
	struct images im;
	struct replay rp;
	int r;

	if (p->pt->nr % p->pt->crash_every)
		return 0;
	p->pt->crashes++;
	p->vf.may_need_check = true;
	session_images(p->pt->s, &im, verify_image, &p->vf);
	if (!p->pt->s->opt.long_run)
		im.max_exact = im.random_subsets = im.random_mixes = 2;
	replay_init(&rp, p->w.rec, p->base->disk, &p->base->model, p->pt->nr);
	r = images_explore(&im, &rp);
	replay_fini(&rp);
	images_fini(&im);
	return r ? blame(p, "power lost as well", p->vf.failure) : 0;
}

static int check_all(struct point *p)
{
	int r;

	world_crash(&p->w);
	r = crash_everywhere(p);
	return r ? r : open_again(p);
}

static void tell(const struct point *p)
{
	fprintf(stderr,
		"fault: FAILED: %s\n  script %s from state \"%s\": %s\n  with a fault: "
		"%s\n"
		"  again: fault --script %s --fault '%s'\n",
		p->failure, p->script->name, p->base->name, p->script->ops,
		fault_describe(p->fault), p->script->name, fault_describe(p->fault));
}

int point_try(struct points *pt, const struct script *script, const struct base *base,
	      const struct fault *fault, bool *ret_fired)
{
	struct point *p = must_alloc(1, sizeof(*p));
	int r;

	*p = (struct point){.pt = pt, .script = script, .fault = fault, .base = base};
	p->vf = (struct verify){.counts = &pt->s->counts, .origin = world_origin()};
	start(p);
	r = do_script(p);
	disarm(p);
	pt->nr += p->fired;
	if (!r && p->fired)
		r = check_all(p);
	if (r)
		tell(p);
	*ret_fired = p->fired;
	world_close(&p->w);
	verify_fini(&p->vf);
	free(p);
	return r;
}
