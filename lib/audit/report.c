/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/kinds.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Findings as text:
 *
 *   metadata snapshot: device 3: blocks 100..199 unreadable: metadata block 17: PROBLEM
 *
 * where each part but the last may be absent.
 */

static const struct {
	const char *one;
	const char *many;
} units[] = {
	[THIN_AUDIT_VBLOCKS] = {"block", "blocks"},
	[THIN_AUDIT_DEVICES] = {"device", "devices"},
	[THIN_AUDIT_DETAILS] = {"details of device", "details of devices"},
	[THIN_AUDIT_DBLOCKS] = {"data block", "data blocks"},
	[THIN_AUDIT_DBLOCK_COUNTS] = {"count of data block", "counts of data blocks"},
	[THIN_AUDIT_MBLOCKS] = {"metadata block", "metadata blocks"},
	[THIN_AUDIT_MBLOCK_COUNTS] = {"count of metadata block",
				      "counts of metadata blocks"},
};

const char *thin_audit_kind_name(enum thin_audit_kind kind)
{
	assert(kind < THIN_AUDIT_KINDS);
	return audit_kinds[kind].name;
}

const char *thin_audit_severity_name(enum thin_audit_severity severity)
{
	static const char *const names[] = {"note", "nonfatal", "fatal"};

	assert(severity <= THIN_AUDIT_FATAL);
	return names[severity];
}

bool thin_audit_mendable(enum thin_audit_kind kind)
{
	assert(kind < THIN_AUDIT_KINDS);
	return audit_kinds[kind].mendable;
}

/* A text that grows, and stops growing where its room ends. */
struct text {
	char *buf;
	size_t len;
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *t, const char *fmt,
							 ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, t->len - t->used, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	t->used += (size_t)n < t->len - t->used ? (size_t)n : t->len - t->used - 1;
}

static void append_device(struct text *t, uint64_t device, thin_device_name_fn *name,
			  void *ctx)
{
	char buf[256] = "";

	if (name && name(ctx, device, buf, sizeof(buf)))
		append(t, "%s: ", buf);
	else
		append(t, "device %" PRIu64 ": ", device);
}

static void append_range(struct text *t, const struct thin_finding *f)
{
	const char *many = units[f->unit].many;

	if (f->first == f->last)
		append(t, "%s %" PRIu64, units[f->unit].one, f->first);
	else if (f->last != UINT64_MAX)
		append(t, "%s %" PRIu64 "..%" PRIu64, many, f->first, f->last);
	else if (f->first)
		append(t, "%s from %" PRIu64 " on", many, f->first);
	else
		append(t, "all %s", many);
	append(t, audit_kinds[f->kind].unreadable ? " unreadable: " : ": ");
}

static void append_problem(struct text *t, const struct thin_finding *f)
{
	append(t, "%s", audit_kinds[f->kind].problem);
	switch (audit_kinds[f->kind].numbers) {
	case NUMBERS_NONE:
		break;
	case NUMBERS_FOUND:
		append(t, ": %" PRIu64, f->found);
		break;
	case NUMBERS_EXPECTED:
		append(t, ": is %" PRIu64 ", should be %" PRIu64, f->found, f->expected);
		break;
	case NUMBERS_LIMIT:
		append(t, ": is %" PRIu64 ", the limit is %" PRIu64, f->found,
		       f->expected);
		break;
	}
}

void thin_finding_format(const struct thin_finding *f, thin_device_name_fn *name,
			 void *ctx, char *buf, size_t len)
{
	struct text t = {.buf = buf, .len = len};

	assert(len > 0);
	buf[0] = '\0';
	if (f->held)
		append(&t, "metadata snapshot: ");
	if (f->device != THIN_AUDIT_NO_DEVICE)
		append_device(&t, f->device, name, ctx);
	if (f->unit != THIN_AUDIT_NO_RANGE)
		append_range(&t, f);
	if (f->block != THIN_AUDIT_NO_BLOCK)
		append(&t, "metadata block %" PRIu64 ": ", f->block);
	append_problem(&t, f);
}
