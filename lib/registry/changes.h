/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_CHANGES_H
#define THINBD_REGISTRY_CHANGES_H

/* What may be changed in the registry. */

#include "registry/table.h"

enum thin_change_kind {
	THIN_CHANGE_CREATE, /* @volume is new; its parent exists */
	THIN_CHANGE_UPDATE, /* @volume replaces the record of its name */
	THIN_CHANGE_DELETE, /* @name goes; who had it as parent has none then */
	THIN_CHANGE_RENAME, /* @name to @new_name, in parents and origins too */
};

/*
 * Nothing of this is kept: records and names are copied.
 *
 * @bury: for a DELETE, and an UPDATE to another device.  The device that the
 * volume had stays in the registry, under the name of a tombstone, until
 * that is DELETEd: for one that will be removed later, in many transactions.
 * @born: what the tombstone is to know of it, see there; may be NULL.
 */
struct thin_change {
	enum thin_change_kind kind;
	const char *name;
	const char *new_name;
	const struct thin_volume_conf *volume;
	bool bury;
	const char *born;
};

/*
 * Make all @nr @changes in @t, one after the other.
 * Returns 0; -ENOENT, -EEXIST (names; parents); -EINVAL, -ERANGE, -EDQUOT
 * (what a record says; the number of volumes); -ENOMEM.  @e: which name,
 * what.  On an error @t is in between, and of no use.
 */
THIN_MUST_CHECK int thin_changes_make(const struct thin_change *changes, size_t nr,
				      struct thin_table *t, struct thin_error *e);

/*
 * The record of @name, for a change or to use it.  Returns 0; -ENOENT;
 * -EINVAL (it has a problem, which @e then has).
 */
THIN_MUST_CHECK int thin_table_find_good(const struct thin_table *t, const char *name,
					 struct thin_volume_conf **ret,
					 struct thin_error *e);

#endif
