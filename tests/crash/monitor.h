/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MONITOR_H
#define THINBD_TESTS_MONITOR_H

/*
 * The ordering monitor: watches a pool's I/O and says at once when a crash
 * at the wrong moment could do harm, whether or not one is tried there.
 *
 *  O1  A metadata write hits only blocks that no superblock which a crash may
 *      leave refers to, and that its space map has as free; but for block 0.
 *  O2  When a superblock is written, every metadata block that it reaches is
 *      durable, and so are the sizes of both storages that it needs.
 *  O3  ... and every data block that it newly refers to, in full.
 *  O4  A data write hits a block that such superblocks do not refer to; or
 *      that they refer to in one place, which is the writer's.
 *  O5  A punch hits only blocks that they do not refer to, that nobody is
 *      writing, and that nobody began to write since the last of these; and
 *      nobody writes to them while it is under way.
 *  O6  When a flush is answered, what had completed before it is durable, and
 *      a durable superblock has its mappings.
 *  O7  Nothing is written after a flush that failed.
 *  O9  A metadata write is one whole block, sealed as one of the four kinds.
 *
 * (O8, of the registry's files, is the files simulator's.)
 *
 * To attach it to a test: lend the pool the recorder's storages instead of
 * your own, and ask at the end.
 *
 *	struct recorder *rec = rec_new(0);
 *	struct monitor *mon = monitor_new(rec, 0);
 *	params.metadata = rec_lend(rec, REC_METADATA, metadata);
 *	params.data = rec_lend(rec, REC_DATA, data);
 *	...
 *	assert_string_equal(monitor_verdict(mon), "");
 *	monitor_free(mon);
 *	rec_free(rec);
 *
 * For small pools: each superblock costs a walk of all mappings.
 */

#include "recorder.h"

struct monitor;

/*
 * One thread at a time uses the pool, says on whose behalf (rec_own()), and
 * starts no threads in it: then O3, O5 and O7 are stricter, and O6 can be
 * asked for.
 */
#define MONITOR_STRICT 0x1u
/* No two requests at a time touch the same blocks: then O5 is stricter. */
#define MONITOR_DISJOINT 0x2u

struct monitor *monitor_new(struct recorder *rec, unsigned flags);
void monitor_free(struct monitor *mon); /* before its recorder; NULL is a no-op */

/* "", or the first violation in words.  It was printed too. */
const char *monitor_verdict(const struct monitor *mon);

/*
 * What is on disk was changed behind its back (rec_restart()): look again.
 */
void monitor_restart(struct monitor *mon);

/*
 * STRICT, O6: a flush of @device that was asked for at @issued was answered;
 * or a FUA write of [@begin, @end) bytes of it.
 */
void monitor_flushed(struct monitor *mon, uint32_t device, uint64_t issued,
		     uint64_t begin, uint64_t end);

/* STRICT: what was written to [@begin, @end) of @device needs no mapping now. */
void monitor_forget(struct monitor *mon, uint32_t device, uint64_t begin, uint64_t end);

#endif
