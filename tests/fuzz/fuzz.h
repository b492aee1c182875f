/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FUZZ_H
#define THINBD_TESTS_FUZZ_H

/*
 * A target gets bytes that anybody may have made.  It must come back: no
 * crash, no endless loop, no memory without bound (P5).
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must be true whatever the input. */
#define MUST(condition)                                                                  \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__,     \
				#condition);                                             \
			abort();                                                         \
		}                                                                        \
	} while (0)

#endif
