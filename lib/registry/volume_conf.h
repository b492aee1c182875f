/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_VOLUME_CONF_H
#define THINBD_REGISTRY_VOLUME_CONF_H

/*
 * What the registry knows about one volume, and volumes/NAME.conf, where
 * it is kept.
 *
 * Once in the registry a record does not change any more: who has one may
 * read it without a lock for as long as it holds a reference.
 */

#include "registry/conf.h"
#include "util/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The device of a volume whose file could not be read. */
#define THIN_NO_DEVICE UINT32_MAX

/* Strings are owned, and NULL where they are empty or not set. */
struct thin_volume_conf {
	char *name;
	uint32_t device; /* dm-thin's id in the metadata */
	uint64_t size;	 /* bytes */

	char *origin;	      /* as the user gave it: path, URI or thin:NAME */
	char *origin_path;    /* the path made absolute; NULL for the others */
	uint64_t origin_size; /* bytes; this and the rest are its identity (I6) */
	uint64_t origin_inode;
	int64_t origin_mtime_ns;
	int64_t origin_ctime_ns;

	/*
	 * How much of the origin shows, bytes; 0: all of it.  What a volume was
	 * shrunk by does not show the origin when it grows again.
	 */
	uint64_t origin_overlap;

	char *parent; /* the volume that this was a snapshot of, if it is there still */
	bool readonly;
	int64_t created; /* seconds since 1970 */
	char *description;
	uint64_t reserve; /* bytes kept free for this volume */

	/*
	 * Work on the volume's blocks that takes several transactions, and
	 * goes on when the pool is opened again: freeing what is past the
	 * end after a shrink; copying in what is read from the origin.
	 */
	bool shrinking;
	bool flattening;

	/*
	 * Of a tombstone: by what its device can be told from another one
	 * that was made under the same number since; NULL: it can not.
	 */
	char *born;

	/* Not in the file: why the volume can not be used; NULL: it can. */
	char *problem;
	atomic_uint references;
};

/*
 * Make a record of @name with nothing set; one reference, the caller's.
 * Returns 0 or -ENOMEM.
 */
THIN_MUST_CHECK int thin_volume_conf_new(const char *name, struct thin_volume_conf **ret);

/* A copy that may be changed; one reference.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_volume_conf_copy(const struct thin_volume_conf *v,
					  struct thin_volume_conf **ret);

/* One reference more; returns @v.  From any thread. */
const struct thin_volume_conf *thin_volume_conf_get(const struct thin_volume_conf *v);

/* One reference less; the last one frees it.  NULL is a no-op.  Any thread. */
void thin_volume_conf_put(const struct thin_volume_conf *v);

/* For both, those that may be changed and those that are const. */
static inline void thin_volume_conf_putp(void *v)
{
	thin_volume_conf_put(*(const struct thin_volume_conf **)v);
}
#define _cleanup_volume_conf _cleanup_(thin_volume_conf_putp)

/*
 * Replace a string of a record: *@field is freed, and is a copy of @value
 * (NULL or empty: NULL).  Returns 0 or -ENOMEM, with *@field unchanged.
 */
THIN_MUST_CHECK int thin_string_set(char **field, const char *value);

/*
 * May this record be kept?  Its name and description, its numbers.
 * @e: "NAME: what is wrong".
 * Returns 0; -EINVAL; -ERANGE; -EDQUOT.
 */
THIN_MUST_CHECK int thin_volume_conf_check(const struct thin_volume_conf *v,
					   struct thin_error *e);

/*
 * A tombstone: what is left of a volume that was deleted (or rolled back)
 * while its device is not gone from the metadata yet.  It has a name that
 * no volume can have, which says the device: ".deleting-7".
 * @born: see there; may be NULL.
 * Returns 0 or -ENOMEM; one reference.
 */
THIN_MUST_CHECK int thin_volume_conf_tombstone(const struct thin_volume_conf *v,
					       const char *born,
					       struct thin_volume_conf **ret);
bool thin_is_tombstone(const char *name);

/* The longest file name of a record, ".conf" and NUL included. */
#define THIN_VOLUME_FILE_MAX (THIN_NAME_MAX + sizeof(".conf"))

/* The most bytes that such a file may have. */
#define THIN_VOLUME_FILE_BYTES ((size_t)64 << 10)

/* The file of the volume @name: "NAME.conf".  Returns @buf. */
char *thin_volume_file(const char *name, char buf[static THIN_VOLUME_FILE_MAX]);

/* The name whose file is @file; false where it is no such file. */
bool thin_volume_of_file(const char *file, char ret[static THIN_NAME_MAX + 1]);

/* Record to text, as it is in a file.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_volume_conf_print(const struct thin_volume_conf *v,
					   char **ret_text, size_t *ret_len);

/*
 * Text to record; one reference.
 * Returns 0; -EINVAL, -ERANGE, -EDQUOT (@e: file @where, line, what); -ENOMEM.
 */
THIN_MUST_CHECK int thin_volume_conf_parse(const char *name, const char *where,
					   const char *text, size_t len,
					   struct thin_volume_conf **ret,
					   struct thin_error *e);

/* The same as a libconfig group, where the name is one of the keys. */
void thin_volume_conf_write_group(FILE *out, const struct thin_volume_conf *v);
THIN_MUST_CHECK int thin_volume_conf_read_group(const struct thin_conf *c,
						const config_setting_t *group,
						struct thin_volume_conf **ret,
						struct thin_error *e);

#endif
