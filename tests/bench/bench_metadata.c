/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What a pool's metadata costs, on a file in the current folder: a volume of
 * 1 TiB in blocks of 64 KiB, a million of them mapped, in ascending order or
 * (with "random") scattered.  Prints what it saw; removes the file.
 */

#include "metadata/metadata.h"
#include "util/epoch.h"
#include "util/limits.h"
#include "util/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define VBLOCKS (UINT64_C(1) << 24)
#define MAPPED	UINT64_C(1000000)
#define SNAPS	100u

static const char path[] = "bench_metadata.tmp";

static void check(int r, const char *what)
{
	if (!r)
		return;
	fprintf(stderr, "bench_metadata: %s: %s\n", what, thin_strerror(r));
	exit(1);
}

static double ms_since(uint64_t start)
{
	return (double)(thin_now_ns() - start) / 1e6;
}

static void commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;

	check(thin_metadata_commit(m, NULL, &freed), "commit");
	thin_epoch_synchronize();
	thin_metadata_release(m, freed);
}

static struct thin_metadata *open_metadata(struct thin_storage *s)
{
	struct thin_metadata_params params = {.storage = s,
					      .cache_bytes = THIN_METADATA_CACHE};
	struct thin_metadata *m;
	struct thin_error e = {""};

	check(thin_metadata_open(&params, &m, &e), e.text);
	return m;
}

static void fill(struct thin_metadata *m, bool scattered)
{
	uint64_t start = thin_now_ns();
	struct thin_device *d;

	check(thin_metadata_create_thin(m, 0), "create");
	check(thin_device_open(m, 0, &d), "open device");
	for (uint64_t i = 0; i < MAPPED; i++) {
		uint64_t dblock, nr, vblock = scattered ? i * 2654435761u % VBLOCKS : i;

		check(thin_metadata_reserve(m, 1, &dblock, &nr), "reserve");
		check(thin_metadata_insert(d, vblock, dblock, 1), "insert");
		if (i % 10000 == 0)
			commit(m);
	}
	commit(m);
	printf("insert: %.2f us each, with a commit for every 10000\n",
	       ms_since(start) * 1000 / MAPPED);
	thin_device_close(d);
}

static void snapshots(struct thin_metadata *m)
{
	uint64_t start = thin_now_ns();

	for (uint32_t i = 1; i <= SNAPS; i++) {
		check(thin_metadata_create_snap(m, i, 0), "snapshot");
		commit(m);
	}
	printf("snapshot, committed: %.2f ms each\n", ms_since(start) / SNAPS);
}

static void lookups(struct thin_metadata *m)
{
	uint64_t start = thin_now_ns();
	struct thin_device *d;

	check(thin_device_open(m, 0, &d), "open device");
	for (uint64_t i = 0; i < MAPPED; i++) {
		uint64_t vblock = i * 40503u % VBLOCKS;
		struct thin_run run;
		size_t nr;

		check(thin_metadata_lookup(d, vblock, vblock + 1, &run, 1, &nr),
		      "lookup");
	}
	printf("lookup: %.0f ns\n", ms_since(start) * 1e6 / MAPPED);
	thin_device_close(d);
}

static void deletes(struct thin_metadata *m)
{
	uint64_t start = thin_now_ns();

	for (uint32_t i = 1; i <= SNAPS; i++)
		check(thin_metadata_delete(m, i), "delete");
	commit(m);
	printf("delete of a snapshot: %.3f ms each\n", ms_since(start) / SNAPS);
	start = thin_now_ns();
	check(thin_metadata_delete(m, 0), "delete");
	commit(m);
	printf("delete of the volume: %.1f ms\n", ms_since(start));
}

int main(int argc, char **argv)
{
	bool scattered = argc > 1 && !strcmp(argv[1], "random");
	struct thin_metadata *m;
	struct thin_storage *s;
	struct thin_error e = {""};
	struct rusage usage;
	uint64_t start;

	check(thin_storage_open_file(path, THIN_STORAGE_CREATE | THIN_STORAGE_NEW, &s,
				     &e),
	      e.text);
	check(thin_storage_resize(s, UINT64_C(512) << 20), "resize");
	check(thin_metadata_format(s, 128, VBLOCKS, &e), e.text);
	m = open_metadata(s);
	fill(m, scattered);
	thin_metadata_close(m);
	start = thin_now_ns();
	m = open_metadata(s);
	printf("open: %.2f ms\n", ms_since(start));
	snapshots(m);
	lookups(m);
	deletes(m);
	thin_metadata_close(m);
	thin_storage_close(s);
	(void)remove(path);
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("memory at most: %ld MiB\n", usage.ru_maxrss / 1024);
	return 0;
}
