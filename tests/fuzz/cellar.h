/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FUZZ_CELLAR_H
#define THINBD_TESTS_FUZZ_CELLAR_H

/*
 * The whole library, as a front end has it, on a pool in memory, which each
 * run finds as it was: two volumes of CELLAR_SIZE, of which "vm1" has data
 * and a snapshot "vm1@s", and "vm2" an origin.
 *
 * The linker wraps what opens files and storages: of the world outside
 * nothing is opened but the pool's own folder, whatever an input asks for.
 */

#include "thinbd.h"

#define CELLAR_SIZE  UINT64_C(65536)
#define CELLAR_BLOCK UINT64_C(4096)

/* What vm1 and its snapshot hold, and vm2 by its origin. */
uint8_t cellar_byte(unsigned volume, uint64_t at);

/* The pool's folder. */
const char *cellar_dir(void);

/* Put everything back; opening the folder from now on opens that. */
void cellar_reset(void);

/*
 * Nobody has it open: is it in order?  The audit finds nothing, and it can
 * be opened.
 */
void cellar_check(void);

#endif
