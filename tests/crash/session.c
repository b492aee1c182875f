/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Metadata that other checkers see: they are slow. */
#define SAMPLES	     700u
#define SAMPLES_LONG 20000u
#define AUDIT_EVERY  4u

void session_begin(struct session *s, const char *test, const struct options *opt)
{
	*s = (struct session){.opt = *opt, .test = test};
	s->samples = samples_new(opt->long_run ? SAMPLES_LONG : SAMPLES, AUDIT_EVERY);
	printf("%s: --seed %" PRIu64 "\n", test, opt->seed);
}

static void print_figures(const struct session *s)
{
	const struct image_counts *c = &s->counts;

	printf("%s: %" PRIu64 " runs, %" PRIu64 " events, %" PRIu64
	       " crash points, %" PRIu64 " images, %" PRIu64 " distinct, %" PRIu64
	       " states, %" PRIu64 " opens, %" PRIu64 " second crashes; %" PRIu64
	       " for thin_check, %" PRIu64 " for audit.py\n",
	       s->test, s->runs, c->events, c->points, c->images, c->distinct, c->states,
	       c->opens, c->seconds, samples_checked(s->samples),
	       samples_audited(s->samples));
	fflush(stdout);
}

int session_end(struct session *s, int r)
{
	if (!r) {
		r = samples_finish(s->samples);
		if (r)
			fprintf(stderr, "%s: %s\n", s->test, samples_verdict(s->samples));
	}
	print_figures(s);
	samples_free(s->samples);
	seen_fini(&s->seen);
	return r;
}

bool session_mine(struct session *s)
{
	return s->unit++ % s->opt.parts == s->opt.part;
}

void session_progress(struct session *s)
{
	static time_t last;
	time_t now = time(NULL);

	s->runs++;
	if (!last)
		last = now;
	if (now - last < 30)
		return;
	last = now;
	print_figures(s);
}

int session_fail(struct session *s, const struct base *base, const struct ops *ops,
		 const char *failure)
{
	char *text = ops_print(ops);

	fprintf(stderr, "%s: FAILED: %s\n  from state \"%s\", operations:\n  %s\n",
		s->test, failure, base->name, text);
	fprintf(stderr, "  again: crash --seed %" PRIu64 " --state %s --ops '%s'\n",
		s->opt.seed, base->name, text);
	free(text);
	return -EINVAL;
}

void session_images(struct session *s, struct images *im, image_fn *fn, void *ctx)
{
	bool thorough = s->opt.long_run || s->opt.ops;

	*im = (struct images){
		.max_exact = thorough ? 10 : 4,
		.random_subsets = thorough ? 64 : 8,
		.random_mixes = thorough ? 16 : 6,
		.fn = fn,
		.ctx = ctx,
		.seen = &s->seen,
		.counts = &s->counts,
		.dice = s->opt.seed,
	};
}
