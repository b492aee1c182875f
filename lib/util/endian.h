/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_ENDIAN_H
#define THINBD_UTIL_ENDIAN_H

/*
 * Disk order is a type: a number that was read from the metadata device
 * can not be used before it went through le32_get() or le64_get().
 */

#include <endian.h>
#include <stdint.h>

struct le32 {
	uint32_t raw;
} __attribute__((packed));

struct le64 {
	uint64_t raw;
} __attribute__((packed));

static inline uint32_t le32_get(struct le32 v)
{
	return le32toh(v.raw);
}

static inline uint64_t le64_get(struct le64 v)
{
	return le64toh(v.raw);
}

static inline struct le32 le32_of(uint32_t v)
{
	return (struct le32){htole32(v)};
}

static inline struct le64 le64_of(uint64_t v)
{
	return (struct le64){htole64(v)};
}

#endif
