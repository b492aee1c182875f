/* SPDX-License-Identifier: BSD-3-Clause */

#include "should.h"

/*
 * What is said when something is wrong, and with it what is known of the run.
 */

#include "rounds.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct rounds_run rounds_run;

void wrong(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "\nround %" PRIu64 ", operation %" PRIu64 " (%s), %s:%d: ",
		rounds_run.round, rounds_run.op, rounds_run.what, file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (rounds_run.program)
		fprintf(stderr,
			"again: THINBD_SEED=%" PRIu64 " THINBD_OPS=%" PRIu64 " %s\n",
			rounds_run.seed, rounds_run.ops, rounds_run.program);
	abort();
}
