/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_HOSTILE_SERVER_H
#define THINBD_TESTS_HOSTILE_SERVER_H

/*
 * An NBD server that does what a script says: bytes that anybody may have
 * made.  It keeps books, so that what the client claims can be held against
 * what it was told.
 *
 * The script is for one connection after the other.  Each begins with 4
 * bytes: the manner of greeting, the export's flags (2), its size, block
 * sizes and name.  Then come acts, done one a turn, or at once when their
 * bit 7 is set; enum act has them, arguments follow.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The part of the export whose content is kept. */
#define HOSTILE_DISK (32u << 10)

/* In place of a byte: nobody knows, nobody ever wrote there. */
#define HOSTILE_UNKNOWN (-1)

/* Where these bytes begin, they were not sent: the server never says three. */
#define HOSTILE_NEVER 0xbe

enum act {
	ACT_HONEST,  /* and 1, 2: answer what was asked first */
	ACT_RAW = 3, /* length (2), bytes */
	ACT_CLOSE,
	ACT_SILENT,
	ACT_ERROR, /* which */
	ACT_OTHER_COOKIE,
	ACT_TWICE,
	ACT_CUT,     /* how many bytes of an honest answer, then close */
	ACT_CHUNK,   /* flags, type, offset (2), length (2), bytes sent (2) */
	ACT_OPTION,  /* type, length, bytes */
	ACT_EXTENTS, /* how many, context; each: length (2), shift, flags */
	ACT_FORGET,
	ACT_ALL,    /* honestly, all that was asked */
	ACT_HEADER, /* of a chunk: flags, type, length (4) */
};

/* What came from the client, and what it was told. */
struct hostile {
	unsigned reads, flushes; /* requests */
	bool lied;		 /* said what is not so: the rest is of no worth */
	bool can_flush;		 /* as the last greeting told */
	bool unflushed;		 /* changes since the last flush, on this connection */
	int16_t durable[HOSTILE_DISK]; /* what a client who flushed may count on */
	int16_t content[HOSTILE_DISK];
};
extern struct hostile hostile;

/* @honest_after: what is beyond the script's end: honesty, or nobody. */
void hostile_begin(const uint8_t *script, size_t size, bool honest_after);
void hostile_end(void);

#endif
