/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_OOM_H
#define THINBD_TESTS_OOM_H

/*
 * Memory that runs out: malloc() and its like, as the linker has them
 * (--wrap), fail at the k-th allocation since oom_arm(), once or from then
 * on.  What the tests need themselves (must_alloc()) is left alone.
 */

#include <stdbool.h>
#include <stdint.h>

void oom_arm(uint64_t at, bool sticky); /* @at: 0 is never */
/* Did it strike since it was armed? */
bool oom_disarm(void);

#endif
