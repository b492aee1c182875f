/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SEEDED_H
#define THINBD_TESTS_SEEDED_H

/*
 * Random numbers that can be had again: the seed is printed, and taken from
 * the environment's THINBD_SEED when that is set.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct seeded {
	uint64_t state;
};

/* splitmix64's step: enough for tests, and the whole state is the seed. */
static inline uint64_t seeded_next(struct seeded *s)
{
	uint64_t z = s->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* A number in [0, @n), @n > 0. */
static inline uint64_t seeded_below(struct seeded *s, uint64_t n)
{
	return seeded_next(s) % n;
}

static inline void seeded_fill(struct seeded *s, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)seeded_next(s);
}

/* To be called once per test; @name is printed with the seed. */
static inline struct seeded seeded_start(const char *name)
{
	const char *given = getenv("THINBD_SEED");
	struct timespec t;
	struct seeded s;

	if (given) {
		s.state = strtoull(given, NULL, 0);
	} else {
		clock_gettime(CLOCK_REALTIME, &t);
		s.state = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	}
	printf("%s: THINBD_SEED=%" PRIu64 "\n", name, s.state);
	return s;
}

#endif
