/* SPDX-License-Identifier: BSD-3-Clause */
#include "bases.h"
#include "session.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * crash TEST... [--long] [--seed N] [--part I/N]
 * crash --ops 'OPS' | --file FILE [--state STATE] [--seed N]
 *
 * The tests: metadata, sequences, kills, random, threads.
 */

static const struct {
	const char *name;
	int (*run)(struct session *s);
} tests[] = {
	{"metadata", crash_metadata}, {"sequences", crash_sequences},
	{"kills", crash_kills},	      {"random", crash_random},
	{"threads", crash_threads},
};

#define NR_TESTS (sizeof(tests) / sizeof(tests[0]))

static int usage(void)
{
	fprintf(stderr, "crash TEST... [--long] [--seed N] [--part I/N]\n"
			"crash --ops 'OPS' | --file FILE [--state STATE] [--seed N]\n"
			"TESTs:");
	for (size_t i = 0; i < NR_TESTS; i++)
		fprintf(stderr, " %s", tests[i].name);
	fprintf(stderr, "; STATEs:");
	for (unsigned i = 0; i < bases_nr(); i++)
		fprintf(stderr, " %s", base_name(i));
	fprintf(stderr, "\n");
	return 2;
}

static int run_test(const char *name, const struct options *opt)
{
	struct session s;
	size_t i = 0;

	while (i < NR_TESTS && strcmp(tests[i].name, name))
		i++;
	if (i == NR_TESTS)
		return usage();
	session_begin(&s, name, opt);
	return session_end(&s, tests[i].run(&s)) ? 1 : 0;
}

/* --- given operations --------------------------------------------------------- */

static int base_by_name(const char *name)
{
	for (unsigned i = 0; i < bases_nr(); i++)
		if (!name || !strcmp(name, base_name(i)))
			return (int)i;
	return -1;
}

static int run_ops(const struct options *opt)
{
	int from = base_by_name(opt->state), r;
	const char *bad;
	struct session s;
	struct base base;
	struct ops ops;

	if (from < 0)
		return usage();
	if (!ops_parse(&ops, opt->ops, &bad)) {
		fprintf(stderr, "crash: what is \"%.20s\"?\n", bad);
		ops_fini(&ops);
		return 2;
	}
	session_begin(&s, "ops", opt);
	base_make(&base, (unsigned)from);
	r = session_end(&s, crash_ops(&s, &base, &ops));
	base_fini(&base);
	ops_fini(&ops);
	return r ? 1 : 0;
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t room = 0;

	if (!f || getdelim(&text, &room, 0, f) < 0) {
		perror(path);
		exit(2);
	}
	fclose(f);
	return text;
}

/* "# state: NAME" in a file of operations says from where they start. */
static const char *state_in(const char *text)
{
	const char *p = strstr(text, "# state: ");
	static char name[32];

	if (p && sscanf(p, "# state: %31s", name) == 1)
		return name;
	return NULL;
}

int main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{"long", no_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"part", required_argument, NULL, 'p'},
		{"ops", required_argument, NULL, 'o'},
		{"file", required_argument, NULL, 'f'},
		{"state", required_argument, NULL, 't'},
		{0},
	};
	struct options opt = {.seed = 1, .parts = 1};
	char *text = NULL;
	int c, r = 0;

	if (getenv("THINBD_SEED"))
		opt.seed = strtoull(getenv("THINBD_SEED"), NULL, 0);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'l')
			opt.long_run = true;
		else if (c == 's')
			opt.seed = strtoull(optarg, NULL, 0);
		else if (c == 'o')
			opt.ops = optarg;
		else if (c == 'f')
			opt.ops = text = read_file(optarg);
		else if (c == 't')
			opt.state = optarg;
		else if (c != 'p' ||
			 sscanf(optarg, "%u/%u", &opt.part, &opt.parts) != 2 ||
			 opt.part >= opt.parts)
			return usage();
	}
	if (text && !opt.state)
		opt.state = state_in(text);
	if (opt.ops)
		r = run_ops(&opt);
	else if (optind == argc)
		return usage();
	for (int i = optind; i < argc && !r && !opt.ops; i++)
		r = run_test(argv[i], &opt);
	free(text);
	return r;
}
