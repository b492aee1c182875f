/* SPDX-License-Identifier: BSD-3-Clause */
#include "house.h"
#include "session.h"
#include "view.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Names and blocks together (I12, P11): what a front end asks for, with crashes
 * at every moment, of which each leaves the storages in one state and the
 * registry's folder in another.
 *
 * crash_service [--long] [--seed N] [--part I/N] [--ops 'OPS']
 */

struct run {
	struct session *s;
	const struct house_base *base;
	struct house h;
	struct ops done;
	struct seen states;
	struct track *track;
	char failure[512];
};

/* --- images ------------------------------------------------------------------------ */

static int open_copy(struct run *run, const struct image *img, struct folder *folder,
		     const struct model *model)
{
	struct disk copy[REC_FILES];
	int r;

	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&copy[f], 0);
		disk_copy(&copy[f], &img->disk[f]);
	}
	run->s->counts.opens++;
	r = house_verify(copy, folder, model, run->failure, sizeof(run->failure));
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&copy[f]);
	return r;
}

/* One state of the storages with all states of the folder. */
static int with_folders(struct run *run, const struct image *img, uint64_t state,
			const struct model *model)
{
	struct folder folder;
	int r = 0;

	for (unsigned i = 0; !r && track_variant(run->track, i, &folder); i++) {
		if (seen_add(&run->states, state ^ folder_hash(&folder))) {
			run->s->counts.states++;
			r = open_copy(run, img, &folder, model);
		}
		folder_fini(&folder);
	}
	return r;
}

static int check_image(void *ctx, struct image *img, const struct replay *rp)
{
	struct run *run = ctx;
	struct view v;
	size_t len;
	int r = view_read(&v, &img->disk[REC_METADATA].base,
			  img->disk[REC_METADATA].bytes);

	if (r)
		snprintf(run->failure, sizeof(run->failure), "%s", v.why);
	else if (run->track->unsettled[0])
		r = snprintf(run->failure, sizeof(run->failure),
			     "O8: it was answered before %s was durable",
			     run->track->unsettled);
	else
		r = with_folders(run, img,
				 stamp_mix(verify_state(img, &v)) ^
					 model_hash(&rp->model),
				 &rp->model);
	view_fini(&v);
	if (!r)
		return 0;
	len = strlen(run->failure);
	snprintf(run->failure + len, sizeof(run->failure) - len,
		 "\n  in a crash after event %" PRIu64 " (%s), %u changes of the folder",
		 rp->now, img->how, run->track->nr_pending);
	return -EINVAL;
}

static int crash_everywhere(struct run *run)
{
	struct images im;
	struct replay rp;
	int r;

	house_crash(&run->h);
	session_images(run->s, &im, check_image, run);
	im.max_exact = im.random_subsets = im.random_mixes = run->s->opt.long_run ? 4 : 1;
	run->track = must_alloc(1, sizeof(*run->track));
	track_init(run->track, &run->base->folder);
	replay_init(&rp, run->h.rec, run->base->disk, &run->base->model,
		    run->s->opt.seed);
	rp.step = track_step;
	rp.step_ctx = run->track;
	r = images_explore(&im, &rp);
	replay_fini(&rp);
	images_fini(&im);
	track_fini(run->track);
	free(run->track);
	return r;
}

/* --- runs ------------------------------------------------------------------------------
 */

static int run_op(struct run *run, struct op op)
{
	int r;

	ops_add(&run->done, op);
	r = house_do(&run->h, &op);
	if (r)
		snprintf(run->failure, sizeof(run->failure), "%s", run->h.failure);
	return r;
}

static int run_text(struct run *run, const char *text)
{
	const char *bad;
	struct ops ops;
	int r = 0;

	if (!ops_parse(&ops, text, &bad)) {
		fprintf(stderr, "crash_service: what is \"%.20s\"?\n", bad);
		exit(2);
	}
	for (size_t i = 0; i < ops.nr && !r; i++)
		r = run_op(run, ops.op[i]);
	ops_fini(&ops);
	return r;
}

static int run_begin(struct run *run, struct session *s, const struct house_base *base)
{
	*run = (struct run){.s = s, .base = base};
	return house_open(&run->h, base);
}

static int run_end(struct run *run, int r)
{
	char *text;

	if (!r)
		r = crash_everywhere(run);
	if (r) {
		text = ops_print(&run->done);
		fprintf(stderr,
			"service: FAILED: %s\n  again: crash_service --seed %" PRIu64
			" --ops '%s'\n",
			run->failure[0] ? run->failure : run->h.failure, run->s->opt.seed,
			text);
		free(text);
	}
	session_progress(run->s);
	house_close(&run->h);
	ops_fini(&run->done);
	seen_fini(&run->states);
	return r;
}

static void make_base(struct session *s, struct house_base *ret)
{
	struct house_base empty;
	struct run run;
	int r;

	house_base_new(&empty, "house");
	r = run_begin(&run, s, &empty);
	if (!r)
		r = run_text(&run,
			     "c 0; w 0 0 30; s 0 1; w 0 4 8; f 0; c 2; w 2 8 8; f 2");
	if (!r)
		r = house_to_base(&run.h, ret);
	if (r) {
		fprintf(stderr, "service: base: %s\n", run.h.failure);
		exit(1);
	}
	house_close(&run.h);
	ops_fini(&run.done);
	house_base_fini(&empty);
}

