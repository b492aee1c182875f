/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_HOUSE_INTERNAL_H
#define THINBD_TESTS_HOUSE_INTERNAL_H

/* What house.c, which does things, and house_verify.c, which looks, share. */

#include "house.h"

#include <stdbool.h>

/* Note why not.  -EINVAL. */
int __attribute__((format(printf, 3, 4)))
house_say(char *why, size_t len, const char *fmt, ...);

/* thinbd_open(), with these for what its folder has. */
int house_open_with(struct thin_storage *metadata, struct thin_storage *data,
		    struct folder *folder, struct thinbd **ret, struct thinbd_error *e);

/* Does the reply say that it went well?  *@ret_reply is to be freed. */
bool house_ask(struct thinbd *t, const char *request, char **ret_reply);

/*
 * All volumes, and their names.  @now: as the model has it now; else also what a
 * crash may have left.  0, or -EINVAL and why not.
 */
int house_check(struct thinbd *t, const struct model *model, bool now, char *why,
		size_t len);

#endif
