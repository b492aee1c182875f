/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_VERDICT_H
#define THINBD_SERVICE_VERDICT_H

/* What an audit found, with the names of volumes. */

#include "audit/audit.h"
#include "registry/volumes.h"
#include "service/json.h"
#include "storage/storage.h"
#include "thinbd.h"

struct thin_verdict {
	struct thin_registry *registry; /* may be NULL: then devices have numbers */
	struct json_object *problems;
	uint64_t errors;      /* findings that are damage, leaks among them */
	uint64_t damage;      /* those of them that the audit found */
	uint64_t leaks;	      /* blocks */
	bool needs_check;     /* the flag is set */
	uint64_t blocks_read; /* of the metadata */
};

/* Returns 0, after which it needs a fini; -ENOMEM. */
THIN_MUST_CHECK int thin_verdict_init(struct thin_verdict *v,
				      struct thin_registry *registry);
void thin_verdict_fini(struct thin_verdict *v);

/*
 * Audit @metadata, which nobody commits to.
 * @nr_data_blocks: what the data storage has room for; 0: not known.
 * Returns 0 when there is a verdict; -ECANCELED; as thin_audit().
 */
THIN_MUST_CHECK int thin_verdict_audit(struct thin_verdict *v,
				       struct thin_storage *metadata,
				       uint64_t nr_data_blocks,
				       const struct thinbd_observer *observer,
				       struct thin_error *e);

/* Add something that was not the audit's to find; @name may be NULL. */
void thin_verdict_add(struct thin_verdict *v, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As the request's result; NULL: no memory. */
struct json_object *thin_verdict_json(struct thin_verdict *v);

#endif
