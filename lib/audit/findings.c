/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/findings.h"

#include "audit/kinds.h"

void audit_findings_init(struct findings *out, thin_finding_fn *fn, void *ctx)
{
	*out = (struct findings){.fn = fn, .ctx = ctx};
}

/* Does @b go on where @a ends, saying the same? */
static bool joins(const struct thin_finding *a, const struct thin_finding *b)
{
	if (a->unit == THIN_AUDIT_NO_RANGE || a->last == UINT64_MAX ||
	    a->last + 1 != b->first)
		return false;
	return a->kind == b->kind && a->unit == b->unit && a->held == b->held &&
	       a->device == b->device && a->block == b->block &&
	       a->expected == b->expected &&
	       (a->found == b->found || audit_kinds[a->kind].found_varies);
}

void audit_findings_add(struct findings *out, const struct thin_finding *f)
{
	enum thin_audit_severity severity = audit_kinds[f->kind].severity;

	out->damage += severity != THIN_AUDIT_NOTE;
	if (out->has_pending && joins(&out->pending, f)) {
		out->pending.last = f->last;
		return;
	}
	audit_findings_flush(out);
	out->pending = *f;
	out->pending.severity = severity;
	out->has_pending = true;
}

void audit_findings_flush(struct findings *out)
{
	if (!out->has_pending || out->stopped)
		return;
	out->has_pending = false;
	out->told[out->pending.severity]++;
	if (out->fn)
		out->stopped = out->fn(out->ctx, &out->pending);
}
