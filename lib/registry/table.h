/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_TABLE_H
#define THINBD_REGISTRY_TABLE_H

/*
 * All volumes of a pool, sorted by name and by device.
 *
 * A change is made to a copy of the table, which shares the records; then
 * the two are compared, and swapped.  So a change that fails half-way leaves
 * nothing behind, and what it amounts to need not be derived from what was
 * asked for.
 */

#include "registry/volume_conf.h"

#include <stddef.h>

/* Zeroed, it is empty. */
struct thin_table {
	struct thin_volume_conf **by_name; /* each with a reference */
	size_t nr;
	size_t room;

	struct thin_volume_conf **by_device; /* without those that have none */
	size_t nr_devices;
};

void thin_table_fini(struct thin_table *t);

/* Make @ret the same as @t.  Returns 0 or -ENOMEM.  Cost: O(n), some ns each. */
THIN_MUST_CHECK int thin_table_copy(const struct thin_table *t, struct thin_table *ret);

/* The record called @name, or NULL.  The table's reference.  O(log n). */
struct thin_volume_conf *thin_table_find(const struct thin_table *t, const char *name);

/* The record with @device, or NULL.  The table's reference.  O(log n). */
struct thin_volume_conf *thin_table_find_device(const struct thin_table *t,
						uint32_t device);

/* The lowest device from @from on that no record has.  O(log n). */
uint32_t thin_table_free_device(const struct thin_table *t, uint32_t from);

/*
 * Add @v; the table takes a reference of its own.
 * Returns 0; -EEXIST (name or device is there; @e says which); -ENOMEM.
 */
THIN_MUST_CHECK int thin_table_insert(struct thin_table *t, struct thin_volume_conf *v,
				      struct thin_error *e);

/* Take out the record called @name and drop the reference, if it is there. */
void thin_table_remove(struct thin_table *t, const char *name);

/*
 * Tell @fn of each name whose record is not the same one in @before and in
 * @after: NULL where it has none.  In the order of names.
 * Returns what @fn did, which ends it where it is not 0.
 */
THIN_MUST_CHECK int thin_table_diff(const struct thin_table *before,
				    const struct thin_table *after,
				    int (*fn)(void *ctx, struct thin_volume_conf *old,
					      struct thin_volume_conf *new),
				    void *ctx);

/*
 * Does @v's parent exist, and is @v none of its own ancestors?
 * Returns 0; -ENOENT; -EINVAL.  Cost: O(depth * log n).
 */
THIN_MUST_CHECK int thin_table_check_parent(const struct thin_table *t,
					    const struct thin_volume_conf *v,
					    struct thin_error *e);

/*
 * Tell @fn of records whose parent does not exist, and of one in each circle
 * of parents: when these have lost their parents, every record hangs on one
 * that has none.
 * Returns 0; -ENOMEM; what @fn returned.  Cost: O(n log n) where trees are
 * shallow, O(n * depth) small steps at worst.
 */
THIN_MUST_CHECK int thin_table_lost_parents(struct thin_table *t,
					    int (*fn)(void *ctx,
						      struct thin_volume_conf *v),
					    void *ctx);

#endif
