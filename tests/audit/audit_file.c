/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lib/audit from the command line, for tests in other languages.
 *
 *   audit_file FILE...          a line for each finding: FILE KIND SEVERITY TEXT;
 *                               a file without any has the line: FILE clean
 *   audit_file --sums FILE...   a line for each file: blocks read, memory, time
 *   audit_file --kinds          all kinds and their severities
 *   audit_file --dump FILE      the devices and their mappings, as thin_dump's XML
 *   audit_file --held FILE      the same of the held metadata snapshot
 *
 * Status: 0 nothing but notes, 1 damage, 2 wrong usage or no verdict.
 */
#include "audit/audit.h"

#include "util/lock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int print_finding(void *ctx, const struct thin_finding *f)
{
	char text[THIN_FINDING_TEXT];

	thin_finding_format(f, NULL, NULL, text, sizeof(text));
	printf("%s %s %s %s\n", (const char *)ctx, thin_audit_kind_name(f->kind),
	       thin_audit_severity_name(f->severity), text);
	return 0;
}

static void print_sums(const char *path, const struct thin_audit_summary *s, uint64_t ns)
{
	printf("%s blocks_read %" PRIu64 " memory %" PRIu64 " microseconds %" PRIu64
	       " devices %" PRIu64 " mapped %" PRIu64 " metadata %" PRIu64 "/%" PRIu64
	       " data %" PRIu64 "/%" PRIu64 "\n",
	       path, s->blocks_read, s->memory, ns / 1000, s->nr_devices,
	       s->mapped_blocks, s->metadata_used, s->metadata_blocks, s->data_used,
	       s->data_blocks);
}

static int fail(const char *path, const struct thin_error *e)
{
	fprintf(stderr, "%s: %s\n", path, e->text);
	return 2;
}

static int audit_file(const char *path, bool sums)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct thin_audit_summary summary;
	struct thin_error e = {""};
	uint64_t begin;
	union {
		const char *in;
		void *out;
	} ctx = {path};

	if (thin_storage_open_file(path, THIN_STORAGE_READONLY | THIN_STORAGE_SYNC, &s,
				   &e))
		return fail(path, &e);
	begin = thin_now_ns();
	if (thin_audit(s, NULL, sums ? NULL : print_finding, ctx.out, &summary, &e))
		return fail(path, &e);
	if (sums)
		print_sums(path, &summary, thin_now_ns() - begin);
	else if (!summary.fatal && !summary.nonfatal && !summary.notes)
		printf("%s clean\n", path);
	return summary.fatal || summary.nonfatal;
}

static int print_kinds(void)
{
	for (int kind = 0; kind < THIN_AUDIT_KINDS; kind++)
		printf("%s\n", thin_audit_kind_name((enum thin_audit_kind)kind));
	return 0;
}

/* --- dump --------------------------------------------------------------- */

static int dump_pool(void *ctx, const struct thin_walk_pool *p)
{
	(void)ctx;
	printf("<superblock uuid=\"%.16s\" time=\"%" PRIu32 "\" transaction=\"%" PRIu64
	       "\" flags=\"%" PRIu32 "\" version=\"%" PRIu32
	       "\" data_block_size=\"%" PRIu32 "\" nr_data_blocks=\"%" PRIu64 "\">\n",
	       (const char *)p->uuid, p->time, p->transaction_id, p->flags, p->version,
	       p->block_sectors, p->nr_data_blocks);
	return 0;
}

static int dump_device(void *ctx, const struct thin_walk_device *d)
{
	(void)ctx;
	printf("  <device dev_id=\"%" PRIu64 "\" mapped_blocks=\"%" PRIu64
	       "\" transaction=\"%" PRIu64 "\" creation_time=\"%" PRIu32
	       "\" snap_time=\"%" PRIu32 "\">\n",
	       d->id, d->mapped_blocks, d->transaction_id, d->creation_time,
	       d->snapshotted_time);
	return 0;
}

static int dump_run(void *ctx, const struct thin_walk_run *run)
{
	(void)ctx;
	if (run->length == 1)
		printf("    <single_mapping origin_block=\"%" PRIu64
		       "\" data_block=\"%" PRIu64 "\" time=\"%" PRIu32 "\"/>\n",
		       run->vblock, run->dblock, run->time);
	else
		printf("    <range_mapping origin_begin=\"%" PRIu64
		       "\" data_begin=\"%" PRIu64 "\" length=\"%" PRIu64
		       "\" time=\"%" PRIu32 "\"/>\n",
		       run->vblock, run->dblock, run->length, run->time);
	return 0;
}

static int dump_device_end(void *ctx, const struct thin_walk_device *d)
{
	(void)ctx;
	(void)d;
	printf("  </device>\n");
	return 0;
}

static int dump(const char *path, bool held)
{
	static const struct thin_walk_fns fns = {dump_pool, dump_device, dump_run,
						 dump_device_end};
	const struct thin_walk_params p = {.held = held, .device = THIN_AUDIT_NO_DEVICE};
	_cleanup_storage struct thin_storage *s = NULL;
	struct thin_error e = {""};

	if (thin_storage_open_file(path, THIN_STORAGE_READONLY | THIN_STORAGE_SYNC, &s,
				   &e))
		return fail(path, &e);
	if (thin_audit_walk(s, &p, &fns, NULL, &e))
		return fail(path, &e);
	printf("</superblock>\n");
	return 0;
}

int main(int argc, char **argv)
{
	bool sums = argc > 1 && !strcmp(argv[1], "--sums");
	int worst = 0;

	if (argc == 2 && !strcmp(argv[1], "--kinds"))
		return print_kinds();
	if (argc == 3 && (!strcmp(argv[1], "--dump") || !strcmp(argv[1], "--held")))
		return dump(argv[2], !strcmp(argv[1], "--held"));
	if (argc < 2 + sums) {
		fprintf(stderr,
			"usage: audit_file [--sums|--dump|--held|--kinds] FILE...\n");
		return 2;
	}
	for (int i = 1 + sums; i < argc; i++) {
		int status = audit_file(argv[i], sums);

		worst = status > worst ? status : worst;
	}
	return worst;
}
