/* SPDX-License-Identifier: BSD-3-Clause */
#include "oom.h"

#include "recorder.h"

#include <errno.h>
#include <stdlib.h>

static bool armed, is_sticky, fired;
static uint64_t strike_at, seen;

void oom_arm(uint64_t at, bool sticky)
{
	armed = at > 0;
	strike_at = at;
	is_sticky = sticky;
	seen = 0;
	fired = false;
}

bool oom_disarm(void)
{
	armed = false;
	return fired;
}

static bool strikes(void)
{
	if (!armed || must_alloc_depth)
		return false;
	seen++;
	if (is_sticky ? seen < strike_at : seen != strike_at)
		return false;
	fired = true;
	errno = ENOMEM;
	return true;
}

/* The linker sends all calls of NAME to __wrap_NAME, and has the real one. */
#define WRAP(type, name, params, args)                                                   \
	type __real_##name params;                                                       \
	type __wrap_##name params;                                                       \
	type __wrap_##name params                                                        \
	{                                                                                \
		return strikes() ? NULL : __real_##name args;                            \
	}

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t nr, size_t size), (nr, size))
WRAP(void *, realloc, (void *p, size_t size), (p, size))
WRAP(void *, reallocarray, (void *p, size_t nr, size_t size), (p, nr, size))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
