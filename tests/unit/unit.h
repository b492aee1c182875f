/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_UNIT_H
#define THINBD_TESTS_UNIT_H

/*
 * cmocka, with the headers that it wants before it.  To be included first:
 * some tests stand in for calls of the C library, whose hardened headers
 * would define them too.
 */
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Is @part in @text?  Shows both where it is not. */
#define assert_has(text, part)                                                           \
	do {                                                                             \
		const char *text_ = (text), *part_ = (part);                             \
		if (!strstr(text_, part_))                                               \
			fail_msg("\"%s\" is not in \"%s\"", part_, text_);               \
	} while (0)

#endif
