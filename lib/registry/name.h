/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_NAME_H
#define THINBD_REGISTRY_NAME_H

/*
 * The grammar of volume names, in one place:
 *
 *   name = part [ "@" part ]
 *   part = [A-Za-z0-9] [A-Za-z0-9._-]{0,62}
 *
 * A name from outside (command line, control socket, NBD client) goes
 * through thin_name_check() before anything else is done with it.  What
 * passes is safe as a file name, in a log and in JSON.
 */

#include "util/errors.h"
#include "util/limits.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Is @name (any bytes up to its NUL) a volume name?
 * @e: which character or part is wrong, with @name escaped.
 * Returns 0 or -EINVAL.  Cost: stops at the first fault, or at the end.
 */
THIN_MUST_CHECK int thin_name_check(const char *name, struct thin_error *e);

/* Has @name (which passed the check) the form of a snapshot's: an '@'? */
bool thin_name_is_snapshot(const char *name);

/* The two parts of a name; @tag is empty where there is no '@'. */
struct thin_name_parts {
	char base[THIN_NAME_PART_MAX + 1];
	char tag[THIN_NAME_PART_MAX + 1];
};

/* Split @name, which passed the check. */
void thin_name_split(const char *name, struct thin_name_parts *ret);

/* Room for what thin_name_escape() makes. */
#define THIN_NAME_ESCAPED 80

/*
 * @text, of any bytes, fit for a log line: what is not printable ASCII
 * becomes \xNN, what is too long ends in "...".  Returns @buf.
 */
char *thin_name_escape(const char *text, char buf[static THIN_NAME_ESCAPED]);

/*
 * Is @text one line of at most @max bytes, in UTF-8, without control
 * characters?  Descriptions go through here: they are shown on terminals,
 * in JSON and to NBD clients, which all want that.
 * @e: what is wrong, where.
 * Returns 0; -EINVAL; -EDQUOT (too long).
 */
THIN_MUST_CHECK int thin_text_check(const char *text, size_t max, struct thin_error *e);

#endif
