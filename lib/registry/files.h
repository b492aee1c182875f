/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_FILES_H
#define THINBD_REGISTRY_FILES_H

/*
 * The small files of one folder: the seam through which the registry reads
 * and changes what it keeps.  Behind it stands a folder of the system; for
 * tests, a model of one that can crash and fail at any point.
 *
 * What is promised (and the simulator takes away the rest):
 *
 *  F1  sync(name) makes the content of that file durable, not its name;
 *      sync_all() does that for all files that are there.
 *  F2  sync_folder() makes every creation, renaming and removal durable
 *      that was done before it.
 *  F3  Until then each of these is on disk or not, each for itself; but a
 *      renaming as a whole or not at all, and those of one name in order.
 *      A name may be durable before the content that it names.
 *      Of what was overwritten each sector (512 bytes) is on disk or not,
 *      each for itself.
 *  F4  After a failed sync nothing is known about what it should have made
 *      durable.
 *
 * Names are those of files in the folder, without '/'.
 */

#include "util/cleanup.h"
#include "util/errors.h"

#include <stddef.h>

struct thin_files;

/* Called for each name.  Returns 0 to go on; else it ends and is returned. */
typedef int thin_files_fn(void *ctx, const char *name);

struct thin_files_ops {
	/* Make @name anew, readable by its owner only, with @len bytes of @text. */
	int (*write)(struct thin_files *f, const char *name, const char *text,
		     size_t len);
	/* Write over @len bytes of @name, which it has, from @offset on. */
	int (*overwrite)(struct thin_files *f, const char *name, size_t offset,
			 const char *text, size_t len);
	int (*sync)(struct thin_files *f, const char *name);
	/* Of all files; for `many` of them.  NULL where that is 0. */
	int (*sync_all)(struct thin_files *f);
	int (*rename)(struct thin_files *f, const char *from, const char *to);
	int (*unlink)(struct thin_files *f, const char *name);
	int (*sync_folder)(struct thin_files *f);
	/* In no order; the folder must not be changed from within. */
	int (*list)(struct thin_files *f, thin_files_fn *fn, void *ctx);
	/*
	 * All of @name, with a NUL after it: free() it.
	 * -EFBIG over @max bytes; -EINVAL where it is not a regular file;
	 * -ELOOP a symbolic link.
	 */
	int (*read)(struct thin_files *f, const char *name, size_t max, char **ret_text,
		    size_t *ret_len);
	void (*close)(struct thin_files *f);
};

/* An implementation's own struct begins with this. */
struct thin_files {
	const struct thin_files_ops *ops;
	const char *where; /* the folder's path, for messages; as long as this lives */
	size_t many; /* from so many on sync_all() is better than sync(); 0: never */
};

#define THIN_FILES_CREATE 0x1u /* make the folder (0700), durably, if it is not there */

/*
 * The folder at @path.  Files in it are never followed where they are
 * symbolic links.  What root makes in it belongs to the folder's owner, who
 * otherwise could not open the pool any more.
 * @e: path and reason.
 * Returns 0; what the system said.
 */
THIN_MUST_CHECK int thin_files_open(const char *path, unsigned flags,
				    struct thin_files **ret, struct thin_error *e);

/*
 * Give the file @fd, which we have made in @folder, to whom the folder
 * belongs to; nothing where we are not root, and could not.
 * Returns 0; what the system said.
 */
THIN_MUST_CHECK int thin_give_to_owner(int folder, int fd);

/* NULL is a no-op. */
void thin_files_close(struct thin_files *f);
THIN_DEFINE_CLEANUP(struct thin_files *, thin_files_close);
#define _cleanup_files _cleanup_(thin_files_closep)

/*
 * "cannot @verb @where/@name: reason" in @e; returns @err.  The reason is
 * the system's: our dictionary's ENOSPC speaks of the pool.
 */
int thin_files_error(const struct thin_files *f, const char *name, const char *verb,
		     int err, struct thin_error *e);

/*
 * The same as the operations of these names, with a message.
 */
THIN_MUST_CHECK int thin_files_read(struct thin_files *f, const char *name, size_t max,
				    char **ret_text, size_t *ret_len,
				    struct thin_error *e);

/* Write @name and make its content durable. */
THIN_MUST_CHECK int thin_files_write(struct thin_files *f, const char *name,
				     const char *text, size_t len, struct thin_error *e);

/* The prefix of files that are being written, and mean nothing until renamed. */
#define THIN_FILES_TMP ".tmp-"

/*
 * Replace @name, or make it: after a crash it has its old content or the
 * new one.
 * Returns 0; an error, after which it may have either.
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_files_replace(struct thin_files *f, const char *name,
				       const char *text, size_t len,
				       struct thin_error *e);

#endif
