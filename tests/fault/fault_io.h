/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FAULT_IO_H
#define THINBD_TESTS_FAULT_IO_H

/*
 * Storages that fail when they are told to: the k-th operation of some
 * classes, counted over all storages of one plan, once or from then on.
 */

#include "storage/storage.h"

#include "util/limits.h"

enum fault_class {
	FAULT_READ = 1u << 0,
	FAULT_WRITE = 1u << 1, /* zeroings too */
	FAULT_FLUSH = 1u << 2,
	FAULT_PUNCH = 1u << 3,
	FAULT_RESIZE = 1u << 4,
};

/* What a write that fails has done all the same. */
enum fault_done {
	FAULT_NOTHING,
	FAULT_HALF, /* of each segment, in whole sectors */
	FAULT_ALL,
};

struct fault_plan {
	unsigned classes;
	uint64_t at; /* the operation that fails, from 1; 0: none */
	bool sticky; /* all after it, too */
	bool paused; /* nothing is counted, nothing fails */
	int error;
	enum fault_done done;
	uint64_t seen;	  /* so many so far */
	bool fired;	  /* at least one has failed */
	bool flush_fired; /* a flush has */
};

struct fault_storage {
	struct thin_storage base;
	struct fault_plan *plan;
	struct thin_storage *under;
};

/* What lies over @under and follows @plan; neither is owned. */
void fault_lend(struct fault_storage *f, struct fault_plan *plan,
		struct thin_storage *under);

#endif
