/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_SIZE_H
#define THINBD_UTIL_SIZE_H

/*
 * Sizes as people write and read them: bytes, or a number with one of
 * K M G T P E (powers of 1024); and amounts, which are a size or a
 * percentage of something.
 */

#include "util/errors.h"

#include <stdbool.h>
#include <stdint.h>

/* Room for any text that is made here, its NUL included. */
#define THIN_SIZE_TEXT 32

/*
 * @text ("65536", "64K", "64k", "64KiB") to bytes.  Nothing may stand
 * before or after it, and it is a whole number.
 * Returns 0; -EINVAL (malformed); -ERANGE (over 2^64-1).  @e quotes @text.
 */
THIN_MUST_CHECK int thin_size_parse(const char *text, uint64_t *ret_bytes,
				    struct thin_error *e);

/*
 * @bytes as thin_size_parse() reads it back, in the largest unit in which
 * it is a whole number: "64K", "1000", "0".  Returns @buf.
 */
char *thin_size_exact(uint64_t bytes, char buf[static THIN_SIZE_TEXT]);

/*
 * @bytes to look at: rounded to two or three digits, "1.5G", "10G", "512".
 * Returns @buf.
 */
char *thin_size_human(uint64_t bytes, char buf[static THIN_SIZE_TEXT]);

/* A size in bytes, or a percentage of something that is known later. */
struct thin_amount {
	uint64_t value; /* bytes, or 0 to 100 */
	bool percent;
};

/*
 * @text ("10%", "64M", "0") to an amount.
 * Returns 0; -EINVAL (malformed); -ERANGE (over 100%, or over 2^64-1).
 */
THIN_MUST_CHECK int thin_amount_parse(const char *text, struct thin_amount *ret,
				      struct thin_error *e);

/* @a as thin_amount_parse() reads it back.  Returns @buf. */
char *thin_amount_text(const struct thin_amount *a, char buf[static THIN_SIZE_TEXT]);

/* @a in bytes, where the whole has @total_bytes; a percentage rounds down. */
uint64_t thin_amount_bytes(const struct thin_amount *a, uint64_t total_bytes);

#endif
