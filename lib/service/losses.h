/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_LOSSES_H
#define THINBD_SERVICE_LOSSES_H

/* What a repair loses, in bytes and with the names of volumes. */

#include "registry/volumes.h"
#include "repair/repair.h"
#include "service/json.h"

struct thin_losses {
	struct thin_registry *registry; /* may be NULL: then devices have numbers */
	uint64_t block_size;		/* bytes */
	struct json_object *losses;	/* arrays */
	struct json_object *remarks;
	uint64_t nr; /* ranges inside of volumes, or of devices without one */
};

/* Returns 0, after which it needs a fini; -ENOMEM. */
THIN_MUST_CHECK int thin_losses_init(struct thin_losses *l,
				     struct thin_registry *registry, uint64_t block_size);
void thin_losses_fini(struct thin_losses *l);

/* Its functions, whose ctx begins with a struct thin_losses. */
int thin_losses_lost(void *ctx, uint64_t device, uint64_t first, uint64_t last);
int thin_losses_remark(void *ctx, uint64_t device, const char *text);

/* A line about something else; @name may be NULL. */
void thin_losses_note(struct thin_losses *l, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Add "losses" and "remarks" to @o. */
void thin_losses_json(const struct thin_losses *l, struct json_object *o);

#endif
