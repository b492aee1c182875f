/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_IO_COUNTERS_H
#define THINBD_SERVICE_IO_COUNTERS_H

/*
 * What clients did to a volume, and how long it took: of all connections
 * together, since the first of them opened it in this server.  They outlive
 * the connections, but neither the server nor the device: a volume that was
 * rolled back, which is on another device then, begins anew.
 */

#include "service/service.h"

struct json_object;
struct thin_counters;

enum thin_io_kind {
	THIN_IO_READ,
	THIN_IO_WRITE,
	THIN_IO_TRIM,
	THIN_IO_ZERO,
	THIN_IO_FLUSH,
	THIN_IO_KINDS,
};

/*
 * The counters of @device, made where there are none; a reference, for
 * thin_counters_put().  NULL: no memory.
 * Locking: takes handles_lock.
 */
struct thin_counters *thin_counters_get(struct thinbd *t, uint32_t device);
void thin_counters_put(struct thin_counters *io); /* NULL is a no-op */

/*
 * A request of @kind and @bytes that was begun at @begin_ns (thin_now_ns())
 * has ended with @result.  What failed counts as an error and nothing else;
 * a fast zero that would not have been fast (-ENOTSUP) does not count.
 * Any thread; takes no lock.  Cost: some ten nanoseconds.
 */
void thin_count(struct thin_counters *io, enum thin_io_kind kind, uint64_t bytes,
		uint64_t begin_ns, int result);

/* Nobody has @device: who gets its number begins at zero.  Takes handles_lock. */
void thin_counters_forget(struct thinbd *t, uint32_t device);
/* The same for all devices. */
void thin_counters_forget_all(struct thinbd *t);

/* As in show; NULL where nobody has opened @device in this server. */
struct json_object *thin_counters_json(struct thinbd *t, uint32_t device);

#endif
