/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * map_blocks METADATA DEVICE BLOCKS [STRIDE]
 *
 * Maps BLOCKS blocks of DEVICE, which is there, each STRIDE (1) vblocks after the
 * one before: what a client would need hours for who writes them.  The data
 * storage is not touched, so they read as what is there: a hole.  Nobody may
 * have the pool open.
 */

#include "metadata/metadata.h"
#include "util/checked.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define AT_ONCE	     UINT64_C(4096)
#define COMMIT_AFTER (UINT64_C(256) * AT_ONCE)

static void check(int r, const char *what)
{
	if (!r)
		return;
	fprintf(stderr, "map_blocks: %s: %s\n", what, thin_strerror(r));
	exit(1);
}

static void commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;

	check(thin_metadata_commit(m, NULL, &freed), "commit");
	thin_epoch_synchronize();
	thin_metadata_release(m, freed);
}

static void insert(struct thin_device *d, uint64_t at, uint64_t stride, uint64_t dblock,
		   uint64_t nr)
{
	if (stride == 1) {
		check(thin_metadata_insert(d, at, dblock, nr), "insert");
		return;
	}
	for (uint64_t i = 0; i < nr; i++)
		check(thin_metadata_insert(d, (at + i) * stride, dblock + i, 1),
		      "insert");
}

static void map(struct thin_metadata *m, uint32_t device, uint64_t blocks,
		uint64_t stride)
{
	struct thin_device *d;

	check(thin_device_open(m, device, &d), "device");
	for (uint64_t at = 0, pending = 0, nr; at < blocks; at += nr) {
		uint64_t dblock;

		check(thin_metadata_reserve(m, thin_min(blocks - at, AT_ONCE), &dblock,
					    &nr),
		      "reserve");
		insert(d, at, stride, dblock, nr);
		pending += nr;
		if (pending >= COMMIT_AFTER) {
			commit(m);
			pending = 0;
		}
	}
	commit(m);
	thin_device_close(d);
}

int main(int argc, char **argv)
{
	struct thin_metadata_params params = {.cache_bytes = THIN_METADATA_CACHE};
	struct thin_metadata *m;
	struct thin_error e = {""};

	if (argc < 4)
		return 2;
	check(thin_storage_open_file(argv[1], THIN_STORAGE_EXCLUSIVE, &params.storage,
				     &e),
	      argv[1]);
	check(thin_metadata_open(&params, &m, &e), e.text);
	map(m, (uint32_t)strtoul(argv[2], NULL, 0), strtoull(argv[3], NULL, 0),
	    argc > 4 ? strtoull(argv[4], NULL, 0) : 1);
	thin_metadata_close(m);
	thin_storage_close(params.storage);
	return 0;
}
