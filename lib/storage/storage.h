/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_STORAGE_STORAGE_H
#define THINBD_STORAGE_STORAGE_H

/*
 * Where bytes live: the one seam through which every byte of metadata, data
 * and origins goes.  Behind it stand files and block devices, memory, NBD
 * servers on other hosts; and, for tests, a recorder that simulates crashes
 * and an injector of faults.  Nothing else in lib/ calls open(), pread() or
 * fsync() on such things.
 *
 * What a storage promises (and the crash simulator takes away the rest):
 *
 *  S1  A sector (512 bytes) is written whole or not at all.
 *  S2  flush() makes durable exactly those writes, zeroings, punches and
 *      resizes that had completed before it was called.  Nothing else is
 *      ordered: not by when they were issued, nor by when they completed.
 *  S3  Until then each sector of each of them is on disk or not, each for
 *      itself.  Where several undurable writes touch a sector, any one of
 *      them may be the survivor.
 *  S4  After a failed flush nothing is known about what it should have
 *      made durable; it must not be tried again (I9).
 *
 * All functions may be called by several threads at once, save close().
 * Errors are negative errnos; a transfer is done in full or has failed:
 * short I/O and EINTR are dealt with underneath.
 */

#include "util/cleanup.h"
#include "util/errors.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_storage;

/* One piece of a transfer: @len bytes at @buf, at @offset in the storage. */
struct thin_segment {
	uint64_t offset; /* bytes */
	void *buf;	 /* only read from, where it is written out */
	size_t len;	 /* bytes */
};

/* What an extent of a storage holds. */
enum thin_extent_type {
	THIN_EXTENT_DATA, /* something was written there */
	THIN_EXTENT_ZERO, /* reads as zeros and takes no space */
};

/*
 * Called for each extent in ascending order, without gaps.
 * Returns 0 to go on, anything else to stop (which is then returned).
 */
typedef int thin_extent_fn(void *ctx, uint64_t offset, uint64_t len,
			   enum thin_extent_type type);

/* What tells one state of an origin from another (I6). */
struct thin_identity {
	uint64_t size;	  /* bytes */
	uint64_t inode;	  /* 0 where there is none */
	int64_t mtime_ns; /* since 1970; 0 where there is none */
	int64_t ctime_ns; /* likewise */
};

/*
 * What a backend implements.  It is called through the functions below
 * only, which have checked by then that the range lies inside the storage
 * and that a read-only one is not changed.
 * read, write, flush, size and close must be there.  Without zero (or where
 * it answers -ENOTSUP) zeros are written; without extents all is DATA;
 * without identity it is the size; without punch or resize: -ENOTSUP.
 */
struct thin_storage_ops {
	const char *name;
	int (*read)(struct thin_storage *s, const struct thin_segment *seg, size_t nr);
	int (*write)(struct thin_storage *s, const struct thin_segment *seg, size_t nr);
	int (*zero)(struct thin_storage *s, uint64_t offset, uint64_t len);
	int (*punch)(struct thin_storage *s, uint64_t offset, uint64_t len);
	int (*flush)(struct thin_storage *s);
	int (*size)(struct thin_storage *s, uint64_t *ret_bytes);
	int (*resize)(struct thin_storage *s, uint64_t bytes);
	int (*extents)(struct thin_storage *s, uint64_t offset, uint64_t len,
		       thin_extent_fn *fn, void *ctx);
	int (*identity)(struct thin_storage *s, struct thin_identity *ret);
	int (*start)(struct thin_storage *s);
	void (*close)(struct thin_storage *s);
};

/*
 * A backend's own struct begins with this; it sets ops and readonly, and
 * leaves the rest zero for the functions below.
 */
struct thin_storage {
	const struct thin_storage_ops *ops;
	bool readonly;		     /* refuse with -EROFS what changes it */
	_Atomic uint64_t known_size; /* bytes, as last heard */
	_Atomic int flush_error;     /* of the flush that failed (S4) */
	_Atomic uint64_t changes;    /* that were made, and may not be durable */
	_Atomic uint64_t durable;    /* of these; one more, so that 0 is none */
};

/*
 * Read or write all @nr segments, all of them in flight at once where the
 * backend can.  Segments of one call must not overlap.
 * Returns 0; -EIO for what reaches past the end (files are sized by
 * resize()); -EROFS; or the first error met, and what the other segments
 * hold is then undefined.
 * Durable: no, until thin_storage_flush().
 */
THIN_MUST_CHECK int thin_storage_read(struct thin_storage *s,
				      const struct thin_segment *seg, size_t nr);
THIN_MUST_CHECK int thin_storage_write(struct thin_storage *s,
				       const struct thin_segment *seg, size_t nr);

/* The same for a single piece. */
THIN_MUST_CHECK int thin_storage_read_at(struct thin_storage *s, uint64_t offset,
					 void *buf, size_t len);
THIN_MUST_CHECK int thin_storage_write_at(struct thin_storage *s, uint64_t offset,
					  const void *buf, size_t len);

/*
 * Make [@offset, @offset + @len) read as zeros.  The space stays allocated
 * where the backend can do that; otherwise zeros are written.
 * Returns and durability: as for thin_storage_write().
 */
THIN_MUST_CHECK int thin_storage_zero(struct thin_storage *s, uint64_t offset,
				      uint64_t len);

/*
 * Give [@offset, @offset + @len) back: a hint.  What is read from it
 * afterwards is zeros or what was there.
 * Returns 0; -ENOTSUP where the backend has nothing of the kind; -EIO
 * (past the end), -EROFS.
 */
THIN_MUST_CHECK int thin_storage_punch(struct thin_storage *s, uint64_t offset,
				       uint64_t len);