static int run_given(struct session *s, const struct house_base *base, const char *ops)
{
	struct run run;
	int r = run_begin(&run, s, base);

	if (!r)
		r = run_text(&run, ops);
	return run_end(&run, r);
}

/* --- all short sequences
 * ------------------------------------------------------------------ */

static const char *const choices[] = {
	"c 3", "s 0 3", "q 0 4",	 "d 1", "n 0 6", "y 0 1",
	"b 0", "a 0",	"w 0 4 12; f 0", "d 0", "n 6 0", "o",
};

#define NR_CHOICES (sizeof(choices) / sizeof(choices[0]))

static int sequences(struct session *s, const struct house_base *base)
{
	char text[100];
	int r = 0;

	for (size_t i = 0; i < NR_CHOICES * NR_CHOICES && !r; i++) {
		snprintf(text, sizeof(text), "%s; %s", choices[i % NR_CHOICES],
			 choices[i / NR_CHOICES]);
		if (session_mine(s))
			r = run_given(s, base, text);
	}
	return r;
}

/* Killed at each event of one, then another one, and crashed. */
static int kills(struct session *s, const struct house_base *base)
{
	unsigned step = s->opt.long_run ? 1 : 5, events = s->opt.long_run ? 60 : 40;
	char text[100];
	int r = 0;

	for (size_t i = 0; i < NR_CHOICES && !r; i++) {
		for (unsigned at = (unsigned)i % step; at < events && !r; at += step) {
			snprintf(text, sizeof(text), "x %u; %s; c 7; %s; d 2", at,
				 choices[i], choices[(i + at) % NR_CHOICES]);
			if (session_mine(s))
				r = run_given(s, base, text);
		}
	}
	return r;
}

/* Its origin goes from a volume that is written to, copied and killed meanwhile. */
static int flattens(struct session *s, const struct house_base *base)
{
	static const char *const texts[] = {
		"C 3; F 3; w 3 4 12; f 3",
		"C 3; w 3 20 12; s 3 4; F 3; s 3 5; F 4",
	};
	unsigned step = s->opt.long_run ? 1 : 7, events = s->opt.long_run ? 60 : 42;
	char text[100];
	int r = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !r; i++)
		if (session_mine(s))
			r = run_given(s, base, texts[i]);
	for (unsigned at = 0; at < events && !r; at += step) {
		snprintf(text, sizeof(text), "C 3; x %u; F 3; c 7; w 3 2 3; F 3", at);
		if (session_mine(s))
			r = run_given(s, base, text);
	}
	return r;
}

/* --- random ones
 * ------------------------------------------------------------------------------ */

static struct op random_op(struct seeded *rnd)
{
	static const char kinds[] = "cssqddnyybawwwwffxo";
	struct op op = {.kind = kinds[seeded_below(rnd, sizeof(kinds) - 1)]};

	op.volume = (uint32_t)seeded_below(rnd, HOUSE_SLOTS);
	op.other = (uint32_t)seeded_below(rnd, HOUSE_SLOTS - 1);
	op.first = seeded_below(rnd, HOUSE_VOLUME / 2);
	op.nr = 1 + seeded_below(rnd, HOUSE_VOLUME / 4);
	if (op.kind == 'x')
		op.nr = seeded_below(rnd, 80);
	return op;
}

static int randoms(struct session *s, const struct house_base *base)
{
	struct seeded rnd = {s->opt.seed};
	unsigned nr = s->opt.long_run ? 500 : 6;
	int r = 0;

	for (unsigned i = 0; i < nr && !r; i++) {
		struct seeded own = {seeded_next(&rnd)};
		struct run run;

		if (!session_mine(s))
			continue;
		r = run_begin(&run, s, base);
		for (unsigned n = 0; n < 30 && !r; n++)
			r = run_op(&run, random_op(&own));
		r = run_end(&run, r);
	}
	return r;
}

int main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{"long", no_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"part", required_argument, NULL, 'p'},
		{"ops", required_argument, NULL, 'o'},
		{0},
	};
	struct options opt = {.seed = 1, .parts = 1};
	struct house_base base;
	struct session s;
	int c, r;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'l')
			opt.long_run = true;
		else if (c == 's')
			opt.seed = strtoull(optarg, NULL, 0);
		else if (c == 'o')
			opt.ops = optarg;
		else if (c != 'p' || sscanf(optarg, "%u/%u", &opt.part, &opt.parts) != 2)
			return 2;
	}
	house_found();
	session_begin(&s, "service", &opt);
	make_base(&s, &base);
	if (opt.ops) {
		r = run_given(&s, &base, opt.ops);
	} else {
		r = sequences(&s, &base);
		if (!r)
			r = kills(&s, &base);
		if (!r)
			r = flattens(&s, &base);
		if (!r)
			r = randoms(&s, &base);
	}
	r = session_end(&s, r);
	house_base_fini(&base);
	house_fini();
	return r ? 1 : 0;
}
