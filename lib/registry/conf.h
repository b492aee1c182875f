/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_CONF_H
#define THINBD_REGISTRY_CONF_H

/*
 * From a libconfig text to a struct and back, by a table of keys.
 *
 * Every file of the registry is read with such a table.  What the table does
 * not have is refused; so is a value of the wrong type or out of its range;
 * always with file, line, key, and what was expected.
 */

#include "util/cleanup.h"
#include "util/errors.h"

#include <libconfig.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a value is in the file, and in the struct. */
enum thin_conf_kind {
	THIN_CONF_STRING, /* string: char *, owned; NULL where it is empty */
	THIN_CONF_SIZE,	  /* "64K" or a number of bytes: uint64_t */
	THIN_CONF_LIMIT,  /* the same, or "none" for UINT64_MAX: uint64_t */
	THIN_CONF_AMOUNT, /* "10%" or a size: struct thin_amount */
	THIN_CONF_CHOICE, /* one of some words: int, its index */
	THIN_CONF_NUMBER, /* a number: uint32_t */
	THIN_CONF_U64,	  /* a number: uint64_t */
	THIN_CONF_S64,	  /* a number: int64_t */
	THIN_CONF_BOOL,	  /* true or false: bool */
	THIN_CONF_TIME,	  /* "2026-01-01T00:00:00Z": int64_t, seconds since 1970 */
};

/* A key; a table of them ends with one that has no name. */
struct thin_conf_key {
	const char *name;
	enum thin_conf_kind kind;
	size_t offset;	      /* of the member in the struct */
	const char *fallback; /* what it is where it is not set; NULL: must be set */
	uint64_t min, max;    /* of a SIZE, LIMIT or NUMBER */
	const char *const *choices; /* of a CHOICE, ends with NULL */

	/* More about a STRING that is not empty; may be NULL.  @e: what is wrong. */
	int (*check)(const char *value, struct thin_error *e);
};

/* Room for a value as text, except for a STRING's. */
#define THIN_CONF_TEXT 40

/*
 * Set @key's member of @object from @text, as on a command line: without
 * quotes.  What a STRING's member held is freed.
 * @e: what was wrong with @text (without file and key).
 * Returns 0; -EINVAL; -ERANGE; -EDQUOT; -ENOMEM.  The member is unchanged
 * where it fails.
 */
THIN_MUST_CHECK int thin_conf_set(const struct thin_conf_key *key, const char *text,
				  void *object, struct thin_error *e);

/*
 * The text that thin_conf_set() would read back.  Returns @buf, or the
 * string itself.
 */
const char *thin_conf_text(const struct thin_conf_key *key, const void *object,
			   char buf[static THIN_CONF_TEXT]);

/* The key called @name in @keys, or NULL. */
const struct thin_conf_key *thin_conf_find(const struct thin_conf_key *keys,
					   const char *name);

/*
 * Set all members of @object (zeroed) to their fallbacks; those that must
 * be set stay zero.  Returns 0 or -ENOMEM.
 */
THIN_MUST_CHECK int thin_conf_defaults(const struct thin_conf_key *keys, void *object);

/*
 * Make the strings of @object, a plain copy of another one's struct, its
 * own.  Returns 0 or -ENOMEM; either way @object can be freed by
 * thin_conf_free() and the other one is untouched.
 */
THIN_MUST_CHECK int thin_conf_own_strings(const struct thin_conf_key *keys, void *object);

/* Free the strings of @object. */
void thin_conf_free(const struct thin_conf_key *keys, void *object);

/* A parsed text; thin_conf_fini() it.  @where is the file, for messages. */
struct thin_conf {
	config_t config;
	const char *where; /* not copied */
};

/*
 * Parse @text: @len bytes, and a NUL after them.
 * "@include" is refused: what a file says must not depend on others.
 * Returns 0; -EINVAL, -ERANGE (@e: file, line, what); -ENOMEM.  @c needs a
 * thin_conf_fini() only where it was 0.
 */
THIN_MUST_CHECK int thin_conf_parse(struct thin_conf *c, const char *where,
				    const char *text, size_t len, struct thin_error *e);
void thin_conf_fini(struct thin_conf *c);

/*
 * Read the settings of @group, and none else than @keys has, to @object
 * (zeroed).  The caller frees @object by thin_conf_free() in any case.
 * Returns 0; -EINVAL, -ERANGE, -EDQUOT (@e: file, line, key, what);
 * -ENOMEM.
 */
THIN_MUST_CHECK int thin_conf_read(const struct thin_conf *c,
				   const config_setting_t *group,
				   const struct thin_conf_key *keys, void *object,
				   struct thin_error *e);

/* "file:line: message" of a setting; returns @err. */
int thin_conf_error(const struct thin_conf *c, const config_setting_t *setting,
		    struct thin_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* Write @text to @out as a string of a file, quoted and escaped. */
void thin_conf_quote(FILE *out, const char *text);

/* Write @key's value as it stands in a file.  Errors are left in @out. */
void thin_conf_write_value(FILE *out, const struct thin_conf_key *key,
			   const void *object);

/* Write "@key = value;" and @end.  Errors are left in @out. */
void thin_conf_write(FILE *out, const struct thin_conf_key *key, const void *object,
		     const char *end);

/* The same for each of @keys that does not have its fallback. */
void thin_conf_write_all(FILE *out, const struct thin_conf_key *keys, const void *object,
			 const char *end);

#endif
