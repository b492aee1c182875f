/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_ERRORS_H
#define THINBD_UTIL_ERRORS_H

/*
 * The dictionary of error codes.
 *
 * Every function that can fail returns 0 or a negative errno.  A code means
 * one thing in the whole project, and thin_strerror() has the sentence:
 *
 *   -ENODATA      not mapped (an answer, not a failure)
 *   -ENOSPC       no free data block
 *   -EDQUOT       a limit of the volume or the pool (limits.h)
 *   -ENOBUFS      free metadata is down to the reserve
 *   -EILSEQ       checksum or structure of a metadata block is wrong
 *   -ENOTBLK      a metadata block was found in the wrong place
 *   -EUCLEAN      the metadata needs a check before it may be written
 *   -EROFS        the pool is degraded to read-only, or the volume is
 *   -ESTALE       the origin is not the one that was recorded
 *   -EBUSY        in use
 *   -ENOENT       no such name or device
 *   -EEXIST       the name or device is taken
 *   -ERANGE       past the end, or a number out of its range
 *   -EINVAL       malformed
 *   -EMEDIUMTYPE  not a pool, or not metadata of a kind we know
 *   -EWOULDBLOCK  only inside lib/metadata: a block is not in the cache
 *   -ESHUTDOWN    the pool failed: nothing more until it is opened again
 *
 * Everything else (-EIO, -ENOMEM, -EACCES, ...) is what the system said.
 */

#define THIN_MUST_CHECK __attribute__((warn_unused_result))

/*
 * One sentence, without a full stop, for a negative (or positive) errno.
 * Never NULL; static storage.
 */
const char *thin_strerror(int err);

/*
 * The errno's name ("ENOSPC"), for --json; "EIO" for what has no name here.
 */
const char *thin_errname(int err);

/*
 * What went wrong, as a person is told: a place to put one line.
 *
 * The library does not log.  Where the detail is known only deep inside
 * (a file, a line, a block number), functions take a struct thin_error and
 * fill it; the front end prints it once.
 */
#define THIN_ERROR_TEXT 512

struct thin_error {
	char text[THIN_ERROR_TEXT];
};

/*
 * Fill @e (NULL is allowed) with a formatted line, and return @err, so that
 * a caller can say "return thin_error_set(e, -EINVAL, ...)".
 * Control characters in the result are replaced by '?': names come from
 * clients, and the line ends in logs.
 * The arguments may include @e's present text.
 */
int thin_error_set(struct thin_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Like thin_error_set(), but a text that is there already (from deeper
 * down, where more was known) is kept.  Nothing where @err is 0.
 */
int thin_error_default(struct thin_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
