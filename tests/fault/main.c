/* SPDX-License-Identifier: BSD-3-Clause */
#include "points.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * fault LOOP... [--long] [--script NAME] [--part I/N]
 *
 * The loops: io, memory, space, metadata.
 */

static const struct {
	const char *name;
	int (*run)(struct points *pt);
} loops[] = {
	{"io", loop_io},
	{"memory", loop_memory},
	{"space", loop_space},
	{"metadata", loop_metadata},
};

#define NR_LOOPS (sizeof(loops) / sizeof(loops[0]))

static int usage(void)
{
	fprintf(stderr, "fault LOOP... [--long] [--script NAME] [--part I/N]\nLOOPs:");
	for (size_t i = 0; i < NR_LOOPS; i++)
		fprintf(stderr, " %s", loops[i].name);
	fprintf(stderr, "\n");
	return 2;
}

static int run_loop(const char *name, const struct options *opt)
{
	struct session s;
	struct points pt = {.s = &s, .crash_every = opt->long_run ? 1 : 8};
	size_t i = 0;
	int r;

	while (i < NR_LOOPS && strcmp(loops[i].name, name))
		i++;
	if (i == NR_LOOPS)
		return usage();
	session_begin(&s, name, opt);
	r = loops[i].run(&pt);
	printf("%s: %" PRIu64 " faults, %" PRIu64 " of them with crashes after it\n",
	       name, pt.nr, pt.crashes);
	return session_end(&s, r) ? 1 : 0;
}

int main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{"long", no_argument, NULL, 'l'},
		{"part", required_argument, NULL, 'p'},
		{"script", required_argument, NULL, 't'},
		{0},
	};
	struct options opt = {.seed = 1, .parts = 1};
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'l')
			opt.long_run = true;
		else if (c == 't')
			opt.state = optarg;
		else if (c != 'p' ||
			 sscanf(optarg, "%u/%u", &opt.part, &opt.parts) != 2 ||
			 opt.part >= opt.parts)
			return usage();
	}
	if (optind == argc)
		return usage();
	for (int i = optind; i < argc && !r; i++)
		r = run_loop(argv[i], &opt);
	return r;
}
