/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_HISTORY_H
#define THINBD_TESTS_HISTORY_H

/*
 * What clients did to a volume's sectors, and whether a register per sector
 * could have answered so.
 *
 * Every write has a value of its own, so each read tells which write it saw.
 * All that is known of an operation is when it was issued and when it was
 * answered; in between it takes effect.  Zeros are a value that many writes
 * may share, and what is there at the beginning.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR	512u
#define UNKNOWN UINT64_MAX /* the end of what was never answered */

enum kind {
	EV_WRITE,
	EV_READ,
};

/* One sector of an operation.  Times in nanoseconds, from 1 on. */
struct event {
	uint64_t value; /* 0: zeros */
	uint64_t start, end;
	uint32_t sector;
	uint32_t kind;
};

/* A write as a whole. */
struct request {
	uint64_t start, end;
	uint32_t sector, nr;
};

struct history {
	struct event *at;
	size_t nr, room;
};

void history_add(struct history *h, struct event e);
void history_append(struct history *h, const struct history *more);
void history_fini(struct history *h);

/* Sorts it, by sector.  To be called before what follows. */
void history_sort(struct history *h);

/*
 * Each sector by itself is linearizable.  Puts the ends of writes forward,
 * where reads tell, so it comes last.
 * Returns NULL, or what is wrong, in a buffer of its own.
 */
const char *history_check(struct history *h);

/*
 * Reads which saw a mixture of several writes: the kernel's page cache allows
 * that where a read and a write meet, and only there.
 */
const char *history_check_torn(const struct history *h, const struct history *torn);

/*
 * @values is what the sectors 0 .. @nr had when the server was back after a
 * crash; before, writes whose end is at most @flushed were flushed.  Each
 * must be there, or one that may have come later.
 */
const char *history_check_crash(const struct history *h, const uint64_t *values,
				uint32_t nr, uint64_t flushed);

/*
 * @values was one instant between @start and @end, with whole requests.
 * @request_of: the write that has this value.
 */
const char *history_check_instant(const struct history *h, const uint64_t *values,
				  uint32_t nr, uint64_t start, uint64_t end,
				  const struct request *(*request_of)(uint64_t value));

/* Histories that are known to be right and wrong are told apart. */
const char *history_check_checks(void);

/* --- sectors ------------------------------------------------------------- */

/* A sector that has @value, not 0, all over. */
void sector_stamp(uint8_t *p, uint64_t value, uint32_t sector);

/* False where it is not one write's, as a whole, at this place. */
bool sector_value(const uint8_t *p, uint32_t sector, uint64_t *ret_value);

#endif
