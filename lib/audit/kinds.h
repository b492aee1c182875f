/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_KINDS_H
#define THINBD_AUDIT_KINDS_H

/* What there is to know of each kind of finding, in one table. */

#include "audit/audit.h"

/* How @found and @expected of a finding are told. */
enum kind_numbers {
	NUMBERS_NONE,
	NUMBERS_FOUND,	  /* "...: is 7" */
	NUMBERS_EXPECTED, /* "...: is 7, should be 5" */
	NUMBERS_LIMIT,	  /* "...: is 7, the limit is 5" */
};

struct audit_kind {
	const char *name;
	enum thin_audit_severity severity;
	bool mendable;	   /* by counting anew */
	bool unreadable;   /* the range is out of reach, not just odd */
	bool found_varies; /* within a run; the first is kept */
	enum kind_numbers numbers;
	const char *problem;
};

extern const struct audit_kind audit_kinds[THIN_AUDIT_KINDS];

#endif
