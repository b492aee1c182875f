/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_REPLY_H
#define THINBD_SERVICE_REPLY_H

/* Replies as JSON texts, and the items of those that come piece by piece. */

#include "thinbd.h"
#include "util/cleanup.h"
#include "util/errors.h"

#include <json-c/json.h>

THIN_DEFINE_CLEANUP(struct json_object *, json_object_put);
#define _cleanup_json _cleanup_(json_object_putp)

/* Compact, without escaped slashes; belongs to @o.  NULL: no memory. */
const char *thin_json_text(struct json_object *o);

/*
 * {"error": {"code", "message"}}; where @e has no text it is @err's sentence.
 * Returns a text to free(), or NULL.
 */
char *thin_reply_error(int err, const struct thin_error *e);

/* {"result": @result}; takes a reference of @result away.  Likewise. */
char *thin_reply_result(struct json_object *result);

/*
 * The document that @text is, of @len bytes and a NUL, with nothing after it; by @tok.
 * Returns 0; -EPROTO, also for a null.
 */
THIN_MUST_CHECK int thin_json_parse(struct json_tokener *tok, const char *text,
				    size_t len, struct json_object **ret);

/*
 * Where items go: to the observer, or, where that takes none, into a result.
 */
struct thin_items {
	const struct thinbd_observer *observer; /* may be NULL */
	struct json_tokener *tok;		/* NULL until it is needed */
	struct json_object *array;		/* collected, not TEXT */
	char *text;				/* collected, TEXT */
	size_t len, size;
	bool is_text;
};

/* Returns 0 or -ENOMEM; then thin_items_fini() is not needed. */
THIN_MUST_CHECK int thin_items_init(struct thin_items *items, bool is_text,
				    const struct thinbd_observer *observer);
void thin_items_fini(struct thin_items *items);

/* Add one; @json ends with a NUL; an observer gets it as it is.  Returns 0; -ENOMEM;
 * -EPROTO; -ECANCELED. */
THIN_MUST_CHECK int thin_items_add(struct thin_items *items, const char *json,
				   size_t len);

/* Likewise; takes a reference of @o away (NULL: no memory). */
THIN_MUST_CHECK int thin_items_add_object(struct thin_items *items,
					  struct json_object *o);

/* The result that was collected, or NULL where the observer had it all. */
struct json_object *thin_items_result(struct thin_items *items);

#endif
