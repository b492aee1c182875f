/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SCRATCH_H
#define THINBD_TESTS_SCRATCH_H

/* A folder of a test's own, gone with all that is in it at the end. */

#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch_dir[200];

static inline int scratch_make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(scratch_dir, sizeof(scratch_dir), "%s/thinbd-XXXXXX",
		 tmp ? tmp : "/tmp");
	return mkdtemp(scratch_dir) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int scratch_remove(void **state)
{
	(void)state;
	return nftw(scratch_dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* DIR/@name, good until the end. */
static inline const char *scratch(const char *name)
{
	static char paths[64][300];
	char path[300];
	size_t i = 0;

	snprintf(path, sizeof(path), "%s/%s", scratch_dir, name);
	while (i < ARRAY_LEN(paths) && paths[i][0] && strcmp(paths[i], path))
		i++;
	assert_true(i < ARRAY_LEN(paths));
	return strcpy(paths[i], path);
}

#endif
