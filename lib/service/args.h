/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_ARGS_H
#define THINBD_SERVICE_ARGS_H

/*
 * A request, checked against the table of verbs: whatever gets past
 * thin_args_parse() has only known keys, with values of the right type.
 */

#include "service/reply.h"
#include "thinbd.h"
#include "util/errors.h"

struct thin_args {
	const struct thinbd_verb *verb;
	struct json_object *doc;  /* owned: the whole request */
	struct json_object *args; /* inside it, or NULL */
};

/*
 * Parse @request, which comes from anybody.
 * @e: what is wrong with it.
 * Returns 0, after which thin_args_fini() is due; -EINVAL; -ENOMEM.
 */
THIN_MUST_CHECK int thin_args_parse(const char *request, struct thin_args *ret,
				    struct thin_error *e);
void thin_args_fini(struct thin_args *a);

/* The text of @name, or NULL where it was not given; belongs to @a. */
const char *thin_arg_text(const struct thin_args *a, const char *name);
bool thin_arg_flag(const struct thin_args *a, const char *name);

/* Of a repeated one: how many, and one of them (@i < count). */
size_t thin_arg_count(const struct thin_args *a, const char *name);
const char *thin_arg_nth(const struct thin_args *a, const char *name, size_t i);

/*
 * A size in bytes; *@ret is 0 where it was not given, which no size that was
 * given can be.  Returns 0; -EINVAL; -ERANGE.
 */
THIN_MUST_CHECK int thin_arg_size(const struct thin_args *a, const char *name,
				  uint64_t *ret, struct thin_error *e);

#endif
