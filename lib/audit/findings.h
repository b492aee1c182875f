/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_FINDINGS_H
#define THINBD_AUDIT_FINDINGS_H

/* The way of a finding from where it is made to the caller of the audit. */

#include "audit/audit.h"

/*
 * One finding is kept back, to be joined with the next where that says the
 * same of its neighbour.
 */
struct findings {
	thin_finding_fn *fn;
	void *ctx;
	struct thin_finding pending;
	bool has_pending;
	int stopped;	 /* what @fn returned to stop us, or 0 */
	uint64_t damage; /* findings so far that are no notes, before joining */
	uint64_t told[THIN_AUDIT_FATAL + 1];
};

void audit_findings_init(struct findings *out, thin_finding_fn *fn, void *ctx);

/*
 * Add @f, whose severity is filled in here.  After @fn asked to stop
 * (out->stopped) this does nothing.
 */
void audit_findings_add(struct findings *out, const struct thin_finding *f);

/* Tell what is kept back. */
void audit_findings_flush(struct findings *out);

#endif
