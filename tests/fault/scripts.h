/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SCRIPTS_H
#define THINBD_TESTS_SCRIPTS_H

/*
 * A dozen ways to use a pool, short enough to be done again for each
 * operation that can fail in them.  See tests/crash/ops.h for their form.
 */

struct script {
	const char *name;
	const char *base; /* see tests/crash/bases.c */
	const char *ops;
};

extern const struct script scripts[];
extern const unsigned nr_scripts;

#endif
