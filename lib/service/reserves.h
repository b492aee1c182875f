/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_RESERVES_H
#define THINBD_SERVICE_RESERVES_H

/*
 * What the records of volumes say of room that is kept for them, and the pool,
 * which keeps it but does not store it.  All under t->lock.
 */

#include "service/service.h"

struct json_object;

/* At open: have kept what the records say, whatever room there is. */
THIN_MUST_CHECK int thin_reserves_tell(struct thinbd *t, struct thin_error *e);

/*
 * Have kept what @v says, for its device, which need not be there yet.
 * Returns 0; -ENOSPC: the pool can not give it, and nothing has changed.
 */
THIN_MUST_CHECK int thin_reserve_change(struct thinbd *t,
					const struct thin_volume_conf *v,
					struct thin_error *e);
/*
 * The same for @nr that are to be made together: all or none.  And back, where they
 * are not made after all.
 */
THIN_MUST_CHECK int thin_reserve_all(struct thinbd *t, struct thin_volume_conf *const *v,
				     size_t nr, struct thin_error *e);
void thin_reserve_none(struct thinbd *t, struct thin_volume_conf *const *v, size_t nr);
/* Back to what @v says, which was so before. */
void thin_reserve_restore(struct thinbd *t, const struct thin_volume_conf *v);
/* Keep nothing for @v's device any more. */
void thin_reserve_drop(struct thinbd *t, const struct thin_volume_conf *v);
/* From @old's device to @new's, as for thin_reserve_change(). */
THIN_MUST_CHECK int thin_reserve_move(struct thinbd *t,
				      const struct thin_volume_conf *old,
				      const struct thin_volume_conf *new,
				      struct thin_error *e);

/* What a snapshot called @name ended with: in words, where that is -ENOSPC. */
int thin_reserve_refused(int r, const char *name, struct thin_error *e);

/* No more than its size?  Returns 0; -EINVAL. */
THIN_MUST_CHECK int thin_reserve_check(const struct thin_volume_conf *v,
				       struct thin_error *e);

/* "64M", for set: into @v.  Returns 0; -EINVAL; -ERANGE. */
THIN_MUST_CHECK int thin_reserve_parse(const char *text, struct thin_volume_conf *v,
				       struct thin_error *e);

/* What show says of it, into @o. */
void thin_reserve_json(struct thinbd *t, const struct thin_volume_conf *v,
		       struct json_object *o);

#endif
