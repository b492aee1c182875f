/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_CLEANUP_H
#define THINBD_UTIL_CLEANUP_H

/*
 * Scope-bound ownership: what a function owns until it returns is declared
 * with one of these, and there is no path on which it leaks.
 */

#include <stdlib.h>
#include <unistd.h>

/* Defines fnp(), which calls fn() on the variable that goes out of scope. */
#define THIN_DEFINE_CLEANUP(type, fn)                                                    \
	static inline void fn##p(type *p)                                                \
	{                                                                                \
		if (*p)                                                                  \
			fn(*p);                                                          \
	}                                                                                \
	_Static_assert(1, "wants a semicolon")

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void thin_freep(void *p)
{
	free(*(void **)p);
}

static inline void thin_closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

#define _cleanup_free  _cleanup_(thin_freep)
#define _cleanup_close _cleanup_(thin_closep)

/* Hand over what a cleanup variable owns. */
#define thin_steal(p)                                                                    \
	({                                                                               \
		__auto_type _stolen = (p);                                               \
		(p) = NULL;                                                              \
		_stolen;                                                                 \
	})

#endif
