/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_STORAGE_FILE_H
#define THINBD_STORAGE_FILE_H

/*
 * Inside of the file backend, for its own files only: file.c (open and the
 * vtable), file_space.c (zero, punch, extents), file_io.c (transfers),
 * uring.c (several of them at once), file_lock.c (OFD locks).
 */

#include "storage/storage.h"
#include "util/lock.h"

#include <sys/uio.h>

struct thin_rings;

struct thin_file {
	struct thin_storage base;
	int fd;
	bool is_block;
	uint32_t sector; /* a block device's, bytes */

	/* O_DIRECT: a descriptor of its own, or -1; see file_io.c. */
	int direct_fd;
	uint32_t direct_align;	   /* of offsets and lengths */
	uint32_t direct_mem_align; /* of buffers */
	struct thin_sharded_lock direct_lock;

	bool want_rings;	  /* not THIN_STORAGE_SYNC */
	struct thin_rings *rings; /* from start() on, where there is io_uring */
};

static inline struct thin_file *thin_file_of(struct thin_storage *s)
{
	return (struct thin_file *)s;
}

/* --- file_io.c --------------------------------------------------------- */

/*
 * Segments that follow one another, as one call to the system takes them.
 * So many runs are in flight at once, and so many segments are in them;
 * their arrays are on the stack.
 */
#define THIN_BATCH_RUNS	    64
#define THIN_BATCH_SEGMENTS 256

struct thin_run {
	uint64_t offset;   /* bytes */
	size_t len;	   /* bytes, of all the vector */
	struct iovec *iov; /* is used up by thin_run_transfer() */
	int nr_iov;
};

/*
 * Cut the first run off @seg (@nr > 0), into @iov (room for @max > 0).
 * Returns how many segments it took.
 */
size_t thin_run_take(const struct thin_segment *seg, size_t nr, struct iovec *iov,
		     size_t max, struct thin_run *ret);

/*
 * Read or write @run in full, by preadv() or pwritev().
 * Returns 0; -EIO at the end of the file; what the system said.
 */
THIN_MUST_CHECK int thin_run_transfer(int fd, bool write, struct thin_run *run);

/* @done bytes of @run are there: make it what is left. */
void thin_run_advance(struct thin_run *run, size_t done);

int thin_file_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr);
int thin_file_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr);

/* --- file_space.c ------------------------------------------------------ */

int thin_file_zero(struct thin_storage *s, uint64_t offset, uint64_t len);
int thin_file_punch(struct thin_storage *s, uint64_t offset, uint64_t len);
int thin_file_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
		      thin_extent_fn *fn, void *ctx);

/* --- file_lock.c ------------------------------------------------------- */

/*
 * Take what THIN_STORAGE_EXCLUSIVE or THIN_STORAGE_NO_WRITERS in @flags asks
 * for; neither: nothing.  The lock goes with the last copy of @fd.
 * @path: for @e only.
 * Returns 0; -EBUSY at once; -ENOLCK and the like where an exclusive lock
 * can not be had on this file system.
 */
THIN_MUST_CHECK int thin_file_lock(int fd, unsigned flags, const char *path,
				   struct thin_error *e);

#endif
