/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FUZZ_FLAT_H
#define THINBD_TESTS_FUZZ_FLAT_H

/*
 * Storages for millions of runs: arrays, used again by each run.  Opening
 * one costs a copy of what is in it; closing it is nothing.
 */

#include "storage/storage.h"

struct flat;

/* With room for @max bytes; there for as long as the program runs. */
struct flat *flat_new(uint64_t max);

/*
 * A storage of @bytes that holds @image (@size bytes), then zeros: what an
 * earlier call returned becomes this.
 * Returns NULL where the sizes do not fit into each other, or the room.
 */
struct thin_storage *flat_open(struct flat *f, const uint8_t *image, size_t size,
			       uint64_t bytes);

/* What it says who it is, from now on; else that is its size. */
void flat_identify(struct flat *f, const struct thin_identity *id);

/* As it is, for somebody else to open it. */
struct thin_storage *flat_reopen(struct flat *f);

#endif
