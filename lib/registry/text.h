/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_TEXT_H
#define THINBD_REGISTRY_TEXT_H

/* A text that is written piece by piece, by stdio, into memory. */

#include "util/errors.h"

#include <stddef.h>
#include <stdio.h>

struct thin_text {
	FILE *out; /* print here; errors may be left in it */
	char *text;
	size_t len;
};

/* Returns 0, after which it must be closed; -ENOMEM. */
THIN_MUST_CHECK int thin_text_open(struct thin_text *t);

/*
 * Close, and hand over what was written, with a NUL after it (not counted
 * in *@ret_len, which may be NULL).  @ret_text: free() it.
 * Returns 0; -ENOMEM, where some of it is missing.
 */
THIN_MUST_CHECK int thin_text_close(struct thin_text *t, char **ret_text,
				    size_t *ret_len);

/* Close, and forget what was written. */
void thin_text_drop(struct thin_text *t);

#endif