/*
 * S2.  Returns 0, or an error after which S4 holds: every later flush of
 * this storage returns the same error, without trying.
 * Cost: none where nothing has changed since the last one; the first one is
 * always made, for what others may have left in caches.
 */
THIN_MUST_CHECK int thin_storage_flush(struct thin_storage *s);

/* Would a flush have anything to do now, or to say? */
bool thin_storage_unflushed(struct thin_storage *s);

/* Size in bytes, asked anew each time. */
THIN_MUST_CHECK int thin_storage_size(struct thin_storage *s, uint64_t *ret_bytes);

/*
 * Change the size; what is new reads as zeros.
 * Returns 0; -ENOTSUP (a block device, an NBD export); -EROFS.
 */
THIN_MUST_CHECK int thin_storage_resize(struct thin_storage *s, uint64_t bytes);

/*
 * Tell @fn what [@offset, @offset + @len) holds.  A backend that does not
 * know says DATA.
 * Returns 0; what @fn returned; -EIO (past the end).
 */
THIN_MUST_CHECK int thin_storage_extents(struct thin_storage *s, uint64_t offset,
					 uint64_t len, thin_extent_fn *fn, void *ctx);

/* Who it is now (I6). */
THIN_MUST_CHECK int thin_storage_identity(struct thin_storage *s,
					  struct thin_identity *ret);

/*
 * Start threads and rings.  Called once, after a server has forked for the
 * last time and before the first transfer in the new process; transfers
 * before it (at open) are allowed and take a slower way.
 */
THIN_MUST_CHECK int thin_storage_start(struct thin_storage *s);

/* Close and free; NULL is a no-op.  Does not flush. */
void thin_storage_close(struct thin_storage *s);
THIN_DEFINE_CLEANUP(struct thin_storage *, thin_storage_close);
#define _cleanup_storage _cleanup_(thin_storage_closep)

/* --- backends ---------------------------------------------------------- */

#define THIN_STORAGE_READONLY	0x01u /* refuse whatever changes it */
#define THIN_STORAGE_CREATE	0x02u /* make a file that is not there, 0600 */
#define THIN_STORAGE_EXCLUSIVE	0x04u /* nobody else: lock it against all */
#define THIN_STORAGE_NO_WRITERS 0x08u /* lock it against writers */
#define THIN_STORAGE_DIRECT	0x10u /* O_DIRECT (bounce buffers inside) */
#define THIN_STORAGE_SYNC	0x20u /* no io_uring, even where there is one */
#define THIN_STORAGE_NEW	0x40u /* with CREATE: fail if it is there */

/*
 * A regular file or a block device.
 * Locks are OFD locks: they survive a fork, and go when the last copy of
 * the descriptor does.  EXCLUSIVE and NO_WRITERS answer -EBUSY at once
 * when somebody is in the way, QEMU included (file_lock.c); EXCLUSIVE also
 * claims a block device (O_EXCL).  With READONLY, EXCLUSIVE keeps away
 * writers only: the system locks exclusively for who may write.
 * @flags: CREATE wants a storage that is not READONLY, NEW wants CREATE.
 * @e: which path, what was wrong.
 * Returns 0; -EBUSY; -EISDIR, -EINVAL (a FIFO or the like: never blocks);
 * -ENOTSUP (DIRECT on a file system without); what open() said.
 * Durable: the name of a file that was made, at once.
 */
THIN_MUST_CHECK int thin_storage_open_file(const char *path, unsigned flags,
					   struct thin_storage **ret,
					   struct thin_error *e);

/*
 * Have the file system keep room for the first @bytes of a storage that is a file,
 * whose content stays.  Returns 0; -ENOTSUP (the file system can not); -ENOSPC.
 * Durable: after a flush.
 */
THIN_MUST_CHECK int thin_file_allocate(struct thin_storage *s, uint64_t bytes);

/* Does the system let us use io_uring?  Makes a ring and drops it. */
bool thin_storage_has_io_uring(void);

/*
 * An NBD export at @uri (nbd://, nbds://, nbd+unix://, nbds+unix://).
 * A server that is lost is looked for again, with growing pauses, for up to
 * THIN_NBD_RECONNECT_MS; then what waits fails with -EIO, and so, at once,
 * does what comes later, until the server is back.  A request with which
 * servers are lost again and again gets -EIO after that time too.  All
 * connections to a lost server are given up, lest it waits for us before it
 * ends.  A server that stays connected and takes its time is not lost, even
 * where it was stopped.  What was in flight is
 * repeated to the server that comes back, and before it all changes that
 * were not flushed yet: S2 holds across the loss.  Another export in its
 * place (of another size or name) is -ESTALE.
 * Connects in open(), to check, and again after start(), after a fork.
 * The size is that of the first connection: a server that grew is to be
 * opened anew.
 * @flags: READONLY; what is about files or locks has no meaning here.
 * Returns 0; -EIO (not to be reached, no such export); -EROFS (served
 * read-only, and READONLY not asked for); -ENOMEM.  @e says which.
 */
THIN_MUST_CHECK int thin_storage_open_nbd(const char *uri, unsigned flags,
					  struct thin_storage **ret,
					  struct thin_error *e);

/* One of the two, by the look of @where: an NBD URI or a path. */
THIN_MUST_CHECK int thin_storage_open(const char *where, unsigned flags,
				      struct thin_storage **ret, struct thin_error *e);

/* Is @where an NBD URI? */
bool thin_storage_is_uri(const char *where);

/* Memory, zeroed, @bytes long: for tests, and as the model of S1 to S4. */
THIN_MUST_CHECK int thin_storage_open_memory(uint64_t bytes, struct thin_storage **ret);

#endif
