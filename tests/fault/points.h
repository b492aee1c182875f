/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_POINTS_H
#define THINBD_TESTS_POINTS_H

/*
 * One script with one fault: what the loops do again and again.
 */

#include "bases.h"
#include "fault_io.h"
#include "scripts.h"
#include "session.h"

/* Makes something fail in a script, at the k-th chance. */
struct fault {
	struct fault_plan plan; /* of I/O */
	uint64_t alloc_at;	/* of memory; 0: none */
	bool alloc_sticky;
};

struct points {
	struct session *s;
	uint64_t nr;	  /* faults that struck */
	uint64_t crashes; /* of these with all the crash images after it */
	unsigned crash_every;
};

/*
 * Do @script with @fault, then see that the pool is what it may be: as it is
 * left in memory, after it was opened again, after a crash, and when it is
 * used again.
 * @ret_fired: did the fault strike?
 * Returns 0, or an error that was printed.
 */
int point_try(struct points *pt, const struct script *script, const struct base *base,
	      const struct fault *fault, bool *ret_fired);

/* The loops: 0, or an error that was printed. */
int loop_io(struct points *pt);
int loop_memory(struct points *pt);
int loop_space(struct points *pt);
int loop_metadata(struct points *pt);

/* "write of 3, once, EIO, half of it", in a static buffer. */
const char *fault_describe(const struct fault *fault);

#endif
