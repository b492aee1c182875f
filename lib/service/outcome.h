/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_OUTCOME_H
#define THINBD_SERVICE_OUTCOME_H

/* What came out of a repair: is it sound, and if not, what would help? */

#include "audit/audit.h"

/* Ranges of which it is found out who shares them; beyond, all may. */
#define THIN_SHARED_RANGES 256

/* @first to @last of @device, or of the data where that is THIN_AUDIT_NO_DEVICE. */
struct thin_shared_range {
	uint64_t device, first, last;
};

/* What an audit finds that another round can mend. */
struct thin_outcome {
	uint64_t *shared; /* devices */
	size_t nr, room;
	struct thin_shared_range at[THIN_SHARED_RANGES];
	size_t nr_ranges;
	size_t nr_told;	 /* of them: by the audit */
	uint64_t device; /* that a walk is in */
	bool held;
	bool new; /* something that the round before did not know */
	uint64_t all;
	char first[THIN_FINDING_TEXT];
};

/*
 * Audit @s.  @f: zeroed before the first time; fini it.
 * Returns 0: sound, or f->new, and another repair with f->shared, and without
 * the held snapshot where f->held, may be; -EUCLEAN (@e: the first finding);
 * as thin_audit().
 */
THIN_MUST_CHECK int thin_outcome_audit(struct thin_storage *s, uint64_t nr_data_blocks,
				       struct thin_outcome *f, struct thin_error *e);
void thin_outcome_fini(struct thin_outcome *f);

#endif
