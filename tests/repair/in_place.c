/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A repair in place, as of a block device, and the power is cut.
 *
 *   in_place NR_DATA SEED FILE...
 *
 * Each FILE is damaged metadata.  They are repaired in memory.  At each flush,
 * and at some points between them, what may be on the disk is put together:
 * all that was flushed, and any part of what was not.  With the old superblock
 * that is as damaged as it was and not worse, with the new one it is as it is
 * in the end.  What is refused must not have been written to.
 */
#include "audit/audit.h"
#include "format/block.h"
#include "repair/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK THIN_METADATA_BLOCK

/* Crash points between two flushes. */
#define CUTS 3

struct write {
	uint64_t offset;
	size_t epoch; /* flushes before it */
	uint8_t data[BLOCK];
};

struct disk {
	struct thin_storage s;
	uint8_t *now, *before;
	uint64_t bytes;
	struct write *writes;
	size_t nr, room, flushes;
};

static void die(const char *file, const char *what)
{
	fprintf(stderr, "%s: %s\n", file, what);
	exit(1);
}

/* --- a disk that remembers -------------------------------------------------- */

static struct disk *disk_of(struct thin_storage *s)
{
	return (struct disk *)s;
}

static int disk_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		memcpy(seg[i].buf, disk_of(s)->now + seg[i].offset, seg[i].len);
	return 0;
}

static int disk_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct disk *d = disk_of(s);

	for (size_t i = 0; i < nr; i++) {
		if (seg[i].len != BLOCK || seg[i].offset % BLOCK)
			die("repair", "writes that are no blocks");
		if (d->nr == d->room) {
			d->room = 2 * d->room + 64;
			d->writes = reallocarray(d->writes, d->room, sizeof(*d->writes));
			if (!d->writes)
				die("repair", "no memory");
		}
		d->writes[d->nr].offset = seg[i].offset;
		d->writes[d->nr].epoch = d->flushes;
		memcpy(d->writes[d->nr++].data, seg[i].buf, BLOCK);
		memcpy(d->now + seg[i].offset, seg[i].buf, BLOCK);
	}
	return 0;
}

static int disk_flush(struct thin_storage *s)
{
	disk_of(s)->flushes++;
	return 0;
}

static int disk_size(struct thin_storage *s, uint64_t *ret)
{
	*ret = disk_of(s)->bytes;
	return 0;
}

static const struct thin_storage_ops disk_ops = {
	.name = "disk",
	.read = disk_read,
	.write = disk_write,
	.flush = disk_flush,
	.size = disk_size,
};

static void load(struct disk *d, const char *file)
{
	FILE *f = fopen(file, "rb");
	long bytes = -1;

	if (!f || fseek(f, 0, SEEK_END) || (bytes = ftell(f)) < 0)
		die(file, strerror(errno));
	rewind(f);
	*d = (struct disk){
		.s = {.ops = &disk_ops},
		.bytes = (uint64_t)bytes,
		.now = malloc((size_t)bytes + 1),
		.before = malloc((size_t)bytes + 1),
	};
	if (!d->now || !d->before || fread(d->now, 1, (size_t)bytes, f) != (size_t)bytes)
		die(file, "can not be read");
	fclose(f);
	memcpy(d->before, d->now, (size_t)bytes);
}

/* --- what an audit says of an image ------------------------------------------ */

static struct thin_audit_summary audited(const char *file, struct disk *like,
					 uint8_t *image, uint64_t nr_data)
{
	struct disk d = {.s = {.ops = &disk_ops}, .now = image, .bytes = like->bytes};
	struct thin_audit_params p = {.nr_data_blocks = nr_data};
	struct thin_audit_summary sums;

	if (thin_audit(&d.s, &p, NULL, NULL, &sums, NULL))
		die(file, "no verdict");
	return sums;
}

static bool same(const struct thin_audit_summary *a, const struct thin_audit_summary *b)
{
	return a->fatal == b->fatal && a->nonfatal == b->nonfatal &&
	       a->mapped_blocks == b->mapped_blocks && a->nr_devices == b->nr_devices &&
	       a->metadata_used == b->metadata_used && a->data_used == b->data_used;
}

/* --- the cuts ------------------------------------------------------------------ */

struct verdicts {
	struct thin_audit_summary old, new;
};

/* The first @nr writes were made; those of the last epoch are on disk or not. */
static void cut(const char *file, struct disk *d, size_t nr, uint64_t nr_data,
		const struct verdicts *v)
{
	uint8_t *image = malloc(d->bytes);
	size_t epoch = nr ? d->writes[nr - 1].epoch : 0;
	struct thin_audit_summary sums;

	if (!image)
		die(file, "no memory");
	memcpy(image, d->before, d->bytes);
	for (size_t i = 0; i < nr; i++)
		if (d->writes[i].epoch < epoch || random() % 2)
			memcpy(image + d->writes[i].offset, d->writes[i].data, BLOCK);
	sums = audited(file, d, image, nr_data);
	if (memcmp(image, d->before, BLOCK) == 0 ? !same(&sums, &v->old)
						 : !same(&sums, &v->new))
		die(file, "a crash leaves neither the old nor the new one");
	free(image);
}

static void cut_everywhere(const char *file, struct disk *d, uint64_t nr_data)
{
	struct verdicts v = {
		.old = audited(file, d, d->before, nr_data),
		.new = audited(file, d, d->now, nr_data),
	};

	for (size_t i = 0; i <= d->nr; i++) {
		bool edge =
			i == d->nr || (i && d->writes[i].epoch != d->writes[i - 1].epoch);

		if (edge || (size_t)random() % (d->nr + 1) < CUTS)
			cut(file, d, i, nr_data, &v);
	}
}

static bool repair(const char *file, uint64_t nr_data)
{
	const struct thin_repair_fns fns = {0};
	struct thin_repair_result result;
	struct disk d;
	int r;

	load(&d, file);
	struct thin_repair_params p = {
		.from = &d.s, .to = &d.s, .nr_data_blocks = nr_data};
	r = thin_repair(&p, &fns, NULL, &result, NULL);
	if (!r)
		cut_everywhere(file, &d, nr_data);
	else if (r != -ENOSPC && memcmp(d.before, d.now, d.bytes))
		die(file, "refused, and written to");
	free(d.now);
	free(d.before);
	free(d.writes);
	return !r;
}

int main(int argc, char **argv)
{
	size_t repaired = 0;

	if (argc < 4)
		return 2;
	srandom((unsigned)strtoul(argv[2], NULL, 10));
	for (int i = 3; i < argc; i++)
		repaired += repair(argv[i], strtoull(argv[1], NULL, 10));
	printf("%zu of %d repaired in place\n", repaired, argc - 3);
	return 0;
}
