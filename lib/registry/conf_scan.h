/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_CONF_SCAN_H
#define THINBD_REGISTRY_CONF_SCAN_H

/*
 * The tokens of a libconfig text, and where they stand in it.
 *
 * libconfig itself tells neither where a value stands nor that a number was
 * too big for it, it opens files on "@include", and it forgets comments.
 * With the tokens we can refuse, widen and edit before and after it.
 */

#include "util/errors.h"

#include <stddef.h>

enum thin_token_kind {
	THIN_TOKEN_END,
	THIN_TOKEN_WORD,   /* a name, a number, true or false */
	THIN_TOKEN_STRING, /* with its quotes */
	THIN_TOKEN_SIGN,   /* any other single character */
};

struct thin_token {
	enum thin_token_kind kind;
	const char *text; /* in the scanned text */
	size_t len;
	unsigned line; /* from 1 */
};

/* Zero it, save for these two, before the first token. */
struct thin_scanner {
	const char *at; /* what is left of a text that ends with a NUL */
	unsigned line;	/* 1 */
};

/*
 * The next token, past blanks and comments; END at the end, again and again.
 * Returns 0; -EINVAL for a string or a comment without an end (@e, without
 * file and line; these are s->line).
 */
THIN_MUST_CHECK int thin_scan(struct thin_scanner *s, struct thin_token *ret,
			      struct thin_error *e);

/*
 * @text (ending with a NUL) made fit for libconfig.  "@include" is refused.
 * libconfig takes a whole number without an "L" for 32 bits and silently
 * drops the rest: these get their L.  What 64 bits can not hold is refused.
 * It also wants a newline at the end.  Lines keep their numbers.
 * @where: the file, for messages.  @ret_text: free() it.
 * Returns 0; -EINVAL; -ERANGE; -ENOMEM.  Cost: O(length).
 */
THIN_MUST_CHECK int thin_conf_widen(const char *where, const char *text, char **ret_text,
				    struct thin_error *e);

/*
 * @text with its top-level @key set to @value (as it stands in a file,
 * quotes and all): in its old place where there is one, else in a new last
 * line.  Everything else, comments too, stays as it was.
 * @text must be one that libconfig accepts, and @key's old value a scalar.
 * Returns 0; -EINVAL (is not such a text); -ENOMEM.
 */
THIN_MUST_CHECK int thin_conf_edit(const char *text, const char *key, const char *value,
				   char **ret_text);

#endif
