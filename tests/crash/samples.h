/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SAMPLES_H
#define THINBD_TESTS_SAMPLES_H

/*
 * Metadata for other checkers to look at: thin_check, and the auditor in
 * tests/oracle.  Different states of it are gathered in files, and shown to
 * them by the dozen.  Where a checker is not to be had it is not asked.
 */

#include "disk.h"

struct samples;

/*
 * @max: how many states thin_check is shown at most; the auditor, which is
 * slower, sees one in @audit_every.
 */
struct samples *samples_new(uint64_t max, unsigned audit_every);
void samples_free(struct samples *sm); /* shows nothing; NULL is a no-op */

/* @state: a number for what is in @d.  0; -EINVAL, and a verdict. */
int samples_add(struct samples *sm, const struct disk *d, uint64_t state);
/* Show what is left. */
int samples_finish(struct samples *sm);

/* Which checker said what of which file, which is kept. */
const char *samples_verdict(const struct samples *sm);
uint64_t samples_checked(const struct samples *sm);
uint64_t samples_audited(const struct samples *sm);

#endif
