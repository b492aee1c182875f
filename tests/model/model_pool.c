/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A pool against the model, at random.
 *
 *   THINBD_SEED  where the random numbers begin; printed, so that a failure
 *                can be had again
 *   THINBD_OPS   how many operations; else the first argument, or 100000
 */

#include "../unit/seeded.h"
#include "rounds.h"

#define ROUND_OPS 2000

int main(int argc, char **argv)
{
	const char *ops = getenv("THINBD_OPS");
	struct seeded s = seeded_start("model/pool");

	rounds_run.program = argv[0];
	rounds_run.seed = s.state;
	rounds_run.ops = ops	    ? strtoull(ops, NULL, 0)
			 : argc > 1 ? strtoull(argv[1], NULL, 0)
				    : 100000;
	while (rounds_run.op < rounds_run.ops) {
		uint64_t left = rounds_run.ops - rounds_run.op;

		round_by_seed(seeded_next(&s), left < ROUND_OPS ? left : ROUND_OPS);
	}
	printf("%" PRIu64 " operations in %" PRIu64 " rounds\n", rounds_run.op,
	       rounds_run.round);
	return 0;
}
