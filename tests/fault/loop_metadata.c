/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_world.h"
#include "oom.h"
#include "points.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*
 * The metadata alone: larger trees than the scripts make.  What failed is
 * undone by an abort, where that works, and the steps go on.
 */

#define STEPS 50
#define SEEDS 3

struct run {
	struct points *pt;
	struct metadata_world w;
	struct fault_plan plan;
	struct fault_storage storage;
	const struct fault *fault;
	uint64_t seed;
	bool fired;
};

static int blame(struct run *run, const char *when)
{
	fprintf(stderr, "fault: FAILED: %s: %s\n  seed %" PRIu64 " with a fault: %s\n",
		when, run->w.failure, run->seed, fault_describe(run->fault));
	return -EINVAL;
}

/* Something failed: go back to the last commit.  False: that is the end. */
static bool recover(struct run *run)
{
	struct thin_metadata_info info;

	if (!run->w.m)
		return false;
	thin_metadata_info(run->w.m, &info);
	if (!info.failed) /* it was refused, and changed nothing */
		return false;
	return !metadata_go_back(&run->w, false);
}

static void take_steps(struct run *run)
{
	struct seeded rnd = {run->seed};
	bool alive = !metadata_world_start(&run->w);

	for (unsigned i = 0; i < STEPS && alive; i++)
		alive = !metadata_step(&run->w, &rnd) || recover(run);
	if (alive)
		(void)metadata_commit(&run->w); /* a last chance to fail */
}

/* The old state or the new one. */
static int look(struct run *run)
{
	struct metadata_world *w = &run->w;
	struct thin_storage *s = &w->under[REC_METADATA].base;
	int r = verify_audit(s, 0, w->failure, sizeof(w->failure));

	if (r)
		return blame(run, "audit");
	r = metadata_is(w, s, w->done, w->failure, sizeof(w->failure));
	if (r && w->nr_commits - 1 != w->done)
		r = metadata_is(w, s, w->nr_commits - 1, w->failure, sizeof(w->failure));
	return r ? blame(run, "opened again") : 0;
}

static int check(struct run *run)
{
	int r = 0;

	if (monitor_verdict(run->w.mon)[0]) {
		snprintf(run->w.failure, sizeof(run->w.failure), "%s",
			 monitor_verdict(run->w.mon));
		return blame(run, "monitor");
	}
	metadata_world_crash(&run->w);
	r = look(run);
	if (r || run->pt->nr % run->pt->crash_every)
		return r;
	run->pt->crashes++;
	r = crash_metadata_world(run->pt->s, &run->w, run->seed);
	return r ? blame(run, "power lost as well") : 0;
}

static int one_fault(struct points *pt, uint64_t seed, const struct fault *fault,
		     bool *ret_fired)
{
	struct run *run = must_alloc(1, sizeof(*run));
	int r = 0;

	*run = (struct run){.pt = pt, .plan = fault->plan, .fault = fault, .seed = seed};
	metadata_world_prepare(&run->w, 256, 3000);
	fault_lend(&run->storage, &run->plan, &run->w.under[REC_METADATA].base);
	run->w.top = &run->storage.base;
	run->w.faults = true;
	oom_arm(fault->alloc_at, fault->alloc_sticky);
	take_steps(run);
	*ret_fired = oom_disarm() || run->plan.fired;
	run->plan.at = 0;
	pt->nr += *ret_fired;
	if (*ret_fired)
		r = check(run);
	metadata_world_close(&run->w);
	free(run);
	return r;
}

static const struct fault_plan ways[] = {
	{.classes = FAULT_READ, .error = -EIO},
	{.classes = FAULT_WRITE, .error = -EIO},
	{.classes = FAULT_WRITE, .error = -EIO, .sticky = true, .done = FAULT_HALF},
	{.classes = FAULT_FLUSH, .error = -EIO},
	{.classes = FAULT_FLUSH, .error = -EIO, .sticky = true},
	{.classes = FAULT_RESIZE, .error = -ENOSPC},
};

static int one_way(struct points *pt, uint64_t seed, const struct fault_plan *way)
{
	struct fault fault = {.plan = *way};
	bool fired = true;
	int r = 0;

	while (fired && !r) {
		fault.plan.at++;
		r = one_fault(pt, seed, &fault, &fired);
	}
	return r;
}

/* There are thousands of allocations: some of them have to do. */
static int no_memory(struct points *pt, uint64_t seed, bool sticky)
{
	struct fault fault = {.alloc_at = 1, .alloc_sticky = sticky};
	bool fired = true;
	int r = 0;

	while (fired && !r) {
		r = one_fault(pt, seed, &fault, &fired);
		fault.alloc_at += pt->s->opt.long_run ? 1 : 1 + fault.alloc_at / 40;
	}
	return r;
}

int loop_metadata(struct points *pt)
{
	uint64_t seeds = pt->s->opt.long_run ? 40 * SEEDS : SEEDS;
	int r = 0;

	for (uint64_t seed = 1; seed <= seeds && !r; seed++) {
		if (!session_mine(pt->s))
			continue;
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && !r; i++)
			r = one_way(pt, seed, &ways[i]);
		for (unsigned sticky = 0; sticky < 2 && !r; sticky++)
			r = no_memory(pt, seed, sticky);
	}
	return r;
}
