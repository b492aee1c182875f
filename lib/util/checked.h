/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_CHECKED_H
#define THINBD_UTIL_CHECKED_H

/*
 * Arithmetic on numbers that come from outside (disk, wire, files), and the
 * few roundings that everybody needs.  Nothing here can overflow unnoticed.
 */

#include <stdbool.h>
#include <stdint.h>

/* *@ret = @a + @b; false, and *@ret untouched, where that does not fit. */
static inline bool thin_add_ok(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

/* *@ret = @a * @b; false, and *@ret untouched, where that does not fit. */
static inline bool thin_mul_ok(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*ret = product;
	return true;
}

/* Is [@offset, @offset + @len) inside [0, @size)? */
static inline bool thin_range_ok(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

/* @n divided by @d (not 0), rounded up; never overflows. */
static inline uint64_t thin_div_up(uint64_t n, uint64_t d)
{
	return n / d + (n % d != 0);
}

static inline uint64_t thin_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t thin_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
