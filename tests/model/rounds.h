/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_ROUNDS_H
#define THINBD_TESTS_ROUNDS_H

/*
 * Rounds of operations on a pool, every answer compared with the model's.
 * Who chooses is the caller's: random numbers, or a fuzzer's bytes.  A round
 * in which something is not as it should be ends the program, by abort().
 */

#include <stddef.h>
#include <stdint.h>

/* What is told when something is wrong; the operations are counted here. */
struct rounds_run {
	uint64_t seed, ops;  /* to do all of it again */
	uint64_t op, round;  /* so far */
	const char *what;    /* is being done */
	const char *program; /* NULL: the caller says how it is done again */
};

extern struct rounds_run rounds_run;

/* One round: @ops operations (fewer where blocks are large), chosen by @seed. */
void round_by_seed(uint64_t seed, uint64_t ops);

/*
 * One round on a small pool, as long as there are bytes to choose by.  The
 * same bytes are the same operations, for ever or until what chooses changes
 * (choose.h).
 */
void round_by_bytes(const uint8_t *bytes, size_t size);

#endif
